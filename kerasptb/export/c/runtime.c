#include <math.h>
#include <string.h>

/* The network. */

/* Raises e to numbers, with an error of 1e-7 of each: 2^n times a polynomial of what remains. Compilers make vectors of
 * the loops. */
static void raise_e(float* x, int32_t size) {
  int32_t i;
  for (i = 0; i < size; i++) {
    x[i] = x[i] < -87.0f ? -87.0f : x[i];
    x[i] = x[i] > 88.0f ? 88.0f : x[i];
  }
  for (i = 0; i < size; i++) {
    int32_t bits = (int32_t)(x[i] * 1.44269504f + 127.5f);
    const float n = (float)(bits - 127), r = (x[i] - n * 0.693359375f) + n * 2.12194440e-4f;
    float power;
    bits *= 1 << 23;
    memcpy(&power, &bits, sizeof power);
    x[i] =
        power * (1.0f + r +
                 r * r * (0.50000001f + r * (0.16666516f + r * (0.04166626f + r * (0.00836916f + r * 0.00139465f)))));
  }
}

/* Rows of weights are padded with zeros to a multiple of so many, for the processor's vectors. Sums begin anew after so
 * many: products of 8 and 16 bits have room in 32 bits up to there, and float sums stay exact to 1e-6. */
enum { LANES = 32, SUMMED = 512 };

static int32_t padded(int32_t size) { return (size + LANES - 1) / LANES * LANES; }

#if LM_FLOAT
/* Writes inputs as the weights take them; returns what the products are to be multiplied with. */
static float to_values(const lm_matrix* matrix, const float* inputs, lm_value* values) {
  int32_t i;
  for (i = 0; i < matrix->num_inputs; i++) values[i] = inputs[i];
  for (; i < padded(matrix->num_inputs); i++) values[i] = 0;
  return 1.0f;
}

static float product(const lm_weight* weights, const lm_value* values, int32_t size) {
  float lanes[LANES] = {0}, sum = 0.0f;
  int32_t i, lane;
  for (i = 0; i < size; i += LANES)
    for (lane = 0; lane < LANES; lane++) lanes[lane] += weights[i + lane] * values[i + lane];
  for (lane = 0; lane < LANES; lane++) sum += lanes[lane];
  return sum;
}
#else
/* Writes inputs in 16 bits, by the largest; returns what the products are to be multiplied with. */
static float to_values(const lm_matrix* matrix, const float* inputs, lm_value* values) {
  const float* scales = matrix->input_scales;
  float largest = 1e-30f, scaled;
  int32_t i;
  for (i = 0; i < matrix->num_inputs; i++) {
    scaled = fabsf(scales ? inputs[i] * scales[i] : inputs[i]);
    largest = scaled > largest ? scaled : largest;
  }
  for (i = 0; i < matrix->num_inputs; i++) {
    scaled = (scales ? inputs[i] * scales[i] : inputs[i]) * (32767.0f / largest) + 32768.5f;
    values[i] = (lm_value)((int32_t)scaled - 32768);
  }
  for (; i < padded(matrix->num_inputs); i++) values[i] = 0;
  return largest / 32767.0f;
}

#ifndef LM_ADD_PRODUCTS /* else what includes this has them */
static float product(const lm_weight* weights, const lm_value* values, int32_t size) {
  const int32_t whole = size & -LANES; /* the same, which compilers see to be a multiple */
  int32_t sum = 0, i;
  for (i = 0; i < whole; i++) sum += (lm_value)weights[i] * values[i];
  return (float)sum;
}
#endif
#endif

#ifndef LM_ADD_PRODUCTS
/* Adds the products of rows of values with the rows of a matrix, of a part of both. */
static void add_products(const lm_matrix* matrix, int32_t begin, int32_t size, lm_value (*values)[LM_MOST_INPUTS],
                         int num_rows, float* const* outputs) {
  int32_t i;
  int row;
  for (i = 0; i < matrix->num_outputs; i++) {
    const lm_weight* weights = matrix->weights + (size_t)i * (size_t)padded(matrix->num_inputs) + begin;
    for (row = 0; row < num_rows; row++) outputs[row][i] += product(weights, values[row] + begin, size);
  }
}
#endif

