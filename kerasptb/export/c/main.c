/* Suggests the next words after each line of standard input, as a keyboard does.
 *
 *   cc -std=c99 -O3 -o suggest main.c model.c core.c -lm
 *   echo "once upon a ti" | ./suggest
 */
#include <stdio.h>
#include <string.h>

#include "model.h"

enum { ROOM = 1 << 16, NUM_WORDS = 3 };

static char line[ROOM], text[ROOM];
static int32_t tokens[ROOM];
static float state[LM_STATE_SIZE], next[LM_VOCABULARY_SIZE];
static double room[LM_ROOM(NUM_WORDS, LM_ROWS(NUM_WORDS), LM_READS) / sizeof(double)];
static lm_typed typed;
static lm_word words[NUM_WORDS];

int main(void) {
  lm_search* search = lm_open(room, &LM_MODEL, NUM_WORDS, LM_ROWS(NUM_WORDS), LM_READS);
  lm_context context = {state, next};
  while (fgets(line, sizeof line, stdin)) {
    size_t size = strcspn(line, "\n"), num_tokens;
    int i, found;
    double given;
    size = lm_read_signs(&LM_MODEL, line, size, text, sizeof text);
    if (size > sizeof text) return 1; /* a line that grew too long */
    lm_split(&LM_MODEL, text, size, &typed);
    num_tokens = lm_encode(&LM_MODEL, text, typed.whole, tokens, ROOM);
    lm_begin(search, &context);
    lm_read(search, &context, tokens, num_tokens < ROOM ? num_tokens : ROOM);
    found = lm_suggest(search, &context, &typed, NUM_WORDS, words);
    given = typed.typed ? lm_total(search) : 1.0;
    for (i = 0; i < found; i++) {
      const double probability = given > 0.0 ? words[i].probability / given : 0.0;
      printf("%-20s %.4f\n", words[i].text, probability < 1.0 ? probability : 1.0);
    }
    printf("\n");
    fflush(stdout);
  }
  return 0;
}
