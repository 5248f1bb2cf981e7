/* The search for words: the likeliest beginnings are read first, and no word is likelier than its beginning. */

/* Nothing is looked for that has a smaller share of the prefix's probability, or if it is typed with errors of that of
 * the likeliest word; nor a token then that is less likely, with its taps, than e to this power. */
#define LEAST_SHARE 1e-5
#define LOG_LEAST_TOKEN -20.0
#define LOG_LEAST -1e30
/* What a letter of a word that the vocabulary lacks is worth: one of twenty. */
#define LOG_LETTER -2.995732273553991
/* Beginnings that are read of those that write as much of the prefix: a letter may be small or a capital. */
enum { WAYS = 4 };
/* The rows of the text before, and of what is typed itself, whose tokens are read one after another. */
enum { TEXT_ROW, LITERAL_ROW, NUM_FIRST_ROWS };

static int is_left_out(const lm_search* search, int32_t token) {
  const uint8_t* left_out = search->question->left_out;
  return left_out ? left_out[token] : (search->model->roles[token] & LM_IS_UNNAMED) != 0;
}

/* Returns the probability that a word ends, from those of the tokens. */
static double probability_of_end(const lm_search* search) {
  const lm_model* model = search->model;
  double sum = 0.0;
  int32_t token;
  for (token = 0; token < model->num_tokens; token++)
    sum += model->roles[token] & LM_ENDS_WORD ? (double)search->probabilities[token] : 0.0;
  return sum;
}

/* Returns how many words are looked for in all. */
static int32_t most_words(const lm_search* search) {
  return search->question->num_words > search->goal ? search->question->num_words : search->goal;
}

/* Returns the probability of the last of some words that are looked for; the least of all while there are fewer. */
static double least_probability(const lm_search* search, int32_t k) {
  const double last = search->found.size < k ? 0.0 : search->found.words[k - 1].probability;
  return last > search->at_least ? last : search->at_least;
}

/* Writes what a row and a token behind it write; returns the bytes, 0 if they have no room. */
static size_t write_tokens(const lm_search* search, int32_t row, int32_t token, char* result) {
  int32_t tokens[LM_WORD_BYTES], num_tokens = 0;
  size_t size = 0, bytes;
  if (token >= 0) tokens[num_tokens++] = token;
  for (; row != TEXT_ROW && num_tokens < LM_WORD_BYTES; row = search->rows[row].before)
    tokens[num_tokens++] = search->rows[row].token;
  while (num_tokens > 0) {
    const char* piece = lm_piece(search->model, tokens[--num_tokens], &bytes);
    if (size + bytes >= LM_WORD_BYTES) return 0;
    memcpy(result + size, piece, bytes);
    size += bytes;
  }
  return size;
}

/* Takes the white space off a word; returns its bytes, 0 for what is none: a part of a character, or a word and a sign
 * that bytes write behind it. The end of a paragraph is one, `<eos>`. */
static size_t bare_word(const lm_model* model, char* word, size_t size, int is_partial) {
  size_t begin = 0, at, bytes = 0;
  int all = 1, first = 1;
  if (size == 1 && word[0] == '\n') {
    memcpy(word, "<eos>", 5);
    return 5;
  }
  while (begin < size && class_of(model, character_at(word, size, begin, &bytes)) & LM_SPACE) begin += bytes;
  while (size > begin && class_of(model, character_before(word, size, &at)) & LM_SPACE) size = at;
  memmove(word, word + begin, size -= begin);
  for (at = 0; at < size; at += bytes) {
    const uint32_t character = character_at(word, size, at, &bytes);
    if (character >= NO_CHARACTER) return 0;
    if (at == 0) first = is_of_word(model, character);
    all = all && is_of_word(model, character);
  }
  return is_partial && first && !all ? 0 : size;
}

