// Products in bfloat16 for processors with AVX512-BF16 and no AMX: the interface is in tiles_bfloat16.h.
#pragma once

#include "common/bfloat16.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

constexpr double kTileProductCycles = 256;  // of one tile of A times one of B
constexpr int64_t kRowsTogether = 8;        // four rows take nearly as long as eight

// There is nothing to set up.
class Tiles {
 public:
  KERASPTB_INLINE_METHOD Tiles() {}
  KERASPTB_INLINE_METHOD ~Tiles() {}
};

// A row of a paired tile: a pair of k for each of 16 columns.
KERASPTB_INLINE __m512bh pairs(const char* p) { return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p)); }
// One pair of k of A, in every lane.
KERASPTB_INLINE __m512bh everywhere(const char* p) {
  int32_t pair;
  memcpy(&pair, p, sizeof(pair));
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
}

// Rows [begin, end) of two tiles of C side by side, `tile` and the next, kRows rows at a time, of which the last may
// lie past the end. Their sums stay in registers for all steps, two for each row: at most 16 of the 32 registers.
template <int kParts, int kRows>
KERASPTB_NOINLINE void multiply_rows(int64_t steps, int64_t begin, int64_t end, const Operand& a, const Operand& b,
                                     int tile, const SumTiles* from, const SumTiles& to) {
  for (int64_t first = begin; first < end; first += kRows) {
    Float sums[kRows][2];
    for (int row = 0; row < kRows; ++row)
      for (int column = 0; column < 2; ++column)
        sums[row][column] =
            from == nullptr ? Float{} : load(from->tile[tile + column] + (first + row) * from->row_stride);
    const char* rows = reinterpret_cast<const char*>(a.data) + first * a.row_bytes;
    const char* columns = reinterpret_cast<const char*>(b.data);
    for (int64_t i = 0; i < steps; ++i) {
      for (int pair = 0; pair < kTileDepth / 2; ++pair) {
        const char* b_pair = columns + pair * b.row_bytes;
        const __m512bh b0 = pairs(b_pair), b1 = pairs(b_pair + b.tile_stride * 2);
        const __m512bh b0_low = kParts == 2 ? pairs(b_pair + b.part_stride * 2) : b0;
        const __m512bh b1_low = kParts == 2 ? pairs(b_pair + (b.part_stride + b.tile_stride) * 2) : b1;
#pragma GCC unroll 8
        for (int row = 0; row < kRows; ++row) {
          const char* a_pair = rows + row * a.row_bytes + pair * 4;
          const __m512bh high = everywhere(a_pair);
          sums[row][0] = _mm512_dpbf16_ps(sums[row][0], high, b0);
          sums[row][1] = _mm512_dpbf16_ps(sums[row][1], high, b1);
          if (kParts == 2) {
            sums[row][0] = _mm512_dpbf16_ps(sums[row][0], high, b0_low);
            sums[row][1] = _mm512_dpbf16_ps(sums[row][1], high, b1_low);
            const __m512bh low = everywhere(a_pair + a.part_stride * 2);
            sums[row][0] = _mm512_dpbf16_ps(sums[row][0], low, b0);
            sums[row][1] = _mm512_dpbf16_ps(sums[row][1], low, b1);
          }
        }
      }
      rows += a.depth_stride * 2;
      columns += b.depth_stride * 2;
    }
    for (int row = 0; row < kRows; ++row)
      for (int column = 0; column < 2; ++column)
        store(to.tile[tile + column] + (first + row) * to.row_stride, sums[row][column]);
  }
}

template <int kParts>
KERASPTB_INLINE void multiply_two_tiles(int64_t steps, int64_t num_rows, const Operand& a, const Operand& b, int tile,
                                        const SumTiles* from, const SumTiles& to) {
  const int64_t begin = (num_rows + 3) / 8 * 8;  // where fewer than five rows are left
  multiply_rows<kParts, 8>(steps, 0, begin, a, b, tile, from, to);
  if (num_rows > begin + 1)
    multiply_rows<kParts, 4>(steps, begin, num_rows, a, b, tile, from, to);
  else if (num_rows > begin)
    multiply_rows<kParts, 1>(steps, begin, num_rows, a, b, tile, from, to);
}

template <int kParts>
KERASPTB_INLINE void multiply_32x32(int64_t steps, int64_t num_rows, const Operand& a, const Operand& b,
                                    const SumTiles* from, const SumTiles& to) {
  Operand below = a;
  below.data += a.tile_stride;
  multiply_two_tiles<kParts>(steps, kTileRows, a, b, 0, from, to);
  multiply_two_tiles<kParts>(steps, smaller(num_rows, kBlock) - kTileRows, below, b, 2, from, to);
}
template <int kParts, class Meanwhile>
KERASPTB_INLINE void multiply_32x32(int64_t steps, int64_t num_rows, const Operand& a, const Operand& b,
                                    const SumTiles* from, const SumTiles& to, const Meanwhile&) {
  multiply_32x32<kParts>(steps, num_rows, a, b, from, to);
}

template <int kParts, int kColumnTiles>
KERASPTB_INLINE void multiply_16_rows(int64_t steps, int64_t num_rows, const Operand& a, const Operand& b,
                                      const SumTiles* from, const SumTiles& to) {
  for (int tile = 0; tile < kColumnTiles; tile += 2) {
    Operand columns = b;
    columns.data += tile * b.tile_stride;
    multiply_two_tiles<kParts>(steps, num_rows, a, columns, tile, from, to);
  }
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
