/* Suggests the next words after a few texts, as a keyboard does, and tells what that takes. */
#include <stdio.h>
#include <string.h>

#include "board.h"
#include "model.h"

enum { ROOM = 64, NUM_WORDS = 3, NUM_ROWS = 32 };

static const char* const texts[] = {"if the target", "The value of the n", "if the target is a mutable "};

static float state[LM_STATE_SIZE], next[LM_VOCABULARY_SIZE];
static const lm_context context = {state, next};
static double room[LM_ROOM(NUM_WORDS, NUM_ROWS, LM_READS) / sizeof(double)];
static lm_search* search;
static lm_typed typed;
static lm_word words[NUM_WORDS];
static int32_t tokens[ROOM];

/* Reads the whole words of a text. */
static void read_words(const char* text) {
  size_t num_tokens;
  lm_split(&LM_MODEL, text, strlen(text), &typed);
  num_tokens = lm_encode(&LM_MODEL, text, typed.whole, tokens, ROOM);
  lm_begin(search, &context);
  lm_read(search, &context, tokens, num_tokens < ROOM ? num_tokens : ROOM);
}

int main(void) {
  size_t i;
  search = lm_open(room, &LM_MODEL, NUM_WORDS, NUM_ROWS, LM_READS);
  for (i = 0; i < sizeof texts / sizeof *texts; i++) {
    uint32_t read, both;
    int word, found;
    start_counting();
    read_words(texts[i]);
    read = thousand_instructions();
    found = lm_suggest(search, &context, &typed, NUM_WORDS, words);
    both = thousand_instructions();
    printf("%s:", texts[i]);
    for (word = 0; word < found; word++) printf(" %s", words[word].text);
    printf("\n  %lu thousand instructions to read it, %lu to find the words\n", (unsigned long)read,
           (unsigned long)(both - read));
  }
  printf("  %u bytes of stack\n", (unsigned)stack_bytes());
  return 0;
}
