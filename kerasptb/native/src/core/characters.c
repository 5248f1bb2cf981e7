/* Characters. */

/* What a byte is that is of no character of UTF-8, as a character: none has such a number. */
#define NO_CHARACTER 0x110000u

/* Returns the character at a place, which is within the text, and its bytes. */
static uint32_t character_at(const char* text, size_t size, size_t at, size_t* bytes) {
  static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
  const uint8_t* begin = (const uint8_t*)text + at;
  const uint32_t first = begin[0];
  const size_t more = first < 0xC0 ? 0 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
  uint32_t result = more ? first & (0x3Fu >> more) : first;
  size_t i;
  *bytes = 1;
  if (first < 0x80) return first;
  if (!more || first > 0xF4 || size - at <= more) return NO_CHARACTER + first;
  for (i = 1; i <= more; i++) {
    if ((begin[i] & 0xC0) != 0x80) return NO_CHARACTER + first;
    result = result << 6 | (begin[i] & 0x3Fu);
  }
  if (result < least[more] || result > 0x10FFFF || (result >= 0xD800 && result < 0xE000)) return NO_CHARACTER + first;
  *bytes = more + 1;
  return result;
}

/* Returns the character that ends at a place, and where it begins. */
static uint32_t character_before(const char* text, size_t at, size_t* begin) {
  size_t bytes, back;
  for (back = 4; back > 1; back--) {
    if (back <= at) {
      const uint32_t character = character_at(text, at, at - back, &bytes);
      *begin = at - back;
      if (bytes == back) return character;
    }
  }
  *begin = at - 1;
  return character_at(text, at, at - 1, &bytes);
}

/* Writes a character; returns its bytes. */
static size_t write_character(uint32_t character, char* result) {
  uint8_t* out = (uint8_t*)result;
  size_t more = character < 0x80 ? 0 : character < 0x800 ? 1 : character < 0x10000 ? 2 : 3, i;
  static const uint8_t leads[] = {0, 0xC0, 0xE0, 0xF0};
  if (character >= NO_CHARACTER) {
    out[0] = (uint8_t)(character - NO_CHARACTER);
    return 1;
  }
  for (i = more; i > 0; i--, character >>= 6) out[i] = (uint8_t)(0x80 | (character & 0x3F));
  out[0] = (uint8_t)(leads[more] | character);
  return more + 1;
}

/* Returns what a character is: bits of LM_LETTER and so on. */
static uint32_t class_of(const lm_model* model, uint32_t character) {
  int32_t low = 0, high = model->num_classes;
  if (character >= NO_CHARACTER) return 0;
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    if (model->classes[middle] >> 8 <= character) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return model->classes[low] & 0xFF;
}

static int is_apostrophe(uint32_t character) { return character == '\'' || character == 0x2019; }

/* Whether a character is one without width that shapes the letters beside it, in Indic scripts and Persian. */
static int is_joiner(uint32_t character) { return character == 0x200C || character == 0x200D; }

/* Whether a character is of a word as it is written: also an apostrophe, a hyphen, and a byte of a character. */
static int is_of_word(const lm_model* model, uint32_t character) {
  const uint32_t kind = class_of(model, character);
  if (kind & (LM_LETTER | LM_MARK | LM_DIGIT | LM_NUMBER)) return !(kind & LM_UNSPACED);
  return is_apostrophe(character) || character == '-' || is_joiner(character) || character >= NO_CHARACTER;
}

enum { CAPITAL_SIGMA = 0x3A3, FINAL_SIGMA = 0x3C2, SIGMA };

static uint32_t small(const lm_model* model, uint32_t character) {
  int32_t low = 0, high = model->num_cases;
  const int32_t c = (int32_t)character;
  while (low < high) {
    const int32_t middle = (low + high) / 2, *range = model->cases + 4 * middle;
    if (c < range[0]) {
      high = middle;
    } else if (c > range[1]) {
      low = middle + 1;
    } else {
      return (c - range[0]) % range[2] ? character : (uint32_t)(c + range[3]);
    }
  }
  return character;
}

/* Writes a text in small letters, and if it folds with ' for its typographic form, and one small sigma for both: as
 * texts are compared. Returns its bytes, `room` if there are not less. */
static size_t in_small(const lm_model* model, const char* text, size_t size, int folds, char* result, size_t room) {
  size_t at = 0, written = 0, bytes;
  while (at < size) {
    uint32_t character = character_at(text, size, at, &bytes);
    at += bytes;
    if (written + 8 > room) return room;
    if (character == 0x130) { /* the one that becomes two */
      result[written++] = 'i';
      character = 0x307;
    }
    character = folds && character == 0x2019 ? '\'' : small(model, character);
    if (folds && character == FINAL_SIGMA) character = SIGMA;
    written += write_character(character, result + written);
  }
  return written;
}

static int is_quote(uint32_t character) {
  return character == '"' || character == '\'' || character == 0xAB || character == 0xBB ||
         (character >= 0x2018 && character <= 0x201F && character != 0x201A && character != 0x201E) ||
         character == 0x2039 || character == 0x203A;
}

/* Whether what follows a text begins a word: after white space, an opening quote or bracket, or nothing. */
static int begins_word(const lm_model* model, const char* text, size_t size) {
  size_t begin;
  while (size > 0) {
    const uint32_t character = character_before(text, size, &begin);
    if (!is_quote(character)) {
      return (class_of(model, character) & (LM_SPACE | LM_OPENING)) != 0 || character == 0xBF || character == 0xA1;
    }
    size = begin;
  }
  return 1;
}

/* Whether the word after a text comes without a space before it. */
static int comes_unspaced(const lm_model* model, const char* text, size_t size) {
  size_t begin;
  if (!size || text[size - 1] == '\n') return !model->first;
  return !(class_of(model, character_before(text, size, &begin)) & LM_SPACE) && begins_word(model, text, size);
}

/* Whether a text has nothing but quotes from one place to another. */
static int are_quotes(const char* text, size_t at, size_t end) {
  size_t bytes;
  for (; at < end; at += bytes) {
    if (!is_quote(character_at(text, end, at, &bytes))) return 0;
  }
  return 1;
}

size_t lm_read_signs(const lm_model* model, const char* text, size_t size, char* result, size_t room) {
  size_t at = 0, written = 0, last = 0, bytes;
  int begins = -1; /* whether the last sign begins a word; -1 if there was none */
  while (at < size) {
    const uint8_t *sign = model->signs, *way;
    int32_t i;
    character_at(text, size, at, &bytes);
    way = (const uint8_t*)text + at;
    for (i = 0; i < model->num_signs; i++) {
      const uint8_t *first = sign + 1 + sign[0], *other = first + 1 + first[0];
      if (sign[0] <= size - at && !memcmp(sign + 1, text + at, sign[0])) {
        const uint8_t* read = other;
        if (first[0] != other[0] || memcmp(first, other, (size_t)first[0] + 1) != 0) {
          if (begins < 0 || !are_quotes(text, last, at)) begins = begins_word(model, text, at);
          last = at;
          if (begins) read = first;
        }
        at += sign[0];
        way = read + 1;
        bytes = read[0];
        break;
      }
      sign = other + 1 + other[0];
    }
    if (i == model->num_signs) at += bytes;
    if (written + bytes <= room) memcpy(result + written, way, bytes);
    written += bytes;
  }
  return written;
}
