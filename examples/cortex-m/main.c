/* Suggests the next words after a few texts, as a keyboard does, and tells what that takes. */
#include <stdio.h>
#include <string.h>

#include "board.h"
#include "model.h"

enum { ROOM = 64, NUM_WORDS = 3 };

static const char* const texts[] = {"if the target", "The value of the n", "if the target is a mutable "};

static lm_context context;
static lm_search search;
static lm_typed typed;
static lm_word words[NUM_WORDS];
static int32_t tokens[ROOM];

/* Reads the whole words of a text. */
static void read_words(const char* text) {
  size_t num_tokens;
  lm_split(text, strlen(text), &typed);
  num_tokens = lm_encode(text, typed.whole, tokens, ROOM);
  lm_begin(&context);
  lm_read(&context, tokens, num_tokens < ROOM ? num_tokens : ROOM);
}

int main(void) {
  size_t i;
  for (i = 0; i < sizeof texts / sizeof *texts; i++) {
    uint32_t read, both;
    int word, found;
    start_counting();
    read_words(texts[i]);
    read = thousand_instructions();
    found = lm_suggest(&search, &context, &typed, NUM_WORDS, words);
    both = thousand_instructions();
    printf("%s:", texts[i]);
    for (word = 0; word < found; word++) printf(" %s", words[word].text);
    printf("\n  %lu thousand instructions to read it, %lu to find the words\n", (unsigned long)read,
           (unsigned long)(both - read));
  }
  printf("  %u bytes of stack\n", (unsigned)stack_bytes());
  return 0;
}
