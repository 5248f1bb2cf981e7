// The core in C, for Python: it is written once, in C99, and compiled here with the kernels.
#pragma GCC visibility push(default)
#include "core/core.c"
#pragma GCC visibility pop
