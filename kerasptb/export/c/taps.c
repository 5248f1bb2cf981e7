
/* Typing with errors: how likely it is that taps on keys come from letters. keyboard/taps.py has the formula. */

enum { MOST_KEYS = 40 };

/* About what a model gives for each letter to come: else beginnings with a letter or two come before whole words. */
#define A_TAP 0.12
/* The share of taps that may be anywhere, so that nothing is impossible. */
#define ANYWHERE 1e-4

static double rate(int kind) { return (double)tables.rates[kind]; }

static double hit_rate(void) { return 1.0 - rate(LM_RATE_OMITTED) - rate(LM_RATE_EXCHANGED); }

/* Returns the symbol of a character; -1 for none. */
static int32_t symbol_of(uint32_t character) {
  int32_t low = 0, high = tables.num_symbols - 1;
  if (character == ' ') return high;
  while (low < high) {
    const int32_t middle = (low + high) / 2;
    if (tables.symbols[middle] < character) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < tables.num_symbols - 1 && tables.symbols[low] == character ? low : -1;
}

static uint32_t folded(uint32_t character) { return character == 0x2019 ? '\'' : small(character); }

/* Returns how likely a key is meant by a tap, or the density if the point is known, and that of a tap of no letter. */
static double likelihood_of_key(int layout, int32_t num_keys, int32_t meant, int32_t hit, const float* point,
                                double* of_none) {
  const double height = (double)tables.key_shapes[2 * layout], width = (double)tables.key_shapes[2 * layout + 1];
  const float* centre = tables.key_centres + 2 * (MOST_KEYS * layout + meant);
  double x, y;
  if (!point) {
    *of_none = 1.0 / num_keys;
    return (double)tables.key_hits[(MOST_KEYS * layout + meant) * MOST_KEYS + hit];
  }
  x = (double)(point[0] - centre[0]);
  y = (double)(point[1] - centre[1]);
  *of_none = 1.0 / (num_keys * height);
  return (1.0 - ANYWHERE) * exp(-(x * x + y * y) / (2.0 * width * width)) / (2.0 * 3.14159265358979 * width * width) +
         ANYWHERE * *of_none;
}

/* Finds what one tap says of each symbol, relative to the likeliest; returns whether it says anything: a character of
 * another page that the model lacks is meant. */
static int find_hit(lm_taps* taps, int32_t tap, uint32_t character, int layout, const float* point) {
  const uint32_t* keys = tables.keys + MOST_KEYS * layout;
  const uint32_t letter = small(character);
  const int is_capital = letter != character;
  double of_none = ANYWHERE, most = 1.0, sum = 0.0;
  int32_t hit = -1, num_keys = 0, symbol;
  for (; num_keys < MOST_KEYS && keys[num_keys]; num_keys++)
    if (keys[num_keys] == letter) hit = num_keys;
  for (symbol = 0; symbol < tables.num_symbols; symbol++) {
    const uint32_t meant = tables.symbols[symbol];
    const int32_t key = tables.key_of[layout * tables.num_symbols + symbol];
    double value = 0.0;
    if (hit < 0) { /* a key of another page */
      value = folded(meant) == folded(character) ? 1.0 : 0.0;
    } else if (key >= 0) {
      value = likelihood_of_key(layout, num_keys, key, hit, point, &of_none);
    }
    if (hit >= 0 && tables.is_plain[layout * tables.num_symbols + symbol]) value *= rate(LM_RATE_PLAIN);
    if ((small(meant) != meant) != is_capital) value *= rate(is_capital ? LM_RATE_SHIFTED : LM_RATE_UNSHIFTED);
    taps->likelihoods[symbol][tap] = value;
    sum += value;
  }
  if (hit >= 0) most = likelihood_of_key(layout, num_keys, hit, hit, point, &of_none); /* if the model lacks it, too */
  if (of_none > most) most = of_none;
  for (symbol = 0; symbol < tables.num_symbols; symbol++)
    if (taps->likelihoods[symbol][tap] > most) most = taps->likelihoods[symbol][tap];
  for (symbol = 0; symbol < tables.num_symbols; symbol++) taps->likelihoods[symbol][tap] /= most * A_TAP;
  taps->strays[tap] = rate(LM_RATE_STRAY) * of_none / most / A_TAP;
  return hit >= 0 || sum > 0.0;
}

/* Finds what the taps of a word say; returns whether they can be looked for. */
static int find_hits(lm_taps* taps, const lm_typed* typed, int layout, const float* points) {
  const size_t size = strlen(typed->letters);
  size_t at = 0, bytes;
  int32_t symbol;
  taps->num_taps = 0;
  taps->may_be_words = 1;
  if (!size || !tables.num_symbols || layout < 0 || layout > LM_QWERTZ) return 0;
  for (; at < size; at += bytes, taps->num_taps++) {
    if (taps->num_taps == LM_MOST_TAPS) return 0;
    if (!find_hit(taps, taps->num_taps, character_at(typed->letters, size, at, &bytes), layout, points))
      taps->may_be_words = 0;
    if (points) points += 2;
  }
  for (symbol = 0; symbol < tables.num_symbols; symbol++)
    taps->omitted[symbol] = rate(is_apostrophe(tables.symbols[symbol]) ? LM_RATE_SILENT : LM_RATE_OMITTED);
  taps->omitted[tables.num_symbols - 1] = rate(LM_RATE_UNSPACED);
  return 1;
}

/* What the probability of the taps is at most, whatever letters follow a row q, before whose last letter r was. */
static double bound_of(const lm_taps* taps, const double* q, const double* r) {
  double sum = 0.0;
  int32_t j;
  for (j = 0; j <= taps->num_taps; j++) sum += q[j] + rate(LM_RATE_EXCHANGED) * r[j];
  return sum;
}

/* Makes the row of no letter. */
static void begin_taps(lm_taps* taps) {
  double value = pow(A_TAP, taps->num_taps);
  int32_t j;
  memset(taps->values[0], 0, sizeof taps->values[0]);
  for (j = 0; j <= taps->num_taps; j++) {
    taps->values[0][0][j] = value;
    if (j < taps->num_taps) value *= taps->strays[j];
  }
  taps->last[0] = -1;
  taps->bounds[0] = bound_of(taps, taps->values[0][0], taps->values[0][1]);
}

/* Writes the row p after the row q and a letter; `last` is the letter before, and r the row before that. */
static void add_letter(const lm_taps* taps, const double* q, const double* r, int32_t last, int32_t letter, double* p) {
  const double* likely = taps->likelihoods[letter];
  const double omitted = letter == last ? rate(LM_RATE_UNDOUBLED) : taps->omitted[letter];
  const int32_t n = taps->num_taps;
  int32_t j;
  for (j = 0; j <= n; j++) p[j] = omitted * q[j];
  if (!taps->is_whole) p[n] = letter == tables.num_symbols - 1 ? 0.0 : q[n]; /* letters after the last tap are free */
  for (j = 0; j < n; j++) {
    p[j + 1] += hit_rate() * likely[j] * q[j];
    if (last >= 0 && j > 0) p[j + 1] += rate(LM_RATE_EXCHANGED) * likely[j - 1] * taps->likelihoods[last][j] * r[j - 1];
    p[j + 1] += (rate(LM_RATE_DOUBLED) * likely[j] + taps->strays[j]) * p[j];
  }
}

/* Makes the rows of a beginning of a search, after those of the one before and the letters of its last token. */
static void align(lm_taps* taps, int32_t row, int32_t before, const char* letters, size_t size) {
  double p[LM_MOST_TAPS + 1], (*values)[LM_MOST_TAPS + 1] = taps->values[row];
  size_t at, bytes;
  memcpy(values, taps->values[before], sizeof taps->values[row]);
  taps->last[row] = taps->last[before];
  for (at = 0; at < size; at += bytes) {
    const int32_t symbol = symbol_of(character_at(letters, size, at, &bytes));
    if (symbol < 0) continue; /* not of the trie, which has no such letters */
    add_letter(taps, values[0], values[1], taps->last[row], symbol, p);
    memcpy(values[1], values[0], sizeof p);
    memcpy(values[0], p, sizeof p);
    taps->last[row] = symbol;
  }
  taps->bounds[row] = bound_of(taps, values[0], values[1]);
}

/* Whether a character is of a word in the list of those that are known. */
static int is_listed(uint32_t character) {
  return (class_of(character) & (LM_LETTER | LM_MARK | LM_NUMBER)) || is_joiner(character);
}

/* Returns the bytes of the letters at a place, with apostrophes between them. */
static size_t listed_at(const char* text, size_t size, size_t at) {
  size_t end = at, bytes;
  while (end < size) {
    const uint32_t character = character_at(text, size, end, &bytes);
    size_t next;
    const int joins = end > at && is_apostrophe(character) && end + bytes < size &&
                      is_listed(character_at(text, size, end + bytes, &next));
    if (!is_listed(character) && !joins) break;
    end += bytes;
  }
  return end - at;
}

static int is_in_list(const char* text, size_t size) {
  uint32_t hash = 2166136261u; /* FNV-1a */
  int32_t low = 0, high = tables.num_known;
  size_t i;
  for (i = 0; i < size; i++) hash = (hash ^ (uint8_t)text[i]) * 16777619u;
  while (low < high) {
    const int32_t middle = (low + high) / 2;
    if (tables.known[middle] < hash) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < tables.num_known && tables.known[low] == hash;
}

/* Returns how likely a word is before it is typed: less if it is none that is known, nor several with a hyphen or a
 * space between them; 's may follow each. */
static double prior(const char* word, size_t size) {
  char text[LM_WORD_BYTES];
  size_t at = 0, bytes;
  int has_letters = 0;
  if (!tables.num_known) return 1.0;
  size = in_small(word, size, 1, text, sizeof text);
  if (size == sizeof text) return rate(LM_RATE_UNKNOWN);
  if (is_in_list(text, size)) return 1.0;
  for (at = 0; at < size && !has_letters; at += bytes) has_letters = is_listed(character_at(text, size, at, &bytes));
  if (!has_letters) return 1.0;
  for (at = 0;; at++) {
    const size_t listed = listed_at(text, size, at);
    const int has_s = listed > 2 && !memcmp(text + at + listed - 2, "'s", 2);
    if (!listed || !(is_in_list(text + at, listed) || (has_s && is_in_list(text + at, listed - 2))))
      return rate(LM_RATE_UNKNOWN);
    at += listed;
    if (at == size) return 1.0;
    if (text[at] != '-' && text[at] != ' ') return rate(LM_RATE_UNKNOWN);
  }
}
