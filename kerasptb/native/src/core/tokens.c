/* Tokens. */

const char* lm_piece(const lm_model* model, int32_t token, size_t* size) {
  const int32_t begin = token ? model->pieces_ends[token - 1] : 0;
  *size = (size_t)(model->pieces_ends[token] - begin);
  return (const char*)model->pieces + begin;
}

static const char* folded_piece(const lm_model* model, int32_t token, size_t* size) {
  const int32_t begin = token ? model->folded_ends[token - 1] : 0;
  *size = (size_t)(model->folded_ends[token] - begin);
  return (const char*)model->folded + begin;
}

/* Tokens that are found, of which so many have a place. */
typedef struct {
  int32_t* tokens;
  size_t room, size;
} token_list;

static void append(token_list* list, int32_t token) {
  if (list->size < list->room) list->tokens[list->size] = token;
  list->size++;
}

/* Subwords: byte-pair encoding. */

/* Bytes of a part of a text that is encoded at once; longer ones are cut. */
enum { PART_BYTES = 256 };

/* Returns the merge of two tokens; 0 if there is none. */
static const int32_t* find_merge(const lm_model* model, int32_t left, int32_t right) {
  int32_t low = 0, high = model->num_merges;
  while (low < high) {
    const int32_t middle = (low + high) / 2, *merge = model->merges + 4 * (size_t)middle;
    if (merge[0] == left && merge[1] == right) return merge;
    if (merge[0] < left || (merge[0] == left && merge[1] < right)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return 0;
}

/* Appends the tokens of a part of a text: of its bytes, the pair that was merged first in training is merged first. */
static void encode_part(const lm_model* model, const char* part, size_t size, token_list* list) {
  int32_t tokens[PART_BYTES];
  size_t i;
  for (i = 0; i < size; i++) tokens[i] = model->of_bytes[(uint8_t)part[i]];
  for (;;) {
    const int32_t* best = 0;
    size_t place = 0;
    for (i = 0; i + 1 < size; i++) {
      const int32_t* merge = find_merge(model, tokens[i], tokens[i + 1]);
      if (merge && (!best || merge[2] < best[2])) {
        best = merge;
        place = i;
      }
    }
    if (!best) break;
    tokens[place] = best[3];
    size--;
    memmove(tokens + place + 1, tokens + place + 2, (size - place - 1) * sizeof *tokens);
  }
  for (i = 0; i < size; i++) append(list, tokens[i]);
}

/* What byte-level tokenizers take together: letters, numbers, or what is neither, and no white space. */
static uint32_t group_of(const lm_model* model, uint32_t character) {
  const uint32_t kind = class_of(model, character);
  if (kind & LM_SPACE) return character >= 0x1C && character < 0x20 ? 0 : LM_SPACE; /* separators of files are signs */
  return kind & LM_LETTER ? LM_LETTER : kind & (LM_DIGIT | LM_NUMBER) ? LM_NUMBER : 0;
}

/* Returns where the characters of a group end that begin at a place, and where the last of them begins. */
static size_t end_of_group(const lm_model* model, const char* text, size_t size, size_t at, uint32_t group,
                           size_t* last) {
  size_t bytes;
  while (at < size && group_of(model, character_at(text, size, at, &bytes)) == group) {
    *last = at;
    at += bytes;
  }
  return at;
}

/* Returns the bytes of an English ending such as 're at a place; 0 if there is none. */
static size_t contraction_at(const char* text, size_t size, size_t at) {
  static const char* const endings[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
  size_t i;
  for (i = 0; i < sizeof endings / sizeof *endings; i++) {
    const size_t bytes = strlen(endings[i]);
    if (bytes <= size - at && !memcmp(text + at, endings[i], bytes)) return bytes;
  }
  return 0;
}

/* Returns where the part of a line ends that begins at a place, where a space may stand that the text lacks.
 *
 * The parts are those of GPT-2's expression: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 */
static size_t end_of_part(const lm_model* model, const char* text, size_t size, size_t at, int spaced) {
  size_t bytes, last = at, end = spaced ? 0 : contraction_at(text, size, at);
  const size_t after = at + (!spaced && text[at] == ' ');
  uint32_t group;
  if (end) return at + end;
  group = after < size ? group_of(model, character_at(text, size, after, &bytes)) : (uint32_t)LM_SPACE;
  if (group != LM_SPACE) return end_of_group(model, text, size, after, group, &last);
  end = end_of_group(model, text, size, at, LM_SPACE, &last);
  return end < size && (spaced || last > at) ? last : end; /* the last space is of the word behind it */
}

static void encode_line(const lm_model* model, const char* line, size_t size, token_list* list) {
  char part[PART_BYTES];
  size_t at = 0, begin = 0, end, used = 0;
  int spaced = model->first;
  while (at < size || spaced) {
    begin = at;
    end = end_of_part(model, line, size, at, spaced);
    if (spaced) part[used++] = ' ';
    spaced = 0;
    for (at = begin; at < end; at++) {
      part[used++] = line[at];
      if (used == PART_BYTES) {
        encode_part(model, part, used, list);
        used = 0;
      }
    }
    encode_part(model, part, used, list);
    used = 0;
  }
}

static void encode_bytes(const lm_model* model, const char* line, size_t size, token_list* list) {
  size_t i;
  for (i = 0; i < size; i++) append(list, model->of_bytes[(uint8_t)line[i]]);
}

/* Appends the tokens of the lines of a text, those that have an end without white space before it. */
static void encode_lines(const lm_model* model, const char* text, size_t size, token_list* list,
                         void (*encode)(const lm_model*, const char*, size_t, token_list*)) {
  size_t at = 0, end, last, begin;
  for (; at < size; at = end + 1) {
    for (end = at; end < size && text[end] != '\n'; end++) continue;
    for (last = end; last > at && end < size; last = begin) {
      if (!(class_of(model, character_before(text, last, &begin)) & LM_SPACE)) break;
    }
    if (last > at) {
      encode(model, text + at, last - at, list);
      if (end < size) append(list, model->eos);
    }
  }
}