/* Multiplies rows with a matrix. */
static void multiply(const lm_matrix* matrix, const float (*inputs)[LM_MOST_INPUTS], int num_rows,
                     float* const* outputs) {
  lm_value values[LM_ROWS][LM_MOST_INPUTS];
  const int32_t num_outputs = matrix->num_outputs, pitch = padded(matrix->num_inputs);
  const float *scales = matrix->output_scales, *bias = matrix->bias;
  float scale[LM_ROWS];
  int32_t begin, i;
  int row;
  for (row = 0; row < num_rows; row++) {
    scale[row] = to_values(matrix, inputs[row], values[row]);
    for (i = 0; i < num_outputs; i++) outputs[row][i] = 0.0f;
  }
  for (begin = 0; begin < pitch; begin += SUMMED)
    add_products(matrix, begin, pitch - begin < SUMMED ? pitch - begin : SUMMED, values, num_rows, outputs);
  for (row = 0; row < num_rows; row++) {
    float* of_row = outputs[row];
    for (i = 0; i < num_outputs; i++) of_row[i] = of_row[i] * (scales ? scales[i] * scale[row] : scale[row]) + bias[i];
  }
}

/* Makes h and c of the sums of the gates i, f, c, o, which it changes. With e = exp(-x), sigmoid(x) = 1 / (1 + e), and
 * with e = exp(-2 x), tanh(x) = (1 - e) / (1 + e). */
static void apply_gates(float* sums, int32_t units, float* h, float* c) {
  float *i = sums, *f = i + units, *g = f + units, *o = g + units;
  int32_t k;
  for (k = 0; k < 4 * units; k++) sums[k] *= -1.0f;
  for (k = 0; k < units; k++) g[k] *= 2.0f;
  raise_e(sums, 4 * units);
  for (k = 0; k < units; k++) {
    c[k] = c[k] / (1.0f + f[k]) + (1.0f - g[k]) / ((1.0f + g[k]) * (1.0f + i[k]));
    g[k] = -2.0f * c[k];
  }
  raise_e(g, units);
  for (k = 0; k < units; k++) h[k] = (1.0f - g[k]) / ((1.0f + g[k]) * (1.0f + o[k]));
}

/* Makes log probabilities of logits. */
static void subtract_log_sum(float* logits) {
  const int32_t size = tables.num_tokens;
  float powers[SUMMED], largest = logits[0];
  double sum = 0.0;
  int32_t begin, i, lane;
  for (i = 1; i < size; i++) largest = logits[i] > largest ? logits[i] : largest;
  for (begin = 0; begin < size; begin += SUMMED) {
    float lanes[LANES] = {0};
    for (i = 0; i < SUMMED; i++) powers[i] = begin + i < size ? logits[begin + i] - largest : -88.0f;
    raise_e(powers, SUMMED);
    for (i = 0; i < SUMMED; i += LANES)
      for (lane = 0; lane < LANES; lane++) lanes[lane] += powers[i + lane];
    for (lane = 0; lane < LANES; lane++) sum += (double)lanes[lane];
  }
  largest += (float)log(sum);
  for (i = 0; i < size; i++) logits[i] -= largest;
}

