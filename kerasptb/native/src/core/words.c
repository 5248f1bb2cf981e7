/* Words, as the Penn Treebank has them. */

static int is_word_character(const lm_model* model, uint32_t character) {
  return (class_of(model, character) & (LM_LETTER | LM_MARK | LM_DIGIT | LM_NUMBER)) || character == '_' ||
         is_joiner(character);
}

/* Returns the token that writes a space and a text; -1 for none. */
static int32_t find_exact(const lm_model* model, const char* text, size_t size) {
  int32_t low = 0, high = model->num_tokens;
  while (low < high) {
    const int32_t middle = (low + high) / 2, token = model->sorted[middle];
    size_t bytes;
    const char* piece = lm_piece(model, token, &bytes);
    const size_t letters = bytes - 1; /* a line's end has none */
    int order = bytes ? memcmp(piece + 1, text, letters < size ? letters : size) : -1;
    if (!order) order = letters < size ? -1 : letters > size;
    if (!order) return piece[0] == ' ' ? token : -1;
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return -1;
}

/* Returns the token of a word as it is written, or in small letters; -1 for none. */
static int32_t find_word(const lm_model* model, const char* text, size_t size) {
  char small_letters[PART_BYTES + 8];
  size_t begin, written;
  const int32_t token = find_exact(model, text, size);
  if (token >= 0) return token;
  written = in_small(model, text, size, 0, small_letters, sizeof small_letters);
  if (written == sizeof small_letters) return -1;
  if (size && character_before(text, size, &begin) == CAPITAL_SIGMA && begin) {
    written -= 2;
    written += write_character(FINAL_SIGMA, small_letters + written);
  }
  return find_exact(model, small_letters, written);
}

/* Returns the bytes of a word that is written together with the one before, such as n't, at a place; 0 for none. */
static size_t clitic_at(const lm_model* model, const char* text, size_t size, size_t at) {
  static const char* const clitics[] = {"n't", "'s", "'re", "'ve", "'ll", "'d", "'m"};
  size_t i, j, bytes;
  for (i = 0; i < sizeof clitics / sizeof *clitics; i++) {
    const size_t end = at + strlen(clitics[i]);
    for (j = at; j < end && j < size; j++) {
      const char letter = text[j] >= 'A' && text[j] <= 'Z' ? (char)(text[j] + 32) : text[j];
      if (letter != clitics[i][j - at]) break;
    }
    if (j == end && (end == size || !is_word_character(model, character_at(text, size, end, &bytes)))) return end - at;
  }
  return 0;
}

/* Returns where the next such word begins that follows a letter, and where it ends; the size if there is none. */
static size_t next_clitic(const lm_model* model, const char* text, size_t size, size_t from, size_t* end) {
  size_t at, bytes, begin;
  for (at = from; at < size; at += bytes) {
    const size_t found = clitic_at(model, text, size, at);
    character_at(text, size, at, &bytes);
    if (found && at > 0 && is_word_character(model, character_before(text, at, &begin))) {
      *end = at + found;
      return at;
    }
  }
  return *end = size;
}

static size_t end_of_letters(const lm_model* model, const char* text, size_t size, size_t at) {
  size_t bytes;
  while (at < size && is_word_character(model, character_at(text, size, at, &bytes))) at += bytes;
  return at;
}

/* Returns where letters end that . or - may join: 3.5, U.S, well-known. */
static size_t end_of_joined(const lm_model* model, const char* text, size_t size, size_t at) {
  size_t end = end_of_letters(model, text, size, at), next;
  while (end < size && (text[end] == '.' || text[end] == '-') &&
         (next = end_of_letters(model, text, size, end + 1)) > end + 1)
    end = next;
  return end;
}

/* Whether a word is a number: digits, which . or - may join. */
static int is_numeral(const lm_model* model, const char* text, size_t size) {
  size_t at = 0, bytes;
  int follows_digit = 0;
  for (; at < size; at += bytes) {
    const uint32_t character = character_at(text, size, at, &bytes);
    const int is_digit = (class_of(model, character) & LM_DIGIT) != 0;
    if (!is_digit && !(follows_digit && (character == '.' || character == '-'))) return 0;
    follows_digit = is_digit;
  }
  return follows_digit;
}

static void append_word(const lm_model* model, const char* text, size_t size, token_list* list) {
  int32_t token = find_word(model, text, size);
  if (token < 0 && model->number >= 0 && is_numeral(model, text, size)) token = model->number;
  if (token < 0) token = model->unk;
  if (token >= 0) append(list, token);
}

/* Appends the words of a part of a text in which ' stands for all apostrophes, up to the next clitic. */
static void append_words(const lm_model* model, const char* text, size_t size, token_list* list) {
  size_t at = 0, end, bytes;
  int32_t sign;
  for (; at < size; at = end) {
    const uint32_t character = character_at(text, size, at, &bytes);
    const size_t clitic = clitic_at(model, text, size, at);
    end = at + bytes;
    if (clitic) {
      end = at + clitic;
      append_word(model, text + at, clitic, list);
    } else if (is_word_character(model, character)) {
      end = end_of_joined(model, text, size, at);
      append_word(model, text + at, end - at, list);
    } else if (character == '$' || character == '%' || character == '&') {
      append_word(model, text + at, 1, list);
    } else if (character != '\'' && (sign = find_exact(model, text + at, bytes)) >= 0) {
      append(list, sign);
    }
  }
}

/* Appends the words and signs of a part of a text that is no word as it is written. */
static void split_as_treebank(const lm_model* model, const char* text, size_t size, token_list* list) {
  char plain[PART_BYTES];
  size_t at, end, bytes, used = 0, begin = 0, from = 0;
  for (at = 0; at < size; at += bytes) {
    const uint32_t character = character_at(text, size, at, &bytes);
    used += write_character(character == 0x2019 ? '\'' : character, plain + used);
  }
  do {
    at = next_clitic(model, plain, used, from, &end);
    append_words(model, plain + begin, at - begin, list);
    begin = at;
    from = end;
  } while (at < used);
}

/* Finds what punctuation surrounds, which may end with signs that words end with: an apostrophe, and `.` if asked. */
static void find_inner(const lm_model* model, const char* text, size_t size, int stops, size_t* begin, size_t* end) {
  size_t at, bytes;
  int has_begun = 0;
  *begin = *end = size;
  for (at = 0; at < size; at += bytes) {
    const uint32_t character = character_at(text, size, at, &bytes);
    const int is_inner = is_word_character(model, character) || is_apostrophe(character);
    if (is_inner && !has_begun) {
      has_begun = 1;
      *begin = at;
      *end = at + bytes;
    }
    if (has_begun && (is_inner || (stops && character == '.'))) *end = at + bytes;
  }
}

/* Appends the words of a part of a text without white space: without the punctuation around it if that is a word. */
static void encode_word_part(const lm_model* model, const char* text, size_t size, int is_whole, token_list* list) {
  int32_t token = is_whole ? find_word(model, text, size) : -1;
  size_t begin, end;
  int stops;
  if (token >= 0) {
    append(list, token);
    return;
  }
  for (stops = 1; stops >= 0; stops--) {
    find_inner(model, text, size, stops, &begin, &end);
    if (end - begin < size && end > begin && (token = find_word(model, text + begin, end - begin)) >= 0) {
      encode_word_part(model, text, begin, 0, list);
      append(list, token);
      encode_word_part(model, text + end, size - end, 0, list);
      return;
    }
  }
  split_as_treebank(model, text, size, list);
}

/* Returns where a part without white space ends; one of more bytes than are read at once is cut. */
static size_t end_of_run(const lm_model* model, const char* text, size_t size, size_t at) {
  size_t end = at, bytes;
  while (end < size && !(class_of(model, character_at(text, size, end, &bytes)) & LM_SPACE) &&
         end + bytes - at <= PART_BYTES)
    end += bytes;
  return end;
}

static void encode_words(const lm_model* model, const char* text, size_t size, token_list* list) {
  size_t at = 0, end, bytes;
  for (; at < size; at = end) {
    end = end_of_run(model, text, size, at);
    if (end > at) {
      encode_word_part(model, text + at, end - at, 1, list);
      continue;
    }
    character_at(text, size, at, &bytes);
    end = at + bytes;
    if (text[at] == '\r' && end < size && text[end] == '\n') end++;
    if ((text[at] == '\n' || text[at] == '\r') && model->eos >= 0) append(list, model->eos);
  }
}

size_t lm_encode(const lm_model* model, const char* text, size_t size, int32_t* tokens, size_t room) {
  token_list list;
  list.tokens = tokens;
  list.room = room;
  list.size = 0;
  if (model->kind == LM_OF_WORDS) encode_words(model, text, size, &list);
  if (model->kind == LM_OF_SUBWORDS) encode_lines(model, text, size, &list, encode_line);
  if (model->kind == LM_OF_BYTES) encode_lines(model, text, size, &list, encode_bytes);
  return list.size;
}

/* The word that is being typed. */

/* Whether a token begins as a prefix in small letters, or is that and no more. */
static int begins_as(const lm_model* model, int32_t token, const char* prefix, size_t size, int is_exact) {
  size_t bytes;
  const char* piece = folded_piece(model, token, &bytes);
  return (is_exact ? bytes == size : bytes >= size) && !memcmp(piece, prefix, size);
}

/* Whether a token of words begins as what is typed, or is that and no more. */
static int is_known(const lm_model* model, const char* text, size_t size, int is_exact) {
  char prefix[LM_WORD_BYTES];
  size_t bytes = 1 + in_small(model, text, size, 1, prefix + 1, sizeof prefix - 1);
  int32_t token;
  prefix[0] = ' ';
  if (bytes >= sizeof prefix) return 0;
  for (token = 0; token < model->num_tokens; token++)
    if (begins_as(model, token, prefix, bytes, is_exact)) return 1;
  return 0;
}

/* Returns where the letters at the end of a text begin, by either idea of a letter. */
static size_t begin_of_letters(const lm_model* model, const char* text, size_t size,
                               int (*is_letter)(const lm_model*, uint32_t)) {
  size_t begin;
  while (size > 0 && is_letter(model, character_before(text, size, &begin))) size = begin;
  return size;
}

/* Returns where the word begins that is being typed at the end of a part without white space, of a text of words. */
static size_t begin_of_word(const lm_model* model, const char* run, size_t size) {
  size_t at, bytes, first = size, apostrophe = 0, begin;
  for (at = 0; at < size; at += bytes) {
    const uint32_t character = character_at(run, size, at, &bytes);
    if (first == size && is_word_character(model, character)) first = at;
    if (is_apostrophe(character)) apostrophe = at;
  }
  if (is_known(model, run, size, 0)) return 0;
  if (first < size && is_known(model, run + first, size - first, 0)) return first;
  if (apostrophe > 0) {
    const char before = run[apostrophe - 1];
    begin = apostrophe - 1;
    if ((before == 'n' || before == 'N') && first < begin && is_known(model, run + first, begin - first, 1) &&
        is_known(model, run + begin, size - begin, 0))
      return begin;
    if (is_known(model, run + apostrophe, size - apostrophe, 0)) return apostrophe;
  }
  return begin_of_letters(model, run, size, is_word_character);
}

void lm_split(const lm_model* model, const char* text, size_t size, lm_typed* typed) {
  size_t begin, start;
  int spaced;
  if (model->kind == LM_OF_WORDS) {
    for (begin = size; begin > 0 && !(class_of(model, character_before(text, begin, &start)) & LM_SPACE); begin = start)
      continue;
    begin += begin < size ? begin_of_word(model, text + begin, size - begin) : 0;
    spaced = begin < size;
    typed->whole = begin;
  } else {
    begin = begin_of_letters(model, text, size, is_of_word);
    typed->whole = begin && text[begin - 1] == ' ' ? begin - 1 : begin;
    spaced = typed->whole < begin || ((!begin || text[begin - 1] == '\n') && model->first);
  }
  typed->typed = size - begin;
  typed->begins = !spaced && comes_unspaced(model, text, typed->whole);
  memset(typed->letters, 0, sizeof typed->letters);
  if (typed->typed < sizeof typed->letters) memcpy(typed->letters, text + begin, typed->typed);
  typed->prefix[0] = ' ';
  typed->prefix_size = (size_t)spaced + in_small(model, text + begin, size - begin, 1, typed->prefix + spaced,
                                                 sizeof typed->prefix - (size_t)spaced);
}
