// The tile that float32 products are made of: some rows of A by a panel of two vectors of B's columns, summed in
// registers.
#pragma once

#include "simd.h"
#include "threads.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

constexpr int64_t kPanel = 2 * kLanes;
// Of a tile. Its sums, two vectors of the panel and one of a row fill the registers.
constexpr int kRows = kRegisters == 32 ? 13 : 6;
// A long sum is formed of sums of this many products: its rounding error grows with the square root of the terms.
constexpr int64_t kSumBlock = 256;

// The sums of a tile: R rows of A by the two vectors of a panel of B.
template <int R>
struct Sums {
  Float of[R][2];

  KERASPTB_INLINE_METHOD void zero() {
    for (int r = 0; r < R; ++r) of[r][0] = of[r][1] = Float{};
  }

  // Adds sum over k of A[r, k] B[k, :]; A[r, k] at a[r * kAcross + k * kAlong], row k of B at b[k * kPanel]. kAhead:
  // with each k kLanes floats at `ahead`, which need not be there, are fetched.
  template <int kAcross, int kAlong, bool kAhead = false>
  KERASPTB_INLINE_METHOD void add(int64_t size, const float* a, const float* b, const float* ahead = nullptr) {
    for (int64_t k = 0; k < size; ++k, a += kAlong, b += kPanel) {
      const Float b0 = load(b), b1 = load(b + kLanes);
      if (kAhead) prefetch_into_l2(ahead + k * kLanes);
      for (int r = 0; r < R; ++r) {
        const Float x = splat(a[r * kAcross]);
        of[r][0] += x * b0;
        of[r][1] += x * b1;
      }
    }
  }
};

// The panel of some rows of B^T, each of `size` floats, of which there are at most kPanel.
KERASPTB_INLINE void pack_transposed(const float* rows, int64_t number, int64_t size, float* panel) {
  int64_t k = 0;
  if (number == kPanel)
    for (; k + 4 <= size; k += 4)
      for (int64_t i = 0; i < kPanel; i += 4) transpose4(rows + i * size + k, size, panel + k * kPanel + i, kPanel);
  for (; k < size; ++k)
    for (int64_t i = 0; i < kPanel; ++i) panel[k * kPanel + i] = i < number ? rows[i * size + k] : 0.0f;
}

// Calls function(height, tile, first row) for each of the tiles, of nearly equal height and at most kMost rows, into
// which `size` rows fall, or for those of a range. height converts to a constant.
template <int R>
struct Height {
  constexpr operator int() const { return R; }
};
template <int kMost = kRows, class Function>
KERASPTB_INLINE void for_each_tile(int64_t size, Range some, const Function& function) {
  const int64_t tiles = ceil_div(size, kMost);
  for (int64_t i = some.begin; i < some.end; ++i) {
    const Range tile = split(size, tiles, i);
    switch (tile.size()) {
#define KERASPTB_CASE(R)                                            \
  case R:                                                           \
    if constexpr (R <= kMost) function(Height<R>(), i, tile.begin); \
    break;
      KERASPTB_CASE(1)
      KERASPTB_CASE(2)
      KERASPTB_CASE(3)
      KERASPTB_CASE(4)
      KERASPTB_CASE(5)
      KERASPTB_CASE(6)
      KERASPTB_CASE(7)
      KERASPTB_CASE(8)
      KERASPTB_CASE(9)
      KERASPTB_CASE(10)
      KERASPTB_CASE(11)
      KERASPTB_CASE(12)
      KERASPTB_CASE(13)
#undef KERASPTB_CASE
    }
  }
}
template <int kMost = kRows, class Function>
KERASPTB_INLINE void for_each_tile(int64_t size, const Function& function) {
  for_each_tile<kMost>(size, Range{0, ceil_div(size, kMost)}, function);
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