/* Reads a token in each of some rows: changes the states, and computes the log probabilities after it unless 0. */
static void read_rows(const int32_t* tokens, int num_rows, float* const* states, float* const* log_probabilities) {
  float inputs[LM_ROWS][LM_MOST_INPUTS], sums[LM_ROWS][LM_MOST_OUTPUTS];
  float* outputs[LM_ROWS] = {0};
  int32_t i, size = tables.embedding_size, at = 0;
  int layer, row;
  for (row = 0; row < num_rows; row++) {
    const lm_weight* weights = tables.embeddings + (size_t)tokens[row] * (size_t)padded(size);
    const float scale = tables.embedding_scales ? tables.embedding_scales[tokens[row]] : 1.0f;
    for (i = 0; i < size; i++) inputs[row][i] = scale * (float)weights[i];
    outputs[row] = sums[row];
  }
  for (layer = 0; layer < tables.num_layers; layer++) {
    const lm_matrix* matrix = &tables.matrices[layer];
    const int32_t units = matrix->num_outputs / 4;
    const size_t bytes = (size_t)units * sizeof(float);
    for (row = 0; row < num_rows; row++) memcpy(inputs[row] + size, states[row] + at, bytes);
    multiply(matrix, (const float (*)[LM_MOST_INPUTS])inputs, num_rows, outputs);
    for (row = 0; row < num_rows; row++) {
      apply_gates(sums[row], units, states[row] + at, states[row] + at + units);
      memcpy(inputs[row], states[row] + at, bytes);
    }
    size = units;
    at += 2 * units;
  }
  if (!log_probabilities) return;
  for (; layer < tables.num_matrices - 1; layer++) {
    multiply(&tables.matrices[layer], (const float (*)[LM_MOST_INPUTS])inputs, num_rows, outputs);
    size = tables.matrices[layer].num_outputs;
    for (row = 0; row < num_rows; row++) memcpy(inputs[row], sums[row], (size_t)size * sizeof(float));
  }
  multiply(&tables.matrices[layer], (const float (*)[LM_MOST_INPUTS])inputs, num_rows, log_probabilities);
  for (row = 0; row < num_rows; row++) subtract_log_sum(log_probabilities[row]);
}

void lm_begin(lm_context* context) {
  memset(context, 0, sizeof *context);
  if (tables.eos >= 0) lm_read(context, &tables.eos, 1);
}

void lm_read(lm_context* context, const int32_t* tokens, size_t num_tokens) {
  float *state = context->state, *log_probabilities = context->log_probabilities;
  size_t i;
  for (i = 0; i < num_tokens; i++) read_rows(tokens + i, 1, &state, i + 1 < num_tokens ? 0 : &log_probabilities);
}

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
static uint32_t class_of(uint32_t character) {
  int32_t low = 0, high = tables.num_classes;
  if (character >= NO_CHARACTER) return 0;
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    if (tables.classes[middle] >> 8 <= character) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return tables.classes[low] & 0xFF;
}

static int is_apostrophe(uint32_t character) { return character == '\'' || character == 0x2019; }

/* Whether a character is of a word as it is written: also an apostrophe, a hyphen, and a byte of a character. */
static int is_of_word(uint32_t character) {
  const uint32_t class = class_of(character);
  if (class & (LM_LETTER | LM_MARK | LM_DIGIT | LM_NUMBER)) return !(class & LM_UNSPACED);
  return is_apostrophe(character) || character == '-' || character >= NO_CHARACTER;
}

