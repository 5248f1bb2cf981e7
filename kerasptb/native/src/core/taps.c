/* Typing with errors: how likely it is that taps on keys come from letters. keyboard/taps.py has the formula. */

enum { MOST_KEYS = 40 };

/* About what a model gives for each letter to come: else beginnings with a letter or two come before whole words. */
#define A_TAP 0.12
/* The share of taps that may be anywhere, so that nothing is impossible. */
#define ANYWHERE 1e-4

/* Returns the symbol of a character; -1 for none. */
static int32_t symbol_of(const lm_model* model, uint32_t character) {
  int32_t low = 0, high = model->num_symbols - 1;
  if (character == ' ') return high;
  while (low < high) {
    const int32_t middle = (low + high) / 2;
    if (model->symbols[middle] < character) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < model->num_symbols - 1 && model->symbols[low] == character ? low : -1;
}

static uint32_t folded(const lm_model* model, uint32_t character) {
  return character == 0x2019 ? '\'' : small(model, character);
}

/* Returns how likely a key is meant by a tap, or the density if the point is known, and that of a tap of no letter. */
static double likelihood_of_key(const lm_model* model, int32_t layout, int32_t num_keys, int32_t meant, int32_t hit,
                                const float* point, double* of_none) {
  const double height = (double)model->key_shapes[2 * layout], width = (double)model->key_shapes[2 * layout + 1];
  const float* centre = model->key_centres + 2 * (MOST_KEYS * layout + meant);
  double x, y;
  if (!point) {
    *of_none = 1.0 / num_keys;
    return (double)model->key_hits[(MOST_KEYS * layout + meant) * MOST_KEYS + hit];
  }
  x = (double)(point[0] - centre[0]);
  y = (double)(point[1] - centre[1]);
  *of_none = 1.0 / (num_keys * height);
  return (1.0 - ANYWHERE) * exp(-(x * x + y * y) / (2.0 * width * width)) / (2.0 * 3.14159265358979 * width * width) +
         ANYWHERE * *of_none;
}

/* Whether the model has a character, whatever the case. */
static int has_symbol(const lm_model* model, uint32_t character) {
  int32_t symbol = 0;
  while (symbol < model->num_symbols && folded(model, model->symbols[symbol]) != folded(model, character)) symbol++;
  return symbol < model->num_symbols;
}

/* Finds what one tap says of each symbol, relative to the likeliest; returns whether it says anything: a character of
 * another page or language that the model lacks is meant. */
static int find_hit(const lm_model* model, const float* rates, lm_hits* hits, int32_t tap, uint32_t character,
                    int32_t layout, const float* point) {
  const uint32_t *keys = model->keys + MOST_KEYS * layout, letter = small(model, character);
  const int is_capital = letter != character;
  double of_none = ANYWHERE, most = 1.0, sum = 0.0, *likely = hits->likelihoods + tap;
  int32_t hit = -1, num_keys = 0, symbol;
  for (; num_keys < MOST_KEYS && keys[num_keys]; num_keys++)
    if (keys[num_keys] == letter && (character < 0x80 || has_symbol(model, character))) hit = num_keys;
  for (symbol = 0; symbol < model->num_symbols; symbol++) {
    const uint32_t meant = model->symbols[symbol];
    const int32_t at = layout * model->num_symbols + symbol, key = model->key_of[at];
    double value = 0.0;
    if (hit < 0) { /* a key of another page */
      value = folded(model, meant) == folded(model, character) ? 1.0 : 0.0;
    } else if (key >= 0) {
      value = likelihood_of_key(model, layout, num_keys, key, hit, point, &of_none);
    }
    if (hit >= 0 && model->is_plain[at]) value *= (double)rates[LM_RATE_PLAIN];
    if ((small(model, meant) != meant) != is_capital)
      value *= (double)(is_capital ? rates[LM_RATE_SHIFTED] : rates[LM_RATE_UNSHIFTED]);
    likely[symbol * hits->num_taps] = value;
    sum += value;
  }
  if (hit >= 0) /* if the model lacks it, too */
    most = likelihood_of_key(model, layout, num_keys, hit, hit, point, &of_none);
  if (of_none > most) most = of_none;
  for (symbol = 0; symbol < model->num_symbols; symbol++)
    if (likely[symbol * hits->num_taps] > most) most = likely[symbol * hits->num_taps];
  for (symbol = 0; symbol < model->num_symbols; symbol++) likely[symbol * hits->num_taps] /= most;
  hits->strays[tap] = (double)rates[LM_RATE_STRAY] * of_none / most;
  return hit >= 0 || sum > 0.0;
}

size_t lm_hits_bytes(const lm_model* model) { return sizeof(double) * (size_t)model->num_symbols * (LM_MOST_TAPS + 1); }

int32_t lm_find_hits(const lm_model* model, const char* letters, int32_t layout, const float* points, int32_t is_whole,
                     void* room, lm_hits* hits) {
  const float* rates = model->rates;
  const size_t size = strlen(letters);
  size_t at, bytes;
  int32_t symbol, tap;
  hits->num_taps = 0;
  for (at = 0; at < size; at += bytes, hits->num_taps++) character_at(letters, size, at, &bytes);
  if (!hits->num_taps || hits->num_taps > LM_MOST_TAPS || !model->num_symbols || layout < 0 || layout > LM_QWERTZ)
    return 0;
  hits->omissions = (double*)room;
  hits->likelihoods = hits->omissions + model->num_symbols;
  hits->is_whole = is_whole;
  hits->may_be_words = 1;
  for (at = 0, tap = 0; at < size; at += bytes, tap++) {
    const uint32_t character = character_at(letters, size, at, &bytes);
    if (!find_hit(model, rates, hits, tap, character, layout, points ? points + 2 * tap : 0)) hits->may_be_words = 0;
  }
  for (symbol = 0; symbol < model->num_symbols; symbol++)
    hits->omissions[symbol] =
        (double)(is_apostrophe(model->symbols[symbol]) ? rates[LM_RATE_SILENT] : rates[LM_RATE_OMITTED]);
  hits->omissions[model->num_symbols - 1] = (double)rates[LM_RATE_UNSPACED];
  hits->hit = 1.0 - (double)rates[LM_RATE_OMITTED] - (double)rates[LM_RATE_EXCHANGED];
  hits->exchanged = (double)rates[LM_RATE_EXCHANGED];
  hits->doubled = (double)rates[LM_RATE_DOUBLED];
  hits->undoubled = (double)rates[LM_RATE_UNDOUBLED];
  hits->unknown = (double)rates[LM_RATE_UNKNOWN];
  return 1;
}

/* What the probability of the taps is at most, whatever letters follow a row q, before whose last letter r was. */
static double bound_of(const lm_hits* hits, const double* q, const double* r) {
  double sum = 0.0;
  int32_t j;
  for (j = 0; j <= hits->num_taps; j++) sum += q[j] + hits->exchanged * r[j];
  return sum;
}

/* Makes the row of no letter. Each tap that is aligned makes a row worth more, by what one to come costs. */
static void begin_taps(const lm_hits* hits, lm_row* row) {
  double value = pow(A_TAP, hits->num_taps);
  int32_t j;
  memset(row, 0, sizeof *row);
  for (j = 0; j <= hits->num_taps; j++) {
    row->values[0][j] = value;
    if (j < hits->num_taps) value *= hits->strays[j] / A_TAP;
  }
  row->last = -1;
  row->bound = bound_of(hits, row->values[0], row->values[1]);
}

/* Writes the row p after the row q and a letter; `last` is the letter before, and r the row before that. */
static void add_letter(const lm_hits* hits, int32_t space, const double* q, const double* r, int32_t last,
                       int32_t letter, double* p) {
  const int32_t n = hits->num_taps;
  const double *likely = hits->likelihoods + letter * n, *before = last < 0 ? likely : hits->likelihoods + last * n;
  const double omitted = letter == last ? hits->undoubled : hits->omissions[letter];
  const double exchanged = last < 0 ? 0.0 : hits->exchanged / (A_TAP * A_TAP);
  int32_t j;
  for (j = 0; j <= n; j++) p[j] = omitted * q[j];
  if (!hits->is_whole) p[n] = letter == space ? 0.0 : q[n]; /* letters after the last tap are free */
  for (j = 0; j < n; j++) {
    p[j + 1] += hits->hit * likely[j] / A_TAP * q[j];
    if (j > 0) p[j + 1] += exchanged * likely[j - 1] * before[j] * r[j - 1];
    p[j + 1] += (hits->doubled * likely[j] + hits->strays[j]) / A_TAP * p[j];
  }
}

/* Makes the row of a beginning of a search, after that of the one before and the letters of its last token. */
static void align(const lm_model* model, const lm_hits* hits, const lm_row* before, lm_row* row, const char* letters,
                  size_t size) {
  double p[LM_MOST_TAPS + 1];
  size_t at, bytes;
  *row = *before;
  for (at = 0; at < size; at += bytes) {
    const int32_t symbol = symbol_of(model, character_at(letters, size, at, &bytes));
    if (symbol < 0) continue; /* not of the trie, which has no such letters */
    add_letter(hits, model->num_symbols - 1, row->values[0], row->values[1], row->last, symbol, p);
    memcpy(row->values[1], row->values[0], sizeof p);
    memcpy(row->values[0], p, sizeof p);
    row->last = symbol;
  }
  row->bound = bound_of(hits, row->values[0], row->values[1]);
}

/* Whether all letters of a text are the model's. */
static int may_be_tapped(const lm_model* model, const char* text, size_t size) {
  size_t at, bytes;
  for (at = 0; at < size; at += bytes)
    if (symbol_of(model, character_at(text, size, at, &bytes)) < 0) return 0;
  return 1;
}

void lm_align_all(const lm_model* model, const lm_hits* hits, const char* texts, const int32_t* ends, int32_t number,
                  double* probabilities) {
  lm_row first, row;
  int32_t i, begin = 0;
  begin_taps(hits, &first);
  for (i = 0; i < number; begin = ends[i++]) {
    const size_t size = (size_t)(ends[i] - begin);
    probabilities[i] = 0.0;
    if (!may_be_tapped(model, texts + begin, size)) continue;
    align(model, hits, &first, &row, texts + begin, size);
    probabilities[i] = row.values[0][hits->num_taps];
  }
}

/* Whether a character is of a word in the list of those that are known. */
static int is_listed(const lm_model* model, uint32_t character) {
  return (class_of(model, character) & (LM_LETTER | LM_MARK | LM_NUMBER)) || is_joiner(character);
}

/* Returns the bytes of the letters at a place, with apostrophes between them. */
static size_t listed_at(const lm_model* model, const char* text, size_t size, size_t at) {
  size_t end = at, bytes;
  while (end < size) {
    const uint32_t character = character_at(text, size, end, &bytes);
    size_t next;
    const int joins = end > at && is_apostrophe(character) && end + bytes < size &&
                      is_listed(model, character_at(text, size, end + bytes, &next));
    if (!is_listed(model, character) && !joins) break;
    end += bytes;
  }
  return end - at;
}

uint64_t lm_hash(const char* word, size_t size) {
  uint64_t hash = 14695981039346656037u; /* FNV-1a */
  size_t i;
  for (i = 0; i < size; i++) hash = (hash ^ (uint8_t)word[i]) * 1099511628211u;
  return hash;
}

void lm_hash_all(const char* texts, const int32_t* ends, int32_t number, uint32_t* hashes) {
  int32_t i, begin = 0;
  for (i = 0; i < number; begin = ends[i++]) hashes[i] = (uint32_t)lm_hash(texts + begin, (size_t)(ends[i] - begin));
}

/* Whether a sorted list has a hash. */
static int has_hash(const uint32_t* hashes, int32_t size, uint32_t hash) {
  int32_t low = 0, high = size;
  while (low < high) {
    const int32_t middle = (low + high) / 2;
    if (hashes[middle] < hash) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < size && hashes[low] == hash;
}

static int is_in_list(const lm_model* model, const lm_question* question, const char* text, size_t size) {
  const uint32_t hash = (uint32_t)lm_hash(text, size);
  return has_hash(model->known, model->num_known, hash) || has_hash(question->known, question->num_known, hash);
}

/* Returns how likely a word is before it is typed: less if it is none that is known or was typed before, nor several
 * with a hyphen or a space between them; 's may follow each. */
static double prior(const lm_model* model, const lm_question* question, const char* word, size_t size) {
  const double unknown = question->hits->unknown;
  char text[LM_WORD_BYTES];
  size_t at = 0, bytes;
  int has_letters = 0;
  if (!(model->num_known || question->num_known) ||
      has_hash(question->beside, question->num_beside, (uint32_t)lm_hash(word, size)))
    return 1.0;
  size = in_small(model, word, size, 1, text, sizeof text);
  if (size == sizeof text) return unknown;
  if (is_in_list(model, question, text, size)) return 1.0;
  for (at = 0; at < size && !has_letters; at += bytes)
    has_letters = is_listed(model, character_at(text, size, at, &bytes));
  if (!has_letters) return 1.0;
  for (at = 0;; at++) {
    const size_t listed = listed_at(model, text, size, at);
    const int has_s = listed > 2 && !memcmp(text + at + listed - 2, "'s", 2);
    if (!listed || !(is_in_list(model, question, text + at, listed) ||
                     (has_s && is_in_list(model, question, text + at, listed - 2))))
      return unknown;
    at += listed;
    if (at == size) return 1.0;
    if (text[at] != '-' && text[at] != ' ') return unknown;
  }
}
