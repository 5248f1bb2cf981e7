/* The runtime for a page: what model.js calls. Built by `make wasm`.
 *
 * The model comes as an image of its tables, after the number of their pointers and the place of each in the image; a
 * pointer is an offset in it until it is loaded. */

#define LM_FLOAT 0
#define LM_ROWS_TOGETHER 8
#define LM_ADD_PRODUCTS
#include "../../native/src/core/core.h"

#include <wasm_simd128.h>

static void add_products(const lm_matrix* matrix, int32_t begin, int32_t size, const lm_value* values, int32_t pitch,
                         int num_rows, float* const* outputs);
#include "../../native/src/core/core.c"

/* The runtime's products: eight of them are one instruction, which compilers do not find. */

enum { OUTPUTS = 4 };

static float sum_of(v128_t lanes) {
  return (float)(wasm_i32x4_extract_lane(lanes, 0) + wasm_i32x4_extract_lane(lanes, 1) +
                 wasm_i32x4_extract_lane(lanes, 2) + wasm_i32x4_extract_lane(lanes, 3));
}

/* Adds those of four rows of weights with one or two rows of values, which have room in registers. */
static inline __attribute__((always_inline)) void add_tile(const lm_weight* weights, int32_t pitch, int32_t size,
                                                           const lm_value* const* values, int num_rows,
                                                           float* const* outputs, int num_outputs) {
  v128_t sums[OUTPUTS][2] = {0};
  for (int32_t i = 0; i < size; i += 8) {
    for (int output = 0; output < OUTPUTS; output++) {
      const v128_t eight = wasm_i16x8_load8x8(weights + (output < num_outputs ? output * pitch : 0) + i);
      for (int row = 0; row < num_rows; row++) {
        const v128_t products = wasm_i32x4_dot_i16x8(eight, wasm_v128_load(values[row] + i));
        sums[output][row] = wasm_i32x4_add(sums[output][row], products);
      }
    }
  }
  for (int output = 0; output < num_outputs; output++)
    for (int row = 0; row < num_rows; row++) outputs[row][output] += sum_of(sums[output][row]);
}

static void add_products(const lm_matrix* matrix, int32_t begin, int32_t size, const lm_value* values, int32_t pitch,
                         int num_rows, float* const* outputs) {
  const int32_t of_weights = padded(matrix->num_inputs);
  for (int32_t i = 0; i < matrix->num_outputs; i += OUTPUTS) {
    const lm_weight* weights = matrix->weights + (size_t)i * (size_t)of_weights + begin;
    const int num_outputs = matrix->num_outputs - i < OUTPUTS ? matrix->num_outputs - i : OUTPUTS;
    for (int row = 0; row < num_rows; row += 2) {
      const int has_two = row + 1 < num_rows;
      const lm_value* first = values + row * pitch + begin;
      const lm_value* const of_rows[] = {first, first + has_two * pitch};
      float* const to[] = {outputs[row] + i, outputs[row + has_two] + i};
      if (has_two) {
        add_tile(weights, of_weights, size, of_rows, 2, to, num_outputs);
      } else {
        add_tile(weights, of_weights, size, of_rows, 1, to, num_outputs);
      }
    }
  }
}

/* Bytes of a text: a page sends 20,000 characters, of which each is read as three bytes at most. */
#define ROOM 65536
#define NUM_CONTEXTS 12

#define EXPORT(name) __attribute__((export_name(#name)))

enum { MOST_WORDS = 16, MOST_FOUND = MOST_WORDS + LM_MORE_FOUND + MOST_WORDS, MOST_REMEMBERED = 2048 };

static const lm_model* model;
static lm_search* searching;
static char given_text[ROOM], read_text[ROOM];
static int32_t text_tokens[ROOM];
static lm_typed typed;
static lm_context contexts[NUM_CONTEXTS];
static lm_word found_words[MOST_FOUND], met;
static int num_found;

/* The words that a writer used before, one behind the other, each with where it ends; and of taps for each of them. */
static char remembered_text[MOST_REMEMBERED * LM_WORD_BYTES];
static int32_t remembered_ends[MOST_REMEMBERED];
static uint32_t remembered_hashes[MOST_REMEMBERED];
static double likelihoods_of_taps[MOST_REMEMBERED];

/* Loads an image; returns the bytes of room that are needed behind it. */
EXPORT(load) size_t load(char* image) {
  uint32_t num_pointers = *(const uint32_t*)image;
  const uint32_t* places = (const uint32_t*)image + 1;
  char* tables = image + sizeof(uint32_t) * (1 + num_pointers);
  for (uint32_t i = 0; i < num_pointers; ++i) *(uint32_t*)(tables + places[i]) += (uint32_t)tables;
  model = (const lm_model*)tables;
  const size_t of_context = sizeof(float) * (size_t)(model->state_size + model->num_tokens);
  return lm_bytes(model, MOST_WORDS, LM_ROWS(MOST_WORDS), LM_READS | LM_ERRS) + NUM_CONTEXTS * of_context;
}