static uint32_t small(uint32_t character) {
  int32_t low = 0, high = tables.num_cases;
  const int32_t c = (int32_t)character;
  while (low < high) {
    const int32_t middle = (low + high) / 2, *range = tables.cases + 4 * middle;
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

/* Writes a text in small letters, and if it folds with ' for its typographic form: as texts are compared. Returns its
 * bytes, `room` if there are not less. */
static size_t in_small(const char* text, size_t size, int folds, char* result, size_t room) {
  size_t at = 0, written = 0, bytes;
  while (at < size) {
    uint32_t character = character_at(text, size, at, &bytes);
    at += bytes;
    if (written + 8 > room) return room;
    if (character == 0x130) { /* the one that becomes two */
      result[written++] = 'i';
      character = 0x307;
    }
    character = folds && character == 0x2019 ? '\'' : small(character);
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
static int begins_word(const char* text, size_t size) {
  size_t begin;
  while (size > 0) {
    const uint32_t character = character_before(text, size, &begin);
    if (!is_quote(character)) {
      return (class_of(character) & (LM_SPACE | LM_OPENING)) != 0 || character == 0xBF || character == 0xA1;
    }
    size = begin;
  }
  return 1;
}

/* Whether the word after a text comes without a space before it. */
static int comes_unspaced(const char* text, size_t size) {
  size_t begin;
  if (!size || text[size - 1] == '\n') return !tables.first;
  return !(class_of(character_before(text, size, &begin)) & LM_SPACE) && begins_word(text, size);
}

size_t lm_read_signs(const char* text, size_t size, char* result, size_t room) {
  size_t at = 0, written = 0, bytes;
  while (at < size) {
    const uint8_t *sign = tables.signs, *way;
    int32_t i;
    character_at(text, size, at, &bytes);
    way = (const uint8_t*)text + at;
    for (i = 0; i < tables.num_signs; i++) {
      const uint8_t *first = sign + 1 + sign[0], *other = first + 1 + first[0];
      if (sign[0] <= size - at && !memcmp(sign + 1, text + at, sign[0])) {
        const uint8_t* read = begins_word(text, at) ? first : other;
        at += sign[0];
        way = read + 1;
        bytes = read[0];
        break;
      }
      sign = other + 1 + other[0];
    }
    if (i == tables.num_signs) at += bytes;
    if (written + bytes <= room) memcpy(result + written, way, bytes);
    written += bytes;
  }
  return written;
}

/* Tokens. */

const char* lm_piece(int32_t token, size_t* size) {
  const int32_t begin = token ? tables.pieces_ends[token - 1] : 0;
  *size = (size_t)(tables.pieces_ends[token] - begin);
  return (const char*)tables.pieces + begin;
}

static const char* folded_piece(int32_t token, size_t* size) {
  const int32_t begin = token ? tables.folded_ends[token - 1] : 0;
  *size = (size_t)(tables.folded_ends[token] - begin);
  return (const char*)tables.folded + begin;
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
static const int32_t* find_merge(int32_t left, int32_t right) {
  int32_t low = 0, high = tables.num_merges;
  while (low < high) {
    const int32_t middle = (low + high) / 2, *merge = tables.merges + 4 * (size_t)middle;
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
static void encode_part(const char* part, size_t size, token_list* list) {
  int32_t tokens[PART_BYTES];
  size_t i;
  for (i = 0; i < size; i++) tokens[i] = tables.of_bytes[(uint8_t)part[i]];
  for (;;) {
    const int32_t* best = 0;
    size_t place = 0;
    for (i = 0; i + 1 < size; i++) {
      const int32_t* merge = find_merge(tokens[i], tokens[i + 1]);
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
static uint32_t group_of(uint32_t character) {
  const uint32_t class = class_of(character);
  if (class & LM_SPACE) return character >= 0x1C && character < 0x20 ? 0 : LM_SPACE; /* separators of files are signs */
  return class & LM_LETTER ? LM_LETTER : class & (LM_DIGIT | LM_NUMBER) ? LM_NUMBER : 0;
}

/* Returns where the characters of a group end that begin at a place, and where the last of them begins. */
static size_t end_of_group(const char* text, size_t size, size_t at, uint32_t group, size_t* last) {
  size_t bytes;
  while (at < size && group_of(character_at(text, size, at, &bytes)) == group) {
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
static size_t end_of_part(const char* text, size_t size, size_t at, int spaced) {
  size_t bytes, last = at, end = spaced ? 0 : contraction_at(text, size, at);
  const size_t after = at + (!spaced && text[at] == ' ');
  uint32_t group;
  if (end) return at + end;
  group = after < size ? group_of(character_at(text, size, after, &bytes)) : (uint32_t)LM_SPACE;
  if (group != LM_SPACE) return end_of_group(text, size, after, group, &last);
  end = end_of_group(text, size, at, LM_SPACE, &last);
  return end < size && (spaced || last > at) ? last : end; /* the last space is of the word behind it */
}

static void encode_line(const char* line, size_t size, token_list* list) {
  char part[PART_BYTES];
  size_t at = 0, begin = 0, end, used = 0;
  int spaced = tables.first;
  while (at < size || spaced) {
    begin = at;
    end = end_of_part(line, size, at, spaced);
    if (spaced) part[used++] = ' ';
    spaced = 0;
    for (at = begin; at < end; at++) {
      part[used++] = line[at];
      if (used == PART_BYTES) {
        encode_part(part, used, list);
        used = 0;
      }
    }
    encode_part(part, used, list);
    used = 0;
  }
}

static void encode_lines(const char* text, size_t size, token_list* list) {
  size_t at = 0, end;
  for (; at < size; at = end + 1) {
    for (end = at; end < size && text[end] != '\n'; end++) continue;
    if (end > at) {
      encode_line(text + at, end - at, list);
      if (end < size) append(list, tables.eos);
    }
  }
}

static void encode_bytes(const char* text, size_t size, token_list* list) {
  size_t i;
  for (i = 0; i < size; i++) {
    const int ends_line = text[i] == '\n', is_empty = i == 0 || text[i - 1] == '\n';
    if (!ends_line || !is_empty) append(list, tables.of_bytes[(uint8_t)text[i]]);
  }
}

/* Words, as the Penn Treebank has them. */

static int is_word_character(uint32_t character) {
  return (class_of(character) & (LM_LETTER | LM_MARK | LM_DIGIT | LM_NUMBER)) || character == '_' ||
         character == 0x200C || character == 0x200D;
}

/* Returns the token that writes a space and a text; -1 for none. */
static int32_t find_exact(const char* text, size_t size) {
  int32_t low = 0, high = tables.num_tokens;
  while (low < high) {
    const int32_t middle = (low + high) / 2, token = tables.sorted[middle];
    size_t bytes;
    const char* piece = lm_piece(token, &bytes);
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
static int32_t find_word(const char* text, size_t size) {
  char small_letters[PART_BYTES + 8];
  int32_t token = find_exact(text, size);
  if (token >= 0) return token;
  size = in_small(text, size, 0, small_letters, sizeof small_letters);
  return size < sizeof small_letters ? find_exact(small_letters, size) : -1;
}

/* Returns the bytes of a word that is written together with the one before, such as n't, at a place; 0 for none. */
static size_t clitic_at(const char* text, size_t size, size_t at) {
  static const char* const clitics[] = {"n't", "'s", "'re", "'ve", "'ll", "'d", "'m"};
  size_t i, j, bytes;
  for (i = 0; i < sizeof clitics / sizeof *clitics; i++) {
    const size_t end = at + strlen(clitics[i]);
    for (j = at; j < end && j < size; j++) {
      const char letter = text[j] >= 'A' && text[j] <= 'Z' ? (char)(text[j] + 32) : text[j];
      if (letter != clitics[i][j - at]) break;
    }
    if (j == end && (end == size || !is_word_character(character_at(text, size, end, &bytes)))) return end - at;
  }
  return 0;
}

/* Returns where the next such word begins that follows a letter, and where it ends; the size if there is none. */
static size_t next_clitic(const char* text, size_t size, size_t from, size_t* end) {
  size_t at, bytes, begin;
  for (at = from; at < size; at += bytes) {
    const size_t found = clitic_at(text, size, at);
    character_at(text, size, at, &bytes);
    if (found && at > 0 && is_word_character(character_before(text, at, &begin))) {
      *end = at + found;
      return at;
    }
  }
  return *end = size;
}

static size_t end_of_letters(const char* text, size_t size, size_t at) {
  size_t bytes;
  while (at < size && is_word_character(character_at(text, size, at, &bytes))) at += bytes;
  return at;
}

/* Returns where letters end that . or - may join: 3.5, U.S, well-known. */
static size_t end_of_joined(const char* text, size_t size, size_t at) {
  size_t end = end_of_letters(text, size, at), next;
  while (end < size && (text[end] == '.' || text[end] == '-') && (next = end_of_letters(text, size, end + 1)) > end + 1)
    end = next;
  return end;
}

/* Whether a word is a number: digits, which . or - may join. */
static int is_numeral(const char* text, size_t size) {
  size_t at = 0, bytes;
  int follows_digit = 0;
  for (; at < size; at += bytes) {
    const uint32_t character = character_at(text, size, at, &bytes);
    const int is_digit = (class_of(character) & LM_DIGIT) != 0;
    if (!is_digit && !(follows_digit && (character == '.' || character == '-'))) return 0;
    follows_digit = is_digit;
  }
  return follows_digit;
}

static void append_word(const char* text, size_t size, token_list* list) {
  int32_t token = find_word(text, size);
  if (token < 0 && tables.number >= 0 && is_numeral(text, size)) token = tables.number;
  if (token < 0) token = tables.unk;
  if (token >= 0) append(list, token);
}

/* Appends the words of a part of a text in which ' stands for all apostrophes, up to the next clitic. */
static void append_words(const char* text, size_t size, token_list* list) {
  size_t at = 0, end, bytes;
  int32_t sign;
  for (; at < size; at = end) {
    const uint32_t character = character_at(text, size, at, &bytes);
    const size_t clitic = clitic_at(text, size, at);
    end = at + bytes;
    if (clitic) {
      end = at + clitic;
      append_word(text + at, clitic, list);
    } else if (is_word_character(character)) {
      end = end_of_joined(text, size, at);
      append_word(text + at, end - at, list);
    } else if (character == '$' || character == '%' || character == '&') {
      append_word(text + at, 1, list);
    } else if (character != '\'' && (sign = find_exact(text + at, bytes)) >= 0) {
      append(list, sign);
    }
  }
}

/* Appends the words and signs of a part of a text that is no word as it is written. */
static void split_as_treebank(const char* text, size_t size, token_list* list) {
  char plain[PART_BYTES];
  size_t at, end, bytes, used = 0, begin = 0, from = 0;
  for (at = 0; at < size; at += bytes) {
    const uint32_t character = character_at(text, size, at, &bytes);
    used += write_character(character == 0x2019 ? '\'' : character, plain + used);
  }
  do {
    at = next_clitic(plain, used, from, &end);
    append_words(plain + begin, at - begin, list);
    begin = at;
    from = end;
  } while (at < used);
}

/* Finds what punctuation surrounds, which may end with signs that words end with: an apostrophe, and `.` if asked. */
static void find_inner(const char* text, size_t size, int stops, size_t* begin, size_t* end) {
  size_t at, bytes;
  int has_begun = 0;
  *begin = *end = size;
  for (at = 0; at < size; at += bytes) {
    const uint32_t character = character_at(text, size, at, &bytes);
    const int is_inner = is_word_character(character) || is_apostrophe(character);
    if (is_inner && !has_begun) {
      has_begun = 1;
      *begin = at;
      *end = at + bytes;
    }
    if (has_begun && (is_inner || (stops && character == '.'))) *end = at + bytes;
  }
}

/* Appends the words of a part of a text without white space: without the punctuation around it if that is a word. */
static void encode_word_part(const char* text, size_t size, int is_whole, token_list* list) {
  int32_t token = is_whole ? find_word(text, size) : -1;
  size_t begin, end;
  int stops;
  if (token >= 0) {
    append(list, token);
    return;
  }
  for (stops = 1; stops >= 0; stops--) {
    find_inner(text, size, stops, &begin, &end);
    if (end - begin < size && end > begin && (token = find_word(text + begin, end - begin)) >= 0) {
      encode_word_part(text, begin, 0, list);
      append(list, token);
      encode_word_part(text + end, size - end, 0, list);
      return;
    }
  }
  split_as_treebank(text, size, list);
}

/* Returns where a part without white space ends; one of more bytes than are read at once is cut. */
static size_t end_of_run(const char* text, size_t size, size_t at) {
  size_t end = at, bytes;
  while (end < size && !(class_of(character_at(text, size, end, &bytes)) & LM_SPACE) && end + bytes - at <= PART_BYTES)
    end += bytes;
  return end;
}

static void encode_words(const char* text, size_t size, token_list* list) {
  size_t at = 0, end, bytes;
  for (; at < size; at = end) {
    end = end_of_run(text, size, at);
    if (end > at) {
      encode_word_part(text + at, end - at, 1, list);
      continue;
    }
    character_at(text, size, at, &bytes);
    end = at + bytes;
    if (text[at] == '\r' && end < size && text[end] == '\n') end++;
    if ((text[at] == '\n' || text[at] == '\r') && tables.eos >= 0) append(list, tables.eos);
  }
}

size_t lm_encode(const char* text, size_t size, int32_t* tokens, size_t room) {
  token_list list;
  list.tokens = tokens;
  list.room = room;
  list.size = 0;
  if (tables.kind == LM_OF_WORDS) encode_words(text, size, &list);
  if (tables.kind == LM_OF_SUBWORDS) encode_lines(text, size, &list);
  if (tables.kind == LM_OF_BYTES) encode_bytes(text, size, &list);
  return list.size;
}

/* The word that is being typed. */

/* Whether a token begins as a prefix in small letters, or is that and no more. */
static int begins_as(int32_t token, const char* prefix, size_t size, int is_exact) {
  size_t bytes;
  const char* piece = folded_piece(token, &bytes);
  return (is_exact ? bytes == size : bytes >= size) && !memcmp(piece, prefix, size);
}

/* Whether a token of words begins as what is typed, or is that and no more. */
static int is_known(const char* text, size_t size, int is_exact) {
  char prefix[LM_WORD_BYTES];
  size_t bytes = 1 + in_small(text, size, 1, prefix + 1, sizeof prefix - 1);
  int32_t token;
  prefix[0] = ' ';
  if (bytes >= sizeof prefix) return 0;
  for (token = 0; token < tables.num_tokens; token++)
    if (begins_as(token, prefix, bytes, is_exact)) return 1;
  return 0;
}

/* Returns where the letters at the end of a text begin, by either idea of a letter. */
static size_t begin_of_letters(const char* text, size_t size, int (*is_letter)(uint32_t)) {
  size_t begin;
  while (size > 0 && is_letter(character_before(text, size, &begin))) size = begin;
  return size;
}

/* Returns where the word begins that is being typed at the end of a part without white space, of a text of words. */
static size_t begin_of_word(const char* run, size_t size) {
  size_t at, bytes, first = size, apostrophe = 0, begin, found = 0;
  for (at = 0; at < size; at += bytes) {
    const uint32_t character = character_at(run, size, at, &bytes);
    if (first == size && is_word_character(character)) first = at;
    if (is_apostrophe(character)) apostrophe = at;
  }
  if (is_known(run, size, 0)) return 0;
  if (first < size && is_known(run + first, size - first, 0)) return first;
  if (apostrophe > 0) {
    const char before = run[apostrophe - 1];
    begin = apostrophe - 1;
    if ((before == 'n' || before == 'N') && (first < begin ? is_known(run + first, begin - first, 1) : 0))
      found = begin;
    if (found && is_known(run + found, size - found, 0)) return found;
    if (is_known(run + apostrophe, size - apostrophe, 0)) return apostrophe;
  }
  return begin_of_letters(run, size, is_word_character);
}

void lm_split(const char* text, size_t size, lm_typed* typed) {
  size_t begin, start;
  int spaced;
  if (tables.kind == LM_OF_WORDS) {
    for (begin = size; begin > 0 && !(class_of(character_before(text, begin, &start)) & LM_SPACE); begin = start)
      continue;
    begin += begin < size ? begin_of_word(text + begin, size - begin) : 0;
    spaced = begin < size;
    typed->whole = begin;
  } else {
    begin = begin_of_letters(text, size, is_of_word);
    typed->whole = begin && text[begin - 1] == ' ' ? begin - 1 : begin;
    spaced = typed->whole < begin || ((!begin || text[begin - 1] == '\n') && tables.first);
  }
  typed->typed = size - begin;
  typed->begins = !spaced && comes_unspaced(text, typed->whole);
  memset(typed->letters, 0, sizeof typed->letters);
  if (typed->typed < sizeof typed->letters) memcpy(typed->letters, text + begin, typed->typed);
  typed->prefix[0] = ' ';
  typed->prefix_size = (size_t)spaced + in_small(text + begin, size - begin, 1, typed->prefix + spaced,
                                                 sizeof typed->prefix - (size_t)spaced);
}
