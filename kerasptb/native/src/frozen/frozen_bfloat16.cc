#include "frozen/run.h"
