/* The core as one source: each part needs those before it. */
#include "core.h"

#include <math.h>
#include <string.h>

#include "numbers.c"
#include "characters.c"
#include "tokens.c"
#include "words.c"
#include "taps.c"
#include "search.c"
#include "network.c"
