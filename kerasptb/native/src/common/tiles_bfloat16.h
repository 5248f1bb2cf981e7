// The micro-kernels of products in bfloat16: with AMX or AVX512-BF16, whichever the level of this translation unit has.
//
// Both headers define:
//   kTileProductCycles: the rough cost of multiplying a tile of A by a tile of B.
//   kRowsTogether: a product of a multiple of this many rows stores to no other rows. So threads split rows there.
//   Tiles: an object that a thread keeps alive while it multiplies.
//   multiply_32x32<parts>(steps, rows, a, b, from, to): to = from + A B, with A [32, 32 steps] and B [32 steps, 32].
//     The four tiles of C are numbered 0 1 in the upper half and 2 3 in the lower. Only the first `rows` rows of C are
//     wanted, which are more than 16; the others are overwritten with anything, or left alone.
//   multiply_32x32<parts>(steps, rows, a, b, from, to, meanwhile): the same. With AMX meanwhile() is called twice in
//     each step: the vector units are idle during a product of tiles. Without AMX it is never called.
//   multiply_16_rows<parts, column tiles>(steps, rows, a, b, from, to): the same for 16 rows and 2 or 4 tiles side by
//     side, with AMX 1 to 4; `rows` is at most 16.
// `from` may be the same as `to`, or null for zero.
#pragma once

#ifdef __AMX_BF16__
#include "common/tiles_amx.h"
#else
#include "common/tiles_avx512bf16.h"
#endif
