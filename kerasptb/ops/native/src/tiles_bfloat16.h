// Products of tiles: by AMX or by AVX512-BF16, as the level says that a source is compiled for.
//
// Both have:
//   kTileProductCycles: what a product of two tiles costs, roughly.
//   kRowsTogether: of a multiple of so many rows of A no others are touched.
//   Tiles: what a thread holds as long as it multiplies.
//   multiply_32x32<parts>(steps, rows, a, b, from, to): to = from + A (32 x 32 steps) B (32 steps x 32), the tiles as
//     0 1 / 2 3. The first `rows`, more than 16, are wanted: the others become anything, or stay
//   multiply_16_rows<parts, column tiles>(steps, rows, a, b, from, to): with 16 rows, the tiles (2 or 4) side by side
// `from` may be the same as `to`, or null for zero.
#pragma once

#ifdef __AMX_BF16__
#include "tiles_amx.h"
#else
#include "tiles_avx512bf16.h"
#endif
