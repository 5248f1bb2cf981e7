// Blocks of sums for processors with AVX512-BF16 and no AMX. The same interface as tiles_amx.h.
#pragma once

#include "bfloat16.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

constexpr double kTileProductCycles = 256;  // of one tile of A times one of B
constexpr int64_t kRowsTogether = 8;        // four cost nearly as much

// There is nothing to set up.
class Tiles {
 public:
  KERASPTB_INLINE_METHOD Tiles() {}
  KERASPTB_INLINE_METHOD ~Tiles() {}
};

// 16 columns' pairs of k.
KERASPTB_INLINE __m512bh pairs(const char* p) { return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p)); }
// One pair of k in every lane.
KERASPTB_INLINE __m512bh everywhere(const char* p) {
  int32_t pair;
  memcpy(&pair, p, sizeof(pair));
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
}

// Two tiles side by side, `tile` and the next: the rows of A from `begin` to `end`, a multiple of kRows, times 32
// columns of B. The sums of kRows rows stay in registers for all steps: up to eight rows', since of 32 registers there
// must be some left for the operands.
template <int kParts, int kRows>
KERASPTB_NOINLINE void multiply_rows(int64_t steps, int64_t begin, int64_t end, const Operand& a, const Operand& b,
                                     int tile, const Places* from, const Places& to) {
  for (int64_t first = begin; first < end; first += kRows) {
    Float sums[kRows][2];
    for (int row = 0; row < kRows; ++row)
      for (int column = 0; column < 2; ++column)
        sums[row][column] =
            from == nullptr ? Float{} : load(from->tile[tile + column] + (first + row) * from->row_size);
    const char* rows = reinterpret_cast<const char*>(a.data) + first * a.stride;
    const char* columns = reinterpret_cast<const char*>(b.data);
    for (int64_t i = 0; i < steps; ++i) {
      for (int pair = 0; pair < kTileDepth / 2; ++pair) {
        const char* b_pair = columns + pair * b.stride;
        const __m512bh b0 = pairs(b_pair), b1 = pairs(b_pair + b.next * 2);
        const __m512bh b0_low = kParts == 2 ? pairs(b_pair + b.low * 2) : b0;
        const __m512bh b1_low = kParts == 2 ? pairs(b_pair + (b.low + b.next) * 2) : b1;
#pragma GCC unroll 8
        for (int row = 0; row < kRows; ++row) {
          const char* a_pair = rows + row * a.stride + pair * 4;
          const __m512bh high = everywhere(a_pair);
          sums[row][0] = _mm512_dpbf16_ps(sums[row][0], high, b0);
          sums[row][1] = _mm512_dpbf16_ps(sums[row][1], high, b1);
          if (kParts == 2) {
            sums[row][0] = _mm512_dpbf16_ps(sums[row][0], high, b0_low);
            sums[row][1] = _mm512_dpbf16_ps(sums[row][1], high, b1_low);
            const __m512bh low = everywhere(a_pair + a.low * 2);
            sums[row][0] = _mm512_dpbf16_ps(sums[row][0], low, b0);
            sums[row][1] = _mm512_dpbf16_ps(sums[row][1], low, b1);
          }
        }
      }
      rows += a.step * 2;
      columns += b.step * 2;
    }
    for (int row = 0; row < kRows; ++row)
      for (int column = 0; column < 2; ++column)
        store(to.tile[tile + column] + (first + row) * to.row_size, sums[row][column]);
  }
}

template <int kParts>
KERASPTB_INLINE void multiply_two_tiles(int64_t steps, int64_t num_rows, const Operand& a, const Operand& b, int tile,
                                        const Places* from, const Places& to) {
  const int64_t begin = (num_rows + 3) / 8 * 8;  // of less than five rows
  multiply_rows<kParts, 8>(steps, 0, begin, a, b, tile, from, to);
  if (num_rows > begin + 1)
    multiply_rows<kParts, 4>(steps, begin, num_rows, a, b, tile, from, to);
  else if (num_rows > begin)
    multiply_rows<kParts, 1>(steps, begin, num_rows, a, b, tile, from, to);
}

template <int kParts>
KERASPTB_INLINE void multiply_32x32(int64_t steps, int64_t num_rows, const Operand& a, const Operand& b,
                                    const Places* from, const Places& to) {
  Operand below = a;
  below.data += a.next;
  multiply_two_tiles<kParts>(steps, kTileRows, a, b, 0, from, to);
  multiply_two_tiles<kParts>(steps, smaller(num_rows, kBlock) - kTileRows, below, b, 2, from, to);
}

template <int kParts, int kColumnTiles>
KERASPTB_INLINE void multiply_16_rows(int64_t steps, int64_t num_rows, const Operand& a, const Operand& b,
                                      const Places* from, const Places& to) {
  for (int tile = 0; tile < kColumnTiles; tile += 2) {
    Operand columns = b;
    columns.data += tile * b.next;
    multiply_two_tiles<kParts>(steps, num_rows, a, columns, tile, from, to);
  }
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
