// The micro-kernel of the float32 products C = A B: a tile of C, some rows by one panel of columns, summed in
// registers.
//
// A panel is B's columns two vectors at a time, stored as [k][kPanel], so that it is read in order. In the terms of the
// GEMM literature (Goto & van de Geijn 2008, BLIS) kRows is MR and kPanel is NR.
#pragma once

#include "common/simd.h"
#include "common/threads.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

constexpr int64_t kPanel = 2 * kLanes;            // columns of a tile
constexpr int kRows = kRegisters == 32 ? 13 : 6;  // rows of a tile, at most
static_assert(2 * kRows + 3 <= kRegisters, "sums, a row of the panel and an element of A in all lanes");
// A sum over k is made in blocks of this many products, which are then added to each other: rounding errors of one long
// sum would grow with its length.
constexpr int64_t kSumBlock = 256;

// The sums of a tile: R rows of A times a panel of B.
template <int R>
struct Sums {
  Float of[R][2];

  KERASPTB_INLINE_METHOD void zero() {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) of[r][0] = of[r][1] = Float{};
  }

  // Adds the sum over k < size of A[r, k] B[k, :], where A[r, k] is at a[r * kRowStride + k * kColumnStride] and row k
  // of B at b[k * kPanel]. With every kEvery-th k, if that is not 0, the next kLanes floats of `ahead` are prefetched:
  // a few at a time, because prefetches from beyond the L2 cache keep the few buffers busy through which misses of the
  // L1 cache go too.
  template <int kRowStride, int kColumnStride, int kEvery = 0>
  KERASPTB_INLINE_METHOD void add(int64_t size, const float* a, const float* b, const float* ahead = nullptr) {
    // In registers meanwhile, also where `of` is not: clang would store it after each product if a caller's loop
    // indexes it. clang unrolls long loops only if it is told to, and an array that a loop indexes lies in memory.
    Float sum[R][2];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sum[r][0] = of[r][0], sum[r][1] = of[r][1];
    const auto add_product = [&]() __attribute__((always_inline)) {
      const Float b0 = load(b), b1 = load(b + kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const Float x = splat(a[r * kRowStride]);
        sum[r][0] += x * b0;
        sum[r][1] += x * b1;
      }
      a += kColumnStride;
      b += kPanel;
    };
    // Counting and addressing take issue slots of the multiply-adds, where there are 26 of them for each k: so several
    // are added in one round of a loop.
    int64_t k = 0;
    if constexpr (kEvery > 1)
      for (; k + kEvery <= size; k += kEvery) {
        prefetch_into_l2(ahead + k / kEvery * kLanes);
#pragma GCC unroll 8
        for (int i = 0; i < kEvery; ++i) add_product();
      }
#pragma GCC unroll 2
    for (; k < size; ++k) {
      if (kEvery == 1) prefetch_into_l2(ahead + k * kLanes);
      add_product();
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) of[r][0] = sum[r][0], of[r][1] = sum[r][1];
  }
};

// Makes columns [size][kColumns] of `number` <= kColumns rows of B^T, each of `size` floats and `stride` after the last
// one. Missing columns become zero.
template <int64_t kColumns>
KERASPTB_INLINE void pack_transposed(const float* rows, int64_t stride, int64_t number, int64_t size, float* columns) {
  static_assert(kColumns % kTransposed == 0);
  for (int64_t k = 0; k < size; k += kTransposed)
    for (int64_t i = 0; i < kColumns; i += kTransposed)
      transpose_block(rows + i * stride + k, stride, number - i, smaller(kTransposed, size - k),
                      columns + k * kColumns + i, kColumns);
}

// The number of rows of a tile, as a type: converts to a constant.
template <int R>
struct Height {
  constexpr operator int() const { return R; }
};
// `size` rows fall into tiles of nearly equal height, at most kMax. Calls function(Height, tile, first row) for each
// of them, or for the range `some` of them.
template <int kMax = kRows, class Function>
KERASPTB_INLINE void for_each_tile(int64_t size, Range some, const Function& function) {
  const int64_t tiles = ceil_div(size, kMax);
  for (int64_t i = some.begin; i < some.end; ++i) {
    const Range tile = split(size, tiles, i);
    switch (tile.size()) {
#define KERASPTB_CASE(R)                                           \
  case R:                                                          \
    if constexpr (R <= kMax) function(Height<R>(), i, tile.begin); \
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
template <int kMax = kRows, class Function>
KERASPTB_INLINE void for_each_tile(int64_t size, const Function& function) {
  for_each_tile<kMax>(size, Range{0, ceil_div(size, kMax)}, function);
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