/* Adds to the probability of a word unless it is settled, which keeps the words in their order. */
static void add_to(lm_list* list, lm_found found) {
  int32_t place = 0;
  while (place < list->size && list->words[place].hash != found.hash) place++;
  if (place < list->num_settled) return;
  if (place == list->room) {
    if (list->words[--place].probability >= found.probability) return;
  } else if (place == list->size) {
    list->size++;
  } else {
    found.probability += list->words[place].probability;
  }
  for (; place > list->num_settled && list->words[place - 1].probability < found.probability; place--)
    list->words[place] = list->words[place - 1];
  list->words[place] = found;
}

static int is_excluded(const lm_question* question, uint64_t hash) {
  return has_hash(question->excluded, question->num_excluded, (uint32_t)hash);
}

static void add_word(lm_search* search, int32_t row, int32_t token, double probability) {
  const lm_question* question = search->question;
  const int is_partial = search->rows[row].is_partial || (token >= 0 && search->model->roles[token] & LM_IS_PARTIAL);
  lm_found found;
  char word[LM_WORD_BYTES];
  int is_beside;
  const size_t size = bare_word(search->model, word, write_tokens(search, row, token, word), is_partial);
  if (!size) return;
  found.hash = lm_hash(word, size);
  if (is_excluded(question, found.hash) && (found.hash != search->literal_hash || search->is_settled)) return;
  is_beside = has_hash(question->beside, question->num_beside, (uint32_t)found.hash);
  if (is_beside && search->is_settled) return;
  if (question->hits) {
    probability *= prior(search->model, question, word, size);
    if (probability > search->total) search->total = probability;
  }
  found.probability = probability;
  found.row = row;
  found.token = token;
  add_to(is_beside ? &search->beside : &search->found, found);
}

