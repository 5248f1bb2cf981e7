// Matrix products C = A B of bfloat16 operands with float32 sums: conversion, packing and layout of the operands. The
// products themselves are in tiles_bfloat16.h.
//
// Each float32 number of an operand becomes kParts bfloat16 numbers. kParts = 1 is plain bfloat16, rounded to nearest.
// With kParts = 2 the second part is what the rounding of the first lost (x = high + low, together 16 bits of x), and a
// product of two numbers is high high + high low + low high: "bfloat16x3". The parts of an operand are arrays of the
// same layout, `part_stride` elements apart.
//
// A tile is 16 rows of 64 bytes, as AMX has it:
//   of A: 16 rows of 32 consecutive k, the rows any distance apart                 ("rows")
//   of B: 16 pairs of consecutive k, each 16 columns of two elements, B[2i, c], B[2i + 1, c]   ("paired", also VNNI)
//   of C: 16 rows of 16 float32 sums, the rows any distance apart
// Paired tiles follow each other in memory, 512 elements each.
#pragma once

#include "common/simd.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

typedef uint16_t bfloat16;
typedef __m512i Bfloat16x32;

constexpr int kTileRows = 16;   // rows of A and of C, columns of B and of C
constexpr int kTileDepth = 32;  // k of a tile of A or B
constexpr int kTileSize = 512;  // elements of a tile of A or B
constexpr int kBlock = 32;      // rows and columns of the block of C, 2 x 2 tiles, that a product computes at once
static_assert(kTileSize == kTileRows * kTileDepth && kBlock == 2 * kTileRows);

// A row stride, in elements, for rows of `size` bfloat16: rows at multiples of 1 KB would evict each other from the L1
// cache.
KERASPTB_INLINE int64_t spread(int64_t size) { return size % 512 == 0 ? size + 32 : size; }

// ---- bfloat16 ----

// 16 of `first`, then 16 of `second`.
KERASPTB_INLINE Bfloat16x32 round_to_bfloat16(Float first, Float second) {
  return reinterpret_cast<Bfloat16x32>(_mm512_cvtne2ps_pbh(second, first));
}
KERASPTB_INLINE __m256i first_half(Bfloat16x32 x) { return _mm512_castsi512_si256(x); }
KERASPTB_INLINE __m256i second_half(Bfloat16x32 x) { return _mm512_extracti64x4_epi64(x, 1); }
KERASPTB_INLINE Bfloat16x32 join(__m256i first, __m256i second) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
}
KERASPTB_INLINE Float widen(__m256i x) {
  return reinterpret_cast<Float>(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
KERASPTB_INLINE __m256i load_bfloat16x16(const bfloat16* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
KERASPTB_INLINE void store(bfloat16* p, __m256i x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
KERASPTB_INLINE void store(bfloat16* p, Bfloat16x32 x) { _mm512_storeu_si512(p, x); }

// The first `count` (0 .. 16) lanes of x, the others zero.
KERASPTB_INLINE Float first_lanes(Float x, int64_t count) { return _mm512_maskz_mov_ps(mask_of_first(count), x); }

// The parts of 32 numbers, given as two vectors.
template <int kParts>
struct Parts {
  Bfloat16x32 part[kParts];
};
template <int kParts>
KERASPTB_INLINE Parts<kParts> split_in_parts(Float first, Float second) {
  Parts<kParts> parts;
  parts.part[0] = round_to_bfloat16(first, second);
  if (kParts == 2)
    parts.part[kParts - 1] =
        round_to_bfloat16(first - widen(first_half(parts.part[0])), second - widen(second_half(parts.part[0])));
  return parts;
}
// Stores the parts of one number.
template <int kParts>
KERASPTB_INLINE void store_in_parts(bfloat16* p, int64_t part_stride, float x) {
  for (int part = 0; part < kParts; ++part) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    bits = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
    p[part * part_stride] = static_cast<bfloat16>(bits >> 16);
    float rounded;
    memcpy(&rounded, &bits, 4);
    x -= rounded;
  }
}

// Elements 0, 16, 1, 17, ...: two rows of 16 become the pairs of one row of a paired tile.
KERASPTB_INLINE Bfloat16x32 pair_rows(Bfloat16x32 x) {
  const Bfloat16x32 order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,  //
                                             23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, x);
}

// ---- operands ----

// Where the tiles of A or B are.
struct Operand {
  const bfloat16* data;  // the first tile
  int64_t tile_stride;   // elements to the tile of the next 16 rows (A) or columns (B)
  int64_t row_bytes;     // bytes between the rows of a tile
  int64_t depth_stride;  // elements to the tile of the next 32 k
  int64_t part_stride;   // elements to the same tile of the second part
};
// A, stored by rows.
KERASPTB_INLINE Operand rows_operand(const bfloat16* data, int64_t row_stride, int64_t part_stride) {
  return {data, kTileRows * row_stride, row_stride * int64_t{sizeof(bfloat16)}, kTileDepth, part_stride};
}
// B, stored as [column / 16][depth / 32][paired tile].
KERASPTB_INLINE Operand paired_operand(const bfloat16* data, int64_t depth, int64_t part_stride) {
  return {data, kTileRows * depth, 64, kTileSize, part_stride};
}

// Where the two or four tiles of C are, their rows `row_stride` elements apart.
struct SumTiles {
  float* tile[4];
  int64_t row_stride;
};
KERASPTB_INLINE SumTiles sums_32x32(float* c, int64_t row_stride) {
  float* below = c + kTileRows * row_stride;
  return {{c, c + kTileRows, below, below + kTileRows}, row_stride};
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
