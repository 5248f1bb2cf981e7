/* The search for words: the likeliest beginnings are read first, and no word is likelier than its beginning. */

/* Nothing is looked for that has a smaller share of the prefix's probability, or if it is typed with errors of that of
 * the likeliest word; nor a token then that is less likely, with its taps, than e to this power. */
#define LEAST_SHARE 1e-5
#define LEAST_SHARE_TYPED 1e-3
#define LOG_LEAST_TOKEN -20.0
/* The least odds, against what is typed, of a word that is looked for, and by which a word is written instead. */
#define LEAST_ODDS 1e-2
#define ODDS_TO_CORRECT 5.754602676 /* e^1.75 */
/* Beginnings that are read of those that write as much of the prefix: a letter may be small or a capital. */
enum { WAYS = 4 };

/* Returns the probability that a word ends, from those of the tokens. */
static double probability_of_end(const float* probabilities) {
  double sum = 0.0;
  int32_t token;
  for (token = 0; token < tables.num_tokens; token++)
    sum += tables.roles[token] & LM_ENDS_WORD ? (double)probabilities[token] : 0.0;
  return sum;
}

/* Returns the probability of the last word that is asked for; the least that is looked for while there are fewer. */
static double least_probability(const lm_search* search) {
  const double last = search->num_found < search->num_words ? 0.0 : search->found[search->num_words - 1].probability;
  return last > search->at_least ? last : search->at_least;
}

/* Writes what a row and a token behind it write; returns the bytes, 0 if they have no room. */
static size_t write_tokens(const lm_search* search, int32_t row, int32_t token, char* result) {
  int32_t tokens[LM_WORD_BYTES], num_tokens = 0;
  size_t size = 0, bytes;
  if (token >= 0) tokens[num_tokens++] = token;
  for (; row > 0 && num_tokens < LM_WORD_BYTES; row = search->rows[row].before) {
    tokens[num_tokens++] = search->rows[row].token;
  }
  while (num_tokens > 0) {
    const char* piece = lm_piece(tokens[--num_tokens], &bytes);
    if (size + bytes >= LM_WORD_BYTES) return 0;
    memcpy(result + size, piece, bytes);
    size += bytes;
  }
  return size;
}

/* Takes the white space off a word; returns its bytes, 0 for what is none: a part of a character, or a word and a sign
 * that bytes write behind it. */
static size_t bare_word(char* word, size_t size, int is_partial) {
  size_t begin = 0, at, bytes = 0;
  int all = 1, first = 1;
  while (begin < size && class_of(character_at(word, size, begin, &bytes)) & LM_SPACE) begin += bytes;
  while (size > begin && class_of(character_before(word, size, &at)) & LM_SPACE) size = at;
  memmove(word, word + begin, size -= begin);
  for (at = 0; at < size; at += bytes) {
    const uint32_t character = character_at(word, size, at, &bytes);
    if (character >= NO_CHARACTER) return 0;
    if (at == 0) first = is_of_word(character);
    all = all && is_of_word(character);
  }
  return is_partial && first && !all ? 0 : size;
}

/* Adds to the probability of a word, which keeps the words in their order. */
static void add_word(lm_search* search, int32_t row, int32_t token, double probability) {
  const int is_partial = search->rows[row].is_partial || (token >= 0 && tables.roles[token] & LM_IS_PARTIAL);
  lm_found found;
  char word[LM_WORD_BYTES];
  size_t size = bare_word(word, write_tokens(search, row, token, word), is_partial), i;
  int32_t place;
  if (!size) return;
  if (search->taps) {
    probability *= prior(word, size);
    if (probability > search->prefix_probability) search->prefix_probability = probability;
  }
  found.hash = 14695981039346656037u; /* FNV-1a */
  for (i = 0; i < size; i++) found.hash = (found.hash ^ (uint8_t)word[i]) * 1099511628211u;
  found.probability = probability;
  found.row = row;
  found.token = token;
  for (place = 0; place < search->num_found && search->found[place].hash != found.hash; place++) continue;
  if (place == LM_MOST_FOUND) {
    if (search->found[--place].probability >= probability) return;
  } else if (place == search->num_found) {
    search->num_found++;
  } else {
    found.probability += search->found[place].probability;
  }
  for (; place > 0 && search->found[place - 1].probability < found.probability; place--)
    search->found[place] = search->found[place - 1];
  search->found[place] = found;
}