/* Lets a beginning wait: a row and one more token. Of more than may still be read, the least likely are forgotten. */
static void let_wait(lm_search* search, int32_t row, int32_t token, double log_probability) {
  const lm_beginning* before = &search->rows[row];
  const int32_t role = search->model->roles[token], prefix_size = search->question->typed->prefix_size;
  lm_beginning *waiting = search->waiting, beginning;
  int32_t low = 0, high = search->num_waiting;
  size_t bytes;
  while (low < high) {
    const int32_t middle = (low + high) / 2;
    if (waiting[middle].log_probability < log_probability) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (search->num_waiting >= search->most_waiting) {
    if (low == 0) return;
    memmove(waiting, waiting + 1, (size_t)--low * sizeof *waiting);
  } else {
    memmove(waiting + low + 1, waiting + low, (size_t)(search->num_waiting++ - low) * sizeof *waiting);
  }
  folded_piece(search->model, token, &bytes);
  beginning.log_probability = log_probability;
  beginning.before = row;
  beginning.token = token;
  beginning.written = before->written + (int32_t)bytes;
  if (beginning.written > prefix_size) beginning.written = prefix_size;
  beginning.has_letters = before->has_letters || role & LM_HAS_LETTERS;
  beginning.is_partial = before->is_partial || role & LM_IS_PARTIAL;
  waiting[low] = beginning;
}

/* Whether a token may come next where the rest of the prefix is to be written, and whether it writes all of that. */
static int fits(const lm_search* search, const lm_beginning* row, int32_t token, int* covers) {
  const lm_typed* typed = search->question->typed;
  const char* rest = typed->prefix + row->written;
  const size_t size = (size_t)(typed->prefix_size - row->written);
  size_t bytes;
  const char* piece = folded_piece(search->model, token, &bytes);
  *covers = bytes >= size;
  if (size) return bytes && !memcmp(piece, rest, bytes < size ? bytes : size);
  if (row->before < 0 && !typed->begins) return (search->model->roles[token] & LM_ENDS_WORD) != 0;
  return !(search->model->roles[token] & LM_IS_SPACED);
}

static double log_least(const lm_search* search, double share) {
  const double least = least_probability(search, most_words(search)) * share,
               of_all = search->least_share * search->total;
  return least > of_all ? log(least) : of_all > 0.0 ? log(of_all) : LOG_LEAST;
}

static void find_probabilities(lm_search* search, const float* log_probabilities) {
  memcpy(search->probabilities, log_probabilities, sizeof(float) * (size_t)search->model->num_tokens);
  raise_e(search->probabilities, search->model->num_tokens);
}

/* Adds what may follow a row: words that end at once, and longer beginnings. */
static void follow_prefix(lm_search* search, int32_t index, const float* log_probabilities) {
  const lm_model* model = search->model;
  const lm_beginning* row = &search->rows[index];
  const int is_written = row->written == search->question->typed->prefix_size, goes_on = row->has_letters && is_written;
  const int has_beside = search->question->num_beside > 0 && !row->has_letters;
  int32_t token;
  int covers;
  double least;
  find_probabilities(search, log_probabilities);
  if (goes_on) {
    add_word(search, index, -1, exp(row->log_probability) * probability_of_end(search));
  } else if (!is_written || row->before < 0) {
    double sum = 0.0;
    for (token = 0; token < model->num_tokens; token++) {
      if (fits(search, row, token, &covers) && covers && (row->has_letters || !is_left_out(search, token)))
        sum += (double)search->probabilities[token];
    }
    search->total += exp(row->log_probability) * sum;
  }
  least = log_least(search, search->row_share) - row->log_probability;
  for (token = 0; token < model->num_tokens; token++) {
    const double value = (double)log_probabilities[token];
    if (value <= least && !(has_beside && model->roles[token] & LM_IS_WHOLE)) continue;
    if (goes_on) {
      if (!(model->roles[token] & LM_ENDS_WORD)) let_wait(search, index, token, row->log_probability + value);
    } else if (fits(search, row, token, &covers) && (row->has_letters || !is_left_out(search, token))) {
      if (covers && model->roles[token] & LM_IS_WHOLE) {
        add_word(search, index, token, exp(row->log_probability + value));
      } else if (value > least) {
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

/* Adds to the probability of all that comes and begins as typed: what ends the last tap with a token has that of all
 * words that go on from there. Nothing that depends on how many words are asked for. */
static void add_begun(lm_search* search, int32_t index, int32_t token, double value, double end, double bound) {
  const lm_beginning* row = &search->rows[index];
  const int goes_on = row->has_letters && !(search->model->roles[token] & LM_ENDS_WORD);
  const double probability = exp(row->log_probability + value),
               more = end - (goes_on ? search->aligned[index].values[0][search->question->hits->num_taps] : 0.0);
  if (more > 0.0 && probability > least_probability(search, search->goal) * search->row_share)
    search->begun += probability * more / bound;
}

/* Lets a token wait that taps may stand for after a row, or adds its word if each token is one. */
static void take_token(lm_search* search, int32_t index, int32_t token, double value, const double* values,
                       double bound, double least) {
  const lm_model* model = search->model;
  const lm_hits* hits = search->question->hits;
  const double log_probability = search->rows[index].log_probability + value, end = values[hits->num_taps];
  if (model->kind == LM_OF_WORDS) { /* another may follow, after a space that may be left out */
    const double spaced = hits->omissions[model->num_symbols - 1] * (1.0 - end / bound);
    add_tapped(search, index, token, log_probability, end, bound);
    if (spaced <= 0.0 || value + log(spaced) <= least) return;
  }
  let_wait(search, index, token, log_probability);
}

/* Returns the largest log probability of the tokens from one node of the trie to another. */
static double likeliest_token(const lm_model* model, int32_t node, int32_t last, const float* log_probabilities) {
  float most = (float)LOG_LEAST;
  for (; node < last; node++) {
    const int32_t token = model->nodes[3 * node + 2];
    if (token >= 0 && log_probabilities[token] > most) most = log_probabilities[token];
  }
  return (double)most;
}

/* Walks the trie of tokens from one node to another, as far as the bounds of the rows of their letters allow: they and
 * the likeliest token of what follows a node say what may come there at most. */
static void walk(lm_search* search, int32_t index, int32_t node, int32_t last, const float* log_probabilities,
                 double least) {
  const lm_model* model = search->model;
  const lm_hits* hits = search->question->hits;
  const lm_row* row = &search->aligned[index];
  int32_t depth = 0;
  memcpy(search->path[0], row->values[1], sizeof search->path[0]);
  memcpy(search->path[1], row->values[0], sizeof search->path[0]);
  search->path_ends[0] = last;
  search->path_symbols[0] = row->last;
  search->path_least[0] = row->bound * exp(least); /* no token is likelier than 1 */
  while (node < last && row->bound > 0.0) {
    const int32_t symbol = model->nodes[3 * node], end = model->nodes[3 * node + 1], token = model->nodes[3 * node + 2];
    double *r, *q, *p, after, of_node;
    while (search->path_ends[depth] <= node) depth--;
    r = search->path[depth];
    q = search->path[depth + 1];
    p = search->path[depth + 2];
    add_letter(hits, model->num_symbols - 1, q, r, search->path_symbols[depth], symbol, p);
    after = bound_of(hits, p, q);
    if (after <= search->path_least[depth]) {
      node = end;
      continue;
    }
    of_node = row->bound * exp(least - likeliest_token(model, node, end, log_probabilities));
    if (after <= of_node) {
      node = end;
      continue;
    }
    if (token >= 0) {
      const double value = log(after / row->bound) + (double)log_probabilities[token];
      if (!hits->is_whole) add_begun(search, index, token, value, p[hits->num_taps], after);
      if (value > least) take_token(search, index, token, value, p, after, least);
    }
    depth++;
    search->path_ends[depth] = end;
    search->path_symbols[depth] = symbol;
    search->path_least[depth] = of_node;
    node++;
  }
}

/* Adds what may follow a row if the word is typed with errors. */
static void follow_taps(lm_search* search, int32_t index, const float* log_probabilities) {
  const lm_model* model = search->model;
  const lm_beginning* row = &search->rows[index];
  const lm_row* aligned = &search->aligned[index];
  const int is_first = row->before < 0, is_spaced = !search->question->typed->begins;
  double least = log_least(search, search->row_share) - row->log_probability;
  if (row->has_letters && model->kind != LM_OF_WORDS) {
    find_probabilities(search, log_probabilities);
    add_tapped(search, index, -1, row->log_probability + log(probability_of_end(search)),
               aligned->values[0][search->question->hits->num_taps], aligned->bound);
  }
  if (least < LOG_LEAST_TOKEN) least = LOG_LEAST_TOKEN;
  if (row->has_letters) {
    walk(search, index, 0, model->num_nodes, log_probabilities, least);
  } else if (!is_first || !is_spaced) {
    walk(search, index, 0, model->space, log_probabilities, least);
  } else if (model->space < model->num_nodes) {
    const int32_t space = model->nodes[3 * model->space + 2];
    walk(search, index, model->space + 1, model->num_nodes, log_probabilities, least);
    if (space >= 0 && (double)log_probabilities[space] > least && model->kind != LM_OF_WORDS)
      let_wait(search, index, space, row->log_probability + (double)log_probabilities[space]);
  }
}

/* Finds the words of a vocabulary of words, for which nothing is read. */
static void find_tokens(lm_search* search, const float* log_probabilities) {
  const lm_model* model = search->model;
  const lm_typed* typed = search->question->typed;
  int32_t token;
  find_probabilities(search, log_probabilities);
  for (token = 0; token < model->num_tokens; token++) {
    if (!is_left_out(search, token) && begins_as(model, token, typed->prefix, (size_t)typed->prefix_size, 0)) {
      const double probability = (double)search->probabilities[token];
      search->total += probability;
      if (probability > least_probability(search, search->goal)) add_word(search, TEXT_ROW, token, probability);
    }
  }
}

/* Returns the logarithm of the probability of what is known before a word: that the space comes, or anything. */
static double log_given(const lm_search* search, int is_spaced) {
  const lm_model* model = search->model;
  double known = 0.0;
  int32_t token;
  for (token = 0; token < model->num_tokens; token++) {
    if (is_spaced ? begins_as(model, token, " ", 1, 0) : (model->roles[token] & LM_ENDS_WORD) != 0)
      known += (double)search->probabilities[token];
  }
  return log(known > 1e-30 ? known : 1e-30);
}

static double num_characters(const char* text) {
  double number = 0.0;
  for (; *text; text++) number += (*text & 0xC0) != 0x80;
  return number;
}

/* Finds the tokens of what is typed, as they come after a word; returns how many there are. */
static int32_t encode_literal(const lm_model* model, const lm_typed* typed, int32_t* literal) {
  char text[LM_WORD_BYTES + 2];
  int32_t tokens[LM_WORD_BYTES + 2];
  size_t size = strlen(typed->letters), num_before = 0, num_tokens, bytes;
  const uint32_t kind = class_of(model, character_at(typed->letters, size, 0, &bytes));
  const int is_letter = (kind & (LM_LETTER | LM_DIGIT | LM_NUMBER)) && !(kind & LM_UNSPACED);
  const char* before = typed->begins && is_letter ? "(" : "a";
  if (model->kind == LM_OF_WORDS) {
    memcpy(text, typed->letters, size);
  } else { /* with something before it, since what begins a paragraph may be read with a space */
    num_before = lm_encode(model, before, 1, tokens, LM_WORD_BYTES);
    text[0] = before[0];
    text[1] = ' ';
    memcpy(text + 1 + (is_letter && !typed->begins), typed->letters, size);
    size += 1 + (size_t)(is_letter && !typed->begins);
  }
  num_tokens = lm_encode(model, text, size, tokens, LM_WORD_BYTES);
  if (num_tokens > LM_WORD_BYTES) num_tokens = LM_WORD_BYTES;
  memcpy(literal, tokens + num_before, sizeof *tokens * (num_tokens - num_before));
  return (int32_t)(num_tokens - num_before);
}

/* Returns what the letters of what is typed are worth if its tokens do not write them. */
static double log_letters(const lm_search* search) {
  const lm_question* question = search->question;
  int32_t i, is_written = question->num_literal > 0; /* words without `unk` write no others at all */
  for (i = 0; i < question->num_literal; i++) is_written &= question->literal[i] != search->model->unk;
  return is_written ? 0.0 : LOG_LETTER * (1.0 + num_characters(question->typed->letters));
}

/* Takes what comes after the tokens of what is typed that were read. The last is not read if each is a word. Once its
 * probability is known, words with too small odds against it are not looked for. */
static void follow_literal(lm_search* search, const float* log_probabilities) {
  const lm_question* question = search->question;
  const int is_of_words = search->model->kind == LM_OF_WORDS;
  if (search->literal_read < question->num_literal) {
    search->literal += (double)log_probabilities[question->literal[search->literal_read++]];
    if (!is_of_words || search->literal_read < question->num_literal) return;
  } else if (!is_of_words) {
    const double end = (find_probabilities(search, log_probabilities), probability_of_end(search));
    search->literal += log(end > 1e-30 ? end : 1e-30);
  }
  search->literal_read = question->num_literal + 1; /* all is known */
  search->literal += log(prior(search->model, question, question->typed->letters, strlen(question->typed->letters))) -
                     search->given + question->hits->num_taps * log(question->hits->hit);
  search->at_least = question->least_odds * exp(search->literal);
  if (search->at_least < question->at_least) search->at_least = question->at_least;
}

/* Begins with what comes after the text. */
static void follow_text(lm_search* search, const float* log_probabilities) {
  const lm_question* question = search->question;
  const lm_typed* typed = question->typed;
  const int is_spaced = typed->prefix_size > 0 && typed->prefix[0] == ' ';
  if (search->model->kind != LM_OF_WORDS && !typed->begins && (!typed->prefix_size || is_spaced || question->hits)) {
    find_probabilities(search, log_probabilities);
    search->given = log_given(search, is_spaced || question->hits);
  }
  search->rows[TEXT_ROW].log_probability = -search->given;
  if (question->hits) {
    begin_taps(question->hits, &search->aligned[TEXT_ROW]);
    search->rows[TEXT_ROW].log_probability += log(search->aligned[TEXT_ROW].bound);
    search->literal = log_letters(search);
    follow_literal(search, log_probabilities);
    if (question->hits->may_be_words) follow_taps(search, TEXT_ROW, log_probabilities);
  } else if (search->model->kind == LM_OF_WORDS) {
    find_tokens(search, log_probabilities);
  } else {
    follow_prefix(search, TEXT_ROW, log_probabilities);
  }
}

/* Aligns a row with the taps; the space before the word has none. */
static void align_row(lm_search* search, int32_t index) {
  const lm_beginning* row = &search->rows[index];
  size_t size;
  const char* piece = lm_piece(search->model, row->token, &size);
  const size_t space = row->before == TEXT_ROW && !search->question->typed->begins && size && piece[0] == ' ';
  align(search->model, search->question->hits, &search->aligned[row->before], &search->aligned[index], piece + space,
        size - space);
}

/* Takes the likeliest beginnings that wait as rows, if one of them may change the words that are found. */
static void take_waiting(lm_search* search) {
  const double least = least_probability(search, search->goal), share = search->least_share * search->total;
  const int32_t first = search->num_rows, is_exact = !search->question->hits;
  double limit = least * search->round_share;
  while (search->num_waiting && search->num_rows - first < search->width && search->left) {
    const lm_beginning* next = &search->waiting[search->num_waiting - 1];
    if (exp(next->log_probability) <= limit) break;
    limit = least * search->row_share;
    search->num_waiting--;
    if (exp(next->log_probability) <= share) continue;
    if (is_exact && next->written < search->question->typed->prefix_size && search->ways[next->written]-- <= 0)
      continue;
    search->rows[search->num_rows] = *next;
    if (!is_exact) align_row(search, search->num_rows);
    search->num_rows++;
    search->left--;
  }
}

/* Returns how many beginnings are read at most for so many words. */
static int32_t rows_for(const lm_search* search, int32_t num_words) {
  const lm_question* question = search->question;
  const int32_t room = search->most_rows - NUM_FIRST_ROWS;
  int32_t most =
      64 + (question->hits ? 12 : 16) * num_words + (question->hits ? 0 : WAYS * question->typed->prefix_size);
  if (question->most_rows) most = question->most_rows;
  return most < room ? most : room;
}

/* Bytes write a word in one way, which has all of its probability; of several ways each may have less than the last
 * word although they have more together, and rows are cheap beside a round. */
static void set_pace(lm_search* search, int32_t goal) {
  const lm_question* question = search->question;
  const int32_t has_ways = question->hits || search->model->kind == LM_OF_SUBWORDS;
  search->goal = goal;
  search->round_share = has_ways ? 0.7 : 1.0;
  search->row_share = has_ways ? 0.1 : 1.0;
  search->width = has_ways ? 3 * goal : goal + 2;
  if (question->hits && search->width < 10) search->width = 10;
  search->left = rows_for(search, goal) - (search->num_rows - NUM_FIRST_ROWS);
}

/* Gives what is typed its probability, as it stands or by all ways that were read to write it, if that is more; it is
 * among the words that are found unless it is left out. Returns what it has more than the ways. */
static double settle_literal(lm_search* search, lm_list* list) {
  lm_found literal = {search->literal_hash, exp(search->literal), LITERAL_ROW, -1};
  int32_t place = 0;
  while (place < list->size && list->words[place].hash != literal.hash) place++;
  if (place < list->size) {
    literal.probability -= list->words[place].probability;
    if (literal.probability < 0.0) search->literal = log(list->words[place].probability);
  }
  if (!is_excluded(search->question, literal.hash)) {
    if (literal.probability > 0.0) add_to(list, literal);
  } else if (place < list->size) {
    memmove(list->words + place, list->words + place + 1, (size_t)(--list->size - place) * sizeof literal);
  }
  return literal.probability > 0.0 ? literal.probability : 0.0;
}

/* Ends the search for so many words, whatever comes of more: they keep their probabilities, and all words theirs, which
 * is that of what begins so, or of what was found if that is more. */
static void settle(lm_search* search) {
  const lm_question* question = search->question;
  const int is_beside = has_hash(question->beside, question->num_beside, (uint32_t)search->literal_hash);
  const lm_list* lists[2] = {&search->found, &search->beside};
  int32_t i, j;
  search->begun += settle_literal(search, is_beside ? &search->beside : &search->found);
  search->sum = is_excluded(question, search->literal_hash) ? exp(search->literal) : 0.0;
  for (i = 0; i < 2; i++)
    for (j = 0; j < lists[i]->size; j++) search->sum += lists[i]->words[j].probability;
  if (search->sum < search->begun) search->sum = search->begun;
  search->beside.num_settled = search->beside.size;
  search->is_settled = 1;
}

/* Goes on with the search for more words than were found, if more are asked for: so the first do not depend on how many
 * are. Returns whether it goes on. */
static int look_for_more(lm_search* search) {
  if (!search->is_settled) settle(search);
  if (search->goal >= search->question->num_words) return 0;
  search->found.num_settled = search->found.size < search->goal ? search->found.size : search->goal;
  set_pace(search, 3 * search->goal + 1);
  return 1;
}

int32_t lm_take(lm_search* search, const lm_asked** asked) {
  const int32_t first = search->num_rows;
  const lm_question* question = search->question;
  const int reads_literal = question->hits && search->literal_read <= question->num_literal;
  int32_t row, number = 0;
  do {
    take_waiting(search);
  } while (question->hits && !reads_literal && search->num_rows == first && look_for_more(search));
  for (row = first; row < search->num_rows; row++, number++) {
    search->asked[number].row = row;
    search->asked[number].before = search->rows[row].before;
    search->asked[number].token = search->rows[row].token;
  }
  if (reads_literal) {
    search->asked[number].row = LITERAL_ROW;
    search->asked[number].before = search->literal_read > 1 ? LITERAL_ROW : TEXT_ROW;
    search->asked[number++].token = question->literal[search->literal_read - 1];
  }
  *asked = search->asked;
  return number;
}

void lm_give(lm_search* search, int32_t row, const float* log_probabilities) {
  if (row == TEXT_ROW) {
    follow_text(search, log_probabilities);
  } else if (row == LITERAL_ROW) {
    follow_literal(search, log_probabilities);
  } else if (search->question->hits) {
    follow_taps(search, row, log_probabilities);
  } else {
    follow_prefix(search, row, log_probabilities);
  }
}

void lm_find(lm_search* search, const lm_question* question) {
  int32_t i;
  search->question = question;
  search->total = search->begun = search->given = search->literal = 0.0;
  search->at_least = question->at_least;
  search->num_rows = NUM_FIRST_ROWS;
  search->num_waiting = search->literal_read = 0;
  search->found.size = search->beside.size = 0;
  memset(search->rows, 0, NUM_FIRST_ROWS * sizeof *search->rows);
  search->rows[TEXT_ROW].before = -1;
  for (i = 0; i < LM_WORD_BYTES; i++) search->ways[i] = WAYS;
  search->found.num_settled = search->beside.num_settled = search->is_settled = 0;
  search->least_share = question->least_share > 0.0 ? question->least_share : LEAST_SHARE;
  search->literal_hash = question->hits ? lm_hash(question->typed->letters, strlen(question->typed->letters)) : 0;
  set_pace(search, question->hits ? LM_SURE : question->num_words);
  search->most_waiting = rows_for(search, most_words(search));
}

double lm_total(const lm_search* search) {
  const double total = search->is_settled ? search->sum : search->total;
  return total < 1.0 ? total : 1.0;
}

double lm_literal(const lm_search* search) { return exp(search->literal); }

static void write_word(const lm_search* search, const lm_found* found, lm_word* word) {
  if (found->row == LITERAL_ROW) {
    strcpy(word->text, search->question->typed->letters);
  } else {
    const size_t size = write_tokens(search, found->row, found->token, word->text);
    word->text[bare_word(search->model, word->text, size, 0)] = 0;
  }
  word->probability = found->probability < 1.0 ? found->probability : 1.0;
}

int32_t lm_words(const lm_search* search, lm_word* words, int32_t room) {
  const lm_list *found = &search->found, *beside = &search->beside;
  const int32_t k = search->question->num_words, num_found = found->size < k ? found->size : k;
  int32_t i = 0, j = 0;
  while (i + j < room && (i < num_found || j < beside->size)) {
    const int is_found =
        j == beside->size || (i < num_found && found->words[i].probability >= beside->words[j].probability);
    write_word(search, is_found ? &found->words[i] : &beside->words[j], &words[i + j]);
    /* One that was found after others had been settled stays behind them. */
    if (i + j > 0 && words[i + j].probability > words[i + j - 1].probability)
      words[i + j].probability = words[i + j - 1].probability;
    if (is_found) {
      i++;
    } else {
      j++;
    }
  }
  return i + j;
}

/* The room of a search. */

typedef struct {
  char* begin; /* 0 where it is only counted */
  size_t size;
} lm_room;

static void* part(lm_room* room, size_t size, int32_t number) {
  const size_t begin = room->size;
  room->size += (size * (size_t)number + 7) / 8 * 8;
  return room->begin ? room->begin + begin : 0;
}

static void lay_out(lm_search* search, lm_room* room, int32_t num_words, int32_t flags) {
  const lm_model* model = search->model;
  const int32_t rows = search->most_rows, together = LM_ROWS_TOGETHER;
  search->rows = (lm_beginning*)part(room, sizeof(lm_beginning), rows);
  search->waiting = (lm_beginning*)part(room, sizeof(lm_beginning), rows);
  search->found.room = search->beside.room = LM_MORE_FOUND + num_words;
  search->found.words = (lm_found*)part(room, sizeof(lm_found), search->found.room);
  search->beside.words = (lm_found*)part(room, sizeof(lm_found), search->beside.room);
  search->asked = (lm_asked*)part(room, sizeof(lm_asked), rows);
  search->probabilities = (float*)part(room, sizeof(float), model->num_tokens);
  if (flags & LM_ERRS) {
    search->aligned = (lm_row*)part(room, sizeof(lm_row), rows);
    search->path = (double (*)[LM_MOST_TAPS + 1]) part(room, sizeof search->path[0], model->most_letters + 2);
    search->path_ends = (int32_t*)part(room, sizeof(int32_t), model->most_letters + 1);
    search->path_symbols = (int32_t*)part(room, sizeof(int32_t), model->most_letters + 1);
    search->path_least = (double*)part(room, sizeof(double), model->most_letters + 1);
    if (flags & LM_READS) search->room_of_hits = part(room, 1, (int32_t)lm_hits_bytes(model));
  }
  if (flags & LM_READS) {
    search->states = (float*)part(room, sizeof(float), rows * model->state_size);
    search->log_probabilities = (float*)part(room, sizeof(float), together * model->num_tokens);
    search->inputs = (float*)part(room, sizeof(float), together * model->most_inputs);
    search->sums = (float*)part(room, sizeof(float), together * model->most_outputs);
    search->values = (lm_value*)part(room, sizeof(lm_value), together * model->most_inputs);
  }
}

static int32_t most_rows(int32_t num_words, int32_t num_rows) {
  return NUM_FIRST_ROWS + (num_rows ? num_rows : LM_ROWS(num_words) + WAYS * LM_WORD_BYTES);
}

size_t lm_bytes(const lm_model* model, int32_t num_words, int32_t num_rows, int32_t flags) {
  lm_search search;
  lm_room room = {0, sizeof(lm_search)};
  memset(&search, 0, sizeof search);
  search.model = model;
  search.most_rows = most_rows(num_words, num_rows);
  lay_out(&search, &room, num_words, flags);
  return room.size;
}

lm_search* lm_open(void* begin, const lm_model* model, int32_t num_words, int32_t num_rows, int32_t flags) {
  lm_search* search = (lm_search*)begin;
  lm_room room;
  memset(search, 0, sizeof *search);
  room.begin = (char*)begin;
  room.size = sizeof(lm_search);
  search->model = model;
  search->most_rows = most_rows(num_words, num_rows);
  lay_out(search, &room, num_words, flags);
  return search;
}