/* Takes that room. */
EXPORT(open) void open(char* room) {
  searching = lm_open(room, model, MOST_WORDS, LM_ROWS(MOST_WORDS), LM_READS | LM_ERRS);
  float* next = (float*)(room + lm_bytes(model, MOST_WORDS, LM_ROWS(MOST_WORDS), LM_READS | LM_ERRS));
  for (int i = 0; i < NUM_CONTEXTS; i++) {
    contexts[i].state = next;
    contexts[i].log_probabilities = next += model->state_size;
    next += model->num_tokens;
  }
}

/* Where a text is given, how many bytes of it there may be, and where it is as it is read. */
EXPORT(given) char* given(void) { return given_text; }
EXPORT(room) size_t room(void) { return ROOM; }
EXPORT(text) char* text(void) { return read_text; }

EXPORT(read_signs) size_t read_signs(size_t size) {
  size_t written = lm_read_signs(model, given_text, size, read_text, ROOM);
  return written < ROOM ? written : ROOM;
}

/* Splits the text that was read, and has its tokens. */
EXPORT(split) void split(size_t size) { lm_split(model, read_text, size, &typed); }
EXPORT(typed_whole) size_t typed_whole(void) { return typed.whole; }
EXPORT(typed_size) size_t typed_size(void) { return typed.typed; }

EXPORT(encode) size_t encode(size_t size) {
  size_t count = lm_encode(model, read_text, size, text_tokens, ROOM);
  return count < ROOM ? count : ROOM;
}
EXPORT(tokens) int32_t* tokens(void) { return text_tokens; }

EXPORT(piece) const char* piece(int32_t token) {
  size_t size;
  return lm_piece(model, token, &size);
}
EXPORT(piece_size) size_t piece_size(int32_t token) {
  size_t size;
  lm_piece(model, token, &size);
  return size;
}

/* Contexts have the places 0 to num_contexts() - 1. */
EXPORT(num_contexts) int num_contexts(void) { return NUM_CONTEXTS; }
EXPORT(begin) void begin(int at) { lm_begin(searching, &contexts[at]); }
EXPORT(copy) void copy(int to, int from) {
  const size_t size = sizeof(float) * (size_t)(model->state_size + model->num_tokens);
  memcpy(contexts[to].state, contexts[from].state, size);
}
EXPORT(read) void read_token(int at, int32_t token) { lm_read(searching, &contexts[at], &token, 1); }
EXPORT(log_probability) float log_probability(int at, int32_t token) { return contexts[at].log_probabilities[token]; }

/* Finds words, of which the first `num_words` are what was asked for; returns how many were met. */
EXPORT(suggest) int suggest(int at, int num_words) {
  num_found = lm_suggest(searching, &contexts[at], &typed, num_words, found_words);
  return searching->found.size;
}
EXPORT(total) double total(void) { return lm_total(searching); }
EXPORT(word) const char* word(int at) {
  if (at < num_found) return found_words[at].text;
  write_word(searching, &searching->found.words[at], &met);
  return met.text;
}
EXPORT(word_probability) double word_probability(int at) {
  return at < num_found ? found_words[at].probability : fmin(searching->found.words[at].probability, 1.0);
}

/* Where words are given that a writer used before, and their hashes, which the page sorts. */
EXPORT(remembered) char* remembered(void) { return remembered_text; }
EXPORT(remembered_room) size_t remembered_room(void) { return sizeof remembered_text; }
EXPORT(ends) int32_t* ends(void) { return remembered_ends; }
EXPORT(most_remembered) int most_remembered(void) { return MOST_REMEMBERED; }
EXPORT(hashes) uint32_t* hashes(int number) {
  lm_hash_all(remembered_text, remembered_ends, number, remembered_hashes);
  return remembered_hashes;
}

/* Returns whether what is typed can be looked for with errors; then `meant` finds what all taps of a word, or of its
 * beginning, may stand for, with so many of the words that were used before; it returns how many words there are. */
EXPORT(tap) int tap(int layout) {
  return lm_find_hits(model, typed.letters, layout, 0, 1, searching->room_of_hits, &searching->hits);
}
EXPORT(may_be_words) int may_be_words(void) { return searching->hits.may_be_words; }
EXPORT(meant) int meant(int at, int is_whole, int num_words, int num_remembered) {
  find_meant(searching, &contexts[at], &typed, is_whole, num_words, remembered_hashes, num_remembered, found_words);
  lm_align_all(model, &searching->hits, remembered_text, remembered_ends, num_remembered, likelihoods_of_taps);
  return num_found = lm_words(searching, found_words, MOST_FOUND);
}
EXPORT(likelihoods) double* likelihoods(void) { return likelihoods_of_taps; }
EXPORT(literal) double literal(void) { return lm_literal(searching); }
/* Of taps that are all hit as they were meant. */
EXPORT(exact) double exact(void) {
  double value = 1.0;
  for (int32_t i = 0; i < searching->hits.num_taps; i++) value *= searching->hits.hit;
  return value;
}
EXPORT(margin) double margin(void) { return exp(LM_MARGIN); }