/* Lets a beginning wait: a row and one more token. Of more than may still be read, the least likely are forgotten. */
static void let_wait(lm_search* search, int32_t row, int32_t token, double log_probability) {
  const lm_beginning* before = &search->rows[row];
  lm_beginning* waiting = search->waiting;
  int32_t low = 0, high = search->num_waiting, role = tables.roles[token];
  lm_beginning beginning;
  size_t bytes;
  while (low < high) {
    const int32_t middle = (low + high) / 2;
    if (waiting[middle].log_probability < log_probability) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (search->num_waiting == LM_MOST_ROWS) {
    if (low == 0) return;
    memmove(waiting, waiting + 1, (size_t)--low * sizeof *waiting);
  } else {
    memmove(waiting + low + 1, waiting + low, (size_t)(search->num_waiting++ - low) * sizeof *waiting);
  }
  folded_piece(token, &bytes);
  beginning.log_probability = log_probability;
  beginning.before = row;
  beginning.token = token;
  beginning.written = before->written + (int32_t)bytes;
  if ((size_t)beginning.written > search->typed->prefix_size) beginning.written = (int32_t)search->typed->prefix_size;
  beginning.has_letters = before->has_letters || role & LM_HAS_LETTERS;
  beginning.is_partial = before->is_partial || role & LM_IS_PARTIAL;
  waiting[low] = beginning;
}

/* Whether a token may come next where the rest of the prefix is to be written, and whether it writes all of that. */
static int fits(const lm_search* search, const lm_beginning* row, int32_t token, int* covers) {
  const char* rest = search->typed->prefix + row->written;
  const size_t size = search->typed->prefix_size - (size_t)row->written;
  size_t bytes;
  const char* piece = folded_piece(token, &bytes);
  *covers = bytes >= size;
  if (size) return bytes && !memcmp(piece, rest, bytes < size ? bytes : size);
  if (row->before < 0 && !search->typed->begins) return (tables.roles[token] & LM_ENDS_WORD) != 0;
  return !(tables.roles[token] & LM_IS_SPACED);
}

static double log_least(const lm_search* search, double share) {
  const double least = least_probability(search) * share, of_all = search->least_share * search->prefix_probability;
  return least > of_all ? log(least) : of_all > 0.0 ? log(of_all) : -1e30;
}

static void find_probabilities(lm_search* search, const float* log_probabilities) {
  memcpy(search->probabilities, log_probabilities, sizeof(float) * (size_t)tables.num_tokens);
  raise_e(search->probabilities, tables.num_tokens);
}

/* Adds what may follow a row: words that end at once, and longer beginnings. */
static void follow_prefix(lm_search* search, int32_t index, const float* log_probabilities, double row_share) {
  const lm_beginning* row = &search->rows[index];
  const int is_written = (size_t)row->written == search->typed->prefix_size, goes_on = row->has_letters && is_written;
  int32_t token;
  int covers;
  double least;
  find_probabilities(search, log_probabilities);
  if (goes_on) {
    add_word(search, index, -1, exp(row->log_probability) * probability_of_end(search->probabilities));
  } else if (!is_written || row->before < 0) {
    double sum = 0.0;
    for (token = 0; token < tables.num_tokens; token++) {
      if (fits(search, row, token, &covers) && covers && (row->has_letters || !(tables.roles[token] & LM_IS_UNNAMED)))
        sum += (double)search->probabilities[token];
    }
    search->prefix_probability += exp(row->log_probability) * sum;
  }
  least = log_least(search, row_share) - row->log_probability;
  for (token = 0; token < tables.num_tokens; token++) {
    const double value = (double)log_probabilities[token];
    if (value <= least) continue;
    if (goes_on) {
      if (!(tables.roles[token] & LM_ENDS_WORD)) let_wait(search, index, token, row->log_probability + value);
    } else if (fits(search, row, token, &covers) && (row->has_letters || !(tables.roles[token] & LM_IS_UNNAMED))) {
      if (covers && tables.roles[token] & LM_IS_WHOLE) {
        add_word(search, index, token, exp(row->log_probability + value));
      } else {
        let_wait(search, index, token, row->log_probability + value);
      }
    }
  }
}

/* Adds the word of a row and one more token, -1 for none, where it ends with the last tap. */
static void add_tapped(lm_search* search, int32_t index, int32_t token, double log_probability, double end,
                       double bound) {
  if (end > 0.0) add_word(search, index, token, exp(log_probability) * end / bound);
}

/* Lets a token wait that taps may stand for after a row, or adds its word if each token is one. */
static void take_token(lm_search* search, int32_t index, int32_t token, double value, const double* values,
                       double bound, double least) {
  const lm_taps* taps = search->taps;
  const double log_probability = search->rows[index].log_probability + value, end = values[taps->num_taps];
  if (tables.kind == LM_OF_WORDS) { /* another may follow, after a space that may be left out */
    const double spaced = taps->omitted[tables.num_symbols - 1] * (1.0 - end / bound);
    add_tapped(search, index, token, log_probability, end, bound);
    if (spaced <= 0.0 || value + log(spaced) <= least) return;
  }
  let_wait(search, index, token, log_probability);
}

/* Walks the trie of tokens from one node to another, as far as the bounds of the rows of their letters allow. */
static void walk(lm_search* search, int32_t index, int32_t node, int32_t last, const float* log_probabilities,
                 double least) {
  lm_taps* taps = search->taps;
  const double before = taps->bounds[index];
  const size_t bytes = sizeof taps->path[0];
  double at_most = (double)log_probabilities[0];
  int32_t token, depth = 0;
  for (token = 1; token < tables.num_tokens; token++)
    at_most = (double)log_probabilities[token] > at_most ? (double)log_probabilities[token] : at_most;
  memcpy(taps->path[0], taps->values[index][1], bytes);
  memcpy(taps->path[1], taps->values[index][0], bytes);
  taps->path_ends[0] = last;
  taps->path_symbols[0] = taps->last[index];
  while (node < last && before > 0.0) {
    const int32_t symbol = tables.nodes[3 * node], end = tables.nodes[3 * node + 1];
    double *r, *q, *p, after, changed;
    token = tables.nodes[3 * node + 2];
    while (taps->path_ends[depth] <= node) depth--;
    r = taps->path[depth];
    q = taps->path[depth + 1];
    p = taps->path[depth + 2];
    add_letter(taps, q, r, taps->path_symbols[depth], symbol, p);
    after = bound_of(taps, p, q);
    changed = after > 0.0 ? log(after / before) : -1e30;
    if (changed + at_most <= least) {
      node = end;
      continue;
    }
    if (token >= 0 && changed + (double)log_probabilities[token] > least)
      take_token(search, index, token, changed + (double)log_probabilities[token], p, after, least);
    depth++;
    taps->path_ends[depth] = end;
    taps->path_symbols[depth] = symbol;
    node++;
  }
}

/* Adds what may follow a row if the word is typed with errors. */
static void follow_taps(lm_search* search, int32_t index, const float* log_probabilities, double row_share) {
  const lm_beginning* row = &search->rows[index];
  const lm_taps* taps = search->taps;
  const int is_first = row->before < 0, is_spaced = !search->typed->begins;
  double least = log_least(search, row_share) - row->log_probability;
  int32_t space;
  if (row->has_letters && tables.kind != LM_OF_WORDS) {
    find_probabilities(search, log_probabilities);
    add_tapped(search, index, -1, row->log_probability + log(probability_of_end(search->probabilities)),
               taps->values[index][0][taps->num_taps], taps->bounds[index]);
  }
  if (least < LOG_LEAST_TOKEN) least = LOG_LEAST_TOKEN;
  if (row->has_letters) {
    walk(search, index, 0, tables.num_nodes, log_probabilities, least);
  } else if (!is_first || !is_spaced) {
    walk(search, index, 0, tables.space, log_probabilities, least);
  } else if (tables.space < tables.num_nodes) {
    walk(search, index, tables.space + 1, tables.num_nodes, log_probabilities, least);
    space = tables.nodes[3 * tables.space + 2];
    if (space >= 0 && (double)log_probabilities[space] > least && tables.kind != LM_OF_WORDS)
      let_wait(search, index, space, row->log_probability + (double)log_probabilities[space]);
  }
}

static void follow(lm_search* search, int32_t index, const float* log_probabilities, double row_share) {
  if (search->taps) {
    follow_taps(search, index, log_probabilities, row_share);
  } else {
    follow_prefix(search, index, log_probabilities, row_share);
  }
}

/* Aligns a row with the taps; the space before the word has none. */
static void align_row(lm_search* search, int32_t row) {
  const lm_beginning* beginning = &search->rows[row];
  size_t size;
  const char* piece = lm_piece(beginning->token, &size);
  const size_t space = beginning->before == 0 && !search->typed->begins && size && piece[0] == ' ';
  align(search->taps, row, beginning->before, piece + space, size - space);
}

/* Takes the likeliest beginnings that wait as rows, if one of them may change the words that are found; returns the
 * first of them. */
static int32_t take(lm_search* search) {
  const double least = least_probability(search), share = search->least_share * search->prefix_probability;
  const int32_t first = search->num_rows;
  double limit = least * search->round_share;
  while (search->num_waiting && search->num_rows - first < search->width && search->num_rows < LM_MOST_ROWS &&
         search->left) {
    const lm_beginning* next = &search->waiting[search->num_waiting - 1];
    if (exp(next->log_probability) <= limit) break;
    limit = least * search->row_share;
    search->num_waiting--;
    if (exp(next->log_probability) <= share) continue;
    if (!search->taps && (size_t)next->written < search->typed->prefix_size && search->ways[next->written]-- <= 0)
      continue;
    search->rows[search->num_rows] = *next;
    if (search->taps) align_row(search, search->num_rows);
    search->num_rows++;
    search->left--;
  }
  return first;
}

/* Reads the rows from one on, and adds what follows them. */
static void read_taken(lm_search* search, int32_t first) {
  float *states[LM_ROWS], *log_probabilities[LM_ROWS];
  int32_t tokens[LM_ROWS];
  int row, num_rows;
  for (; first < search->num_rows; first += num_rows) {
    num_rows = search->num_rows - first < LM_ROWS ? search->num_rows - first : LM_ROWS;
    for (row = 0; row < num_rows; row++) {
      const lm_beginning* beginning = &search->rows[first + row];
      const float* before = beginning->before > 0 ? search->states[beginning->before] : search->context->state;
      tokens[row] = beginning->token;
      states[row] = search->states[first + row];
      log_probabilities[row] = search->log_probabilities[row];
      memcpy(states[row], before, sizeof search->states[0]);
    }
    read_rows(tokens, num_rows, states, log_probabilities);
    for (row = 0; row < num_rows; row++) follow(search, first + row, log_probabilities[row], search->row_share);
  }
}

/* Finds the words of a vocabulary of words, for which nothing is read. */
static void find_tokens(lm_search* search) {
  const lm_typed* typed = search->typed;
  int32_t token;
  find_probabilities(search, search->context->log_probabilities);
  for (token = 0; token < tables.num_tokens; token++) {
    if (!(tables.roles[token] & LM_IS_UNNAMED) && begins_as(token, typed->prefix, typed->prefix_size, 0)) {
      const double probability = (double)search->probabilities[token];
      search->prefix_probability += probability;
      if (probability > least_probability(search)) add_word(search, 0, token, probability);
    }
  }
}

/* Returns the logarithm of the probability of what is known before a word: that the space comes, or anything. */
static double log_given(lm_search* search, int is_spaced) {
  const float* log_probabilities = search->context->log_probabilities;
  double known = 0.0;
  int32_t token;
  find_probabilities(search, log_probabilities);
  for (token = 0; token < tables.num_tokens; token++) {
    if (is_spaced ? begins_as(token, " ", 1, 0) : (tables.roles[token] & LM_ENDS_WORD) != 0)
      known += (double)search->probabilities[token];
  }
  return log(known > 1e-30 ? known : 1e-30);
}

/* Reads beginnings until no one that waits can change the words that are found. So many rounds pass before words are
 * left out that are less likely than `at_least`: as many as it takes to read what is typed, so that rare words may be
 * found. */
static void run(lm_search* search, double first_row_share, size_t num_rounds, double at_least) {
  int32_t first;
  search->at_least = num_rounds ? 0.0 : at_least;
  follow(search, 0, search->context->log_probabilities, first_row_share);
  for (first = take(search); first < search->num_rows; first = take(search)) {
    if (num_rounds && --num_rounds == 0) search->at_least = at_least;
    read_taken(search, first);
  }
}

/* Finds the words that several tokens write. Bytes write a word in one way, which has all of its probability; of
 * several ways each may have less than the last word although they have more together, and rows are cheap beside a
 * round. */
static void find_pieces(lm_search* search) {
  const lm_typed* typed = search->typed;
  const int has_ways = tables.kind == LM_OF_SUBWORDS, is_spaced = typed->prefix_size > 0 && typed->prefix[0] == ' ';
  size_t i;
  search->least_share = LEAST_SHARE;
  search->round_share = has_ways ? 0.7 : 1.0;
  search->row_share = has_ways ? 0.1 : 1.0;
  search->width = has_ways ? 3 * search->num_words : search->num_words + 2;
  search->left = 64 + 16 * search->num_words + WAYS * (int32_t)typed->prefix_size;
  if (!typed->begins && (!typed->prefix_size || is_spaced))
    search->rows[0].log_probability = -log_given(search, is_spaced);
  for (i = 0; i < LM_WORD_BYTES; i++) search->ways[i] = WAYS;
  run(search, 1.0, 0, 0.0);
}

static void begin_search(lm_search* search, lm_taps* taps, const lm_context* context, const lm_typed* typed,
                         int num_words) {
  search->context = context;
  search->typed = typed;
  search->taps = taps;
  search->at_least = search->prefix_probability = 0.0;
  search->num_words = num_words < LM_MOST_WORDS ? num_words : LM_MOST_WORDS;
  search->num_rows = 1;
  search->num_waiting = search->num_found = 0;
  memset(&search->rows[0], 0, sizeof search->rows[0]);
  search->rows[0].before = -1;
}

/* Writes the words that were found; returns how many there are. */
static int write_words(const lm_search* search, lm_word* words) {
  int32_t i;
  for (i = 0; i < search->num_found && i < search->num_words; i++) {
    const lm_found* found = &search->found[i];
    words[i].text[bare_word(words[i].text, write_tokens(search, found->row, found->token, words[i].text), 0)] = 0;
    words[i].probability = found->probability < 1.0 ? found->probability : 1.0;
  }
  return i;
}

int lm_suggest(lm_search* search, const lm_context* context, const lm_typed* typed, int num_words, lm_word* words) {
  begin_search(search, 0, context, typed, num_words);
  if (num_words < 1 || typed->prefix_size >= LM_WORD_BYTES) return 0;
  if (tables.kind == LM_OF_WORDS) {
    find_tokens(search);
  } else {
    find_pieces(search);
  }
  if (search->prefix_probability > 1.0) search->prefix_probability = 1.0;
  return write_words(search, words);
}

static double num_characters(const char* text) {
  double number = 0.0;
  for (; *text; text++) number += (*text & 0xC0) != 0x80;
  return number;
}

/* Returns the probability of what is typed, without that of its taps, and the tokens that had to be read for it. */
static double read_literal(lm_search* search, size_t* num_read) {
  const lm_typed* typed = search->typed;
  char text[LM_WORD_BYTES + 2];
  int32_t tokens[LM_WORD_BYTES + 2];
  size_t size = strlen(typed->letters), num_before = 0, num_tokens, i, bytes;
  const uint32_t class = class_of(character_at(typed->letters, size, 0, &bytes));
  const int is_letter = (class & (LM_LETTER | LM_DIGIT | LM_NUMBER)) && !(class & LM_UNSPACED);
  const char* before = typed->begins && is_letter ? "(" : "a";
  float *state = search->states[0], *log_probabilities = search->log_probabilities[0];
  double result = 0.0;
  if (tables.kind == LM_OF_WORDS) {
    memcpy(text, typed->letters, size);
  } else { /* with something before it, since what begins a paragraph may be read with a space */
    num_before = lm_encode(before, 1, tokens, LM_WORD_BYTES);
    text[0] = before[0];
    text[1] = ' ';
    memcpy(text + 1 + (is_letter && !typed->begins), typed->letters, size);
    size += 1 + (size_t)(is_letter && !typed->begins);
  }
  num_tokens = lm_encode(text, size, tokens, LM_WORD_BYTES);
  *num_read = num_tokens - num_before - (num_tokens > num_before && tables.kind == LM_OF_WORDS);
  memcpy(state, search->context->state, sizeof search->states[0]);
  memcpy(log_probabilities, search->context->log_probabilities, sizeof search->log_probabilities[0]);
  for (i = num_before; i < num_tokens && i < LM_WORD_BYTES; i++) {
    result += (double)log_probabilities[tokens[i]];
    if (tokens[i] == tables.unk)
      result -= 2.995732274 * (1.0 + num_characters(typed->letters)); /* one of twenty each */
    if (tables.kind != LM_OF_WORDS || i + 1 < num_tokens) read_rows(tokens + i, 1, &state, &log_probabilities);
  }
  if (tables.kind == LM_OF_WORDS) return exp(result);
  find_probabilities(search, log_probabilities);
  return exp(result) * probability_of_end(search->probabilities);
}

/* Finds words for taps; returns the probability of what is typed. */
static double find_tapped(lm_search* search, double least_odds) {
  lm_taps* taps = search->taps;
  const lm_typed* typed = search->typed;
  const double given = typed->begins || tables.kind == LM_OF_WORDS ? 0.0 : log_given(search, 1);
  size_t num_read;
  const double literal = prior(typed->letters, strlen(typed->letters)) * read_literal(search, &num_read) * exp(-given) *
                         pow(hit_rate(), taps->num_taps);
  search->least_share = LEAST_SHARE_TYPED;
  search->round_share = 0.7;
  search->row_share = 0.1;
  search->width = 3 * search->num_words > 10 ? 3 * search->num_words : 10;
  search->left = 64 + 12 * search->num_words;
  begin_taps(taps);
  search->rows[0].log_probability = log(taps->bounds[0]) - given;
  if (taps->may_be_words) run(search, search->row_share, num_read, least_odds * literal);
  return literal;
}

/* Puts what is typed among the words that were found, in its place by its probability; returns how many there are. */
static int place_literal(lm_word* words, int found, int room, const char* letters, double literal) {
  int place = 0;
  while (place < found && strcmp(words[place].text, letters) != 0) place++;
  if (place == found && found < room) {
    found++;
  } else {
    place -= place == found; /* there is no room but that of the last */
    if (words[place].probability >= literal) return found;
  }
  for (; place > 0 && words[place - 1].probability < literal; place--) words[place] = words[place - 1];
  strcpy(words[place].text, letters);
  words[place].probability = literal < 1.0 ? literal : 1.0;
  return found;
}

int lm_suggest_typos(lm_search* search, lm_taps* taps, const lm_context* context, const lm_typed* typed, int layout,
                     const float* points, int num_words, lm_word* words, lm_word* correction) {
  double literal, total = 0.0;
  int found, i, has_literal = 0;
  correction->text[0] = 0;
  if (num_words < 1 || !find_hits(taps, typed, layout, points))
    return lm_suggest(search, context, typed, num_words, words);
  begin_search(search, taps, context, typed, 1);
  taps->is_whole = 1;
  literal = find_tapped(search, ODDS_TO_CORRECT);
  found = write_words(search, correction);
  if (!found || correction->probability <= literal * ODDS_TO_CORRECT || !strcmp(correction->text, typed->letters))
    correction->text[0] = 0;
  /* With a letter that no piece has, taps are no slips. */
  if (!taps->may_be_words && (found = lm_suggest(search, context, typed, num_words, words)) > 0) return found;
  begin_search(search, taps, context, typed, num_words);
  taps->is_whole = 0;
  literal = find_tapped(search, LEAST_ODDS);
  found = place_literal(words, write_words(search, words), search->num_words, typed->letters, literal);
  for (i = 0; i < found; i++) {
    total += words[i].probability;
    has_literal = has_literal || !strcmp(words[i].text, typed->letters);
  }
  if (!has_literal) total += literal;
  search->prefix_probability = total < 1.0 ? total : 1.0;
  return found;
}
