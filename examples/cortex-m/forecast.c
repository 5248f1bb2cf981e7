/* Forecasts a wave, value by value, as a sensor gives them, and tells what that takes. */
#include <math.h>
#include <stdio.h>

#include "board.h"
#include "forecaster.h"

enum { STEPS = 200, LAST = 5 };

static float state[FORECASTER_STEP_STATE], value[FORECASTER_STEP_IN], forecast[FORECASTER_STEP_OUT];

/* What printf shows without memory of its own. */
static long thousandths(float x) { return lroundf(1000.0f * x); }

int main(void) {
  uint32_t all;
  int step;
  start_counting();
  for (step = 0; step < STEPS; step++) {
    value[0] = sinf((float)step / 7.0f);
    forecaster_step(value, state, forecast);
    if (step >= STEPS - LAST) printf("after %ld: %ld thousandths\n", thousandths(value[0]), thousandths(forecast[0]));
  }
  all = thousand_instructions();
  printf("  %lu thousand instructions a step\n", (unsigned long)(all / STEPS));
  printf("  %u bytes of stack\n", (unsigned)stack_bytes());
  return 0;
}
