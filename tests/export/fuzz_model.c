/* Reads random texts with a model, and prints a line of what it finds in each, the same with any compiler. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

enum { ROOM = 400, NUM_WORDS = 7, NUM_ROWS = 24 };

static float state[LM_STATE_SIZE], next[LM_VOCABULARY_SIZE];
static const lm_context context = {state, next};
static lm_typed typed;
static lm_word words[NUM_WORDS], correction;
static uint32_t last = 1;

static uint32_t draw(uint32_t below) {
  last = last * 1664525u + 1013904223u; /* Numerical Recipes' generator */
  return (last >> 8) % below;
}

/* Adds a piece of the model, a sign, or any byte. */
static size_t add(char* text, size_t size) {
  static const char signs[] = " '-.,\n\xE2\x80\x99$N(\"";
  size_t bytes = 1;
  const uint32_t kind = draw(4);
  const char* piece =
      kind < 2 ? lm_piece(&LM_MODEL, (int32_t)draw(LM_VOCABULARY_SIZE), &bytes) : signs + draw(sizeof signs);
  char byte = (char)draw(256);
  if (kind == 3) piece = &byte;
  if (size + bytes > ROOM) return size;
  memcpy(text + size, piece, bytes);
  return size + bytes;
}

/* Searches as a host with a network of its own, which says the same after anything: without the first word that was
 * found, and with the second beside. Returns how many words there are. */
static int find(lm_search* search, int found) {
  lm_word more[NUM_WORDS + 1];
  lm_question question;
  const lm_asked* asked;
  uint32_t hashes[2] = {0, 0};
  int32_t number, i;
  for (i = 0; i < 2 && i < found; i++) hashes[i] = (uint32_t)lm_hash(words[i].text, strlen(words[i].text));
  memset(&question, 0, sizeof question);
  question.typed = &typed;
  question.num_words = NUM_WORDS;
  question.num_excluded = found > 0;
  question.num_beside = found > 1;
  question.excluded = hashes;
  question.beside = hashes + 1;
  lm_find(search, &question);
  lm_give(search, 0, next);
  while ((number = lm_take(search, &asked)) > 0)
    for (i = 0; i < number; i++) lm_give(search, asked[i].row, next);
  number = lm_words(search, more, NUM_WORDS + 1);
  for (i = 0; i < number; i++)
    if (found > 0 && strcmp(more[i].text, words[0].text) == 0) return -1;
  return number;
}

int main(int num_arguments, char** arguments) {
  /* Of just the room that it may use, so that a byte more is found. */
  const int flags = LM_READS | LM_ERRS;
  void* room = malloc(lm_bytes(&LM_MODEL, NUM_WORDS, NUM_ROWS, flags));
  lm_search* search = lm_open(room, &LM_MODEL, NUM_WORDS, NUM_ROWS, flags);
  int text_number = num_arguments > 1 ? atoi(arguments[1]) : 0;
  while (text_number-- > 0) {
    char *drawn = malloc(ROOM), *text;
    int32_t* tokens = malloc(ROOM * sizeof *tokens);
    size_t size = 0, read, num_tokens, i;
    int pieces = (int)draw(40), found;
    uint32_t hash = 0;
    while (pieces-- > 0) size = add(drawn, size);
    read = lm_read_signs(&LM_MODEL, drawn, size, 0, 0);
    text = malloc(read + 1);
    lm_read_signs(&LM_MODEL, drawn, size, text, read);
    lm_split(&LM_MODEL, text, read, &typed);
    num_tokens = lm_encode(&LM_MODEL, text, typed.whole, tokens, ROOM);
    for (i = 0; i < num_tokens && i < ROOM; i++) hash = hash * 31u + (uint32_t)tokens[i];
    lm_begin(search, &context);
    lm_read(search, &context, tokens, num_tokens < 30 ? num_tokens : 30);
    found = lm_suggest(search, &context, &typed, NUM_WORDS, words);
    printf("%u %u %u %d %d %.3f", (unsigned)num_tokens, hash, (unsigned)typed.whole, typed.begins, found,
           lm_total(search));
    for (i = 0; i < (size_t)found; i++) printf(" %.3f", words[i].probability);
    found = lm_suggest_typos(search, &context, &typed, (int)draw(4), 0, NUM_WORDS, words, &correction);
    printf(" %d %.3f", found, lm_total(search));
    for (i = 0; i < (size_t)found; i++) printf(" %.3f", words[i].probability);
    printf(" %d\n", find(search, found));
    free(drawn);
    free(text);
    free(tokens);
  }
  free(room);
  return 0;
}
