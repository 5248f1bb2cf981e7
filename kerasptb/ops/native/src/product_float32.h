// Products of float32 matrices by the threads of one kernel together, for products that are too small, or too much
// between what comes before and after, to be handed to the framework.
//
// C = A B, A [m, k], B [k, n], in blocks of kSumBlock along k. All threads copy a block of A into tiles and one of B
// into panels, in the order in which they lie in memory; then each makes its part of C.
#pragma once

#include "tiles_float32.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

// A as tiles, each [kRows][kSumBlock] if A lies in memory as rows, or [kSumBlock][kRows] if it lies as columns.
struct TilesOfA {
  int64_t m;
  bool columns;
  float* memory;

  int64_t count() const { return ceil_div(m, kRows); }
  static int64_t floats(int64_t m) { return ceil_div(m, kRows) * kRows * kSumBlock; }
  float* at(int64_t tile) const { return memory + tile * kRows * kSumBlock; }

  // A[i, j] at a[i * stride + j]: this thread's tiles of columns k.
  void copy_rows(const float* a, int64_t stride, Range k, int thread, int threads) const {
    const Range mine = split(count(), threads, thread);
    for (int64_t tile = mine.begin; tile < mine.end; ++tile) {
      const Range rows = split(m, count(), tile);
      for (int64_t r = 0; r < rows.size(); ++r)
        memcpy(at(tile) + r * kSumBlock, a + (rows.begin + r) * stride + k.begin, k.size() * sizeof(float));
    }
  }

  // A[i, j] at column(j)[i]: this thread's columns of k.
  template <class Column>
  void copy_columns(const Column& column, Range k, int thread, int threads) const {
    const Range mine = split(k.size(), threads, thread);
    for (int64_t j = mine.begin; j < mine.end; ++j) {
      const float* from = column(k.begin + j);
      for_each_tile(m, [&](auto height, int64_t tile, int64_t row) {
        memcpy(at(tile) + j * kRows, from + row, height * sizeof(float));
      });
    }
  }
};

// B as panels, each [kSumBlock][kPanel], zero beyond column n.
struct PanelsOfB {
  int64_t n;
  float* memory;

  int64_t count() const { return ceil_div(n, kPanel); }
  static int64_t floats(int64_t n) { return ceil_div(n, kPanel) * kPanel * kSumBlock; }
  float* at(int64_t panel) const { return memory + panel * kPanel * kSumBlock; }

  // B[i, j] at b[i * stride + j]: this thread's rows of k.
  void copy_rows(const float* b, int64_t stride, Range k, int thread, int threads) const {
    const Range mine = split(k.size(), threads, thread);
    for (int64_t i = mine.begin; i < mine.end; ++i) {
      const float* from = b + (k.begin + i) * stride;
      float* to = memory + i * kPanel;
      int64_t j = 0;
      for (; j + kPanel <= n; j += kPanel, to += kPanel * kSumBlock) {
        store(to, load(from + j));
        store(to + kLanes, load(from + j + kLanes));
      }
      if (j < n) {
        store(to, load(from + j, lanes_before(j, n)));
        store(to + kLanes, load(from + j + kLanes, lanes_before(j + kLanes, n)));
      }
    }
  }

  // B[i, j] at b[j * stride + i]: this thread's panels of rows k.
  void copy_columns(const float* b, int64_t stride, Range k, int thread, int threads) const {
    const Range mine = split(count(), threads, thread);
    for (int64_t j = mine.begin * kPanel; j < mine.end * kPanel; j += 4) {
      const float* from = b + j * stride + k.begin;
      float* to = at(j / kPanel) + j % kPanel;
      int64_t i = 0;
      if (j + 4 <= n)
        for (; i + 4 <= k.size(); i += 4) transpose4(from + i, stride, to + i * kPanel, kPanel);
      for (; i < k.size(); ++i)
        for (int64_t l = 0; l < 4; ++l) to[i * kPanel + l] = j + l < n ? from[l * stride + i] : 0.0f;
    }
  }
};

template <int R, bool kColumns>
static __attribute__((noinline)) void product_tile(int64_t size, const float* a, const float* b, bool first, float* c,
                                                   int64_t stride, int64_t columns) {
  Sums<R> sums;
  sums.zero();
  sums.template add<kColumns ? 1 : kSumBlock, kColumns ? kRows : 1>(size, a, b);
  for (int r = 0; r < R; ++r, c += stride)
    for (int j = 0; j < 2; ++j) {
      float* to = c + j * kLanes;
      const int64_t lanes = lanes_before(j * kLanes, columns);
      if (lanes == kLanes)
        store(to, first ? sums.of[r][j] : load(to) + sums.of[r][j]);
      else if (lanes > 0)
        store(to, first ? sums.of[r][j] : load(to, lanes) + sums.of[r][j], lanes);
    }
}

// This thread's part of C [m, n], row i at c + i * stride, from a block of `size` along k; added to C unless it is the
// first.
KERASPTB_INLINE void multiply(const TilesOfA& a, const PanelsOfB& b, int64_t size, bool first, float* c, int64_t stride,
                              int thread, int threads) {
  // Of panels, or of tiles where those come out more nearly equal.
  const bool by_tiles = ceil_div(b.count(), threads) * a.count() > ceil_div(a.count(), threads) * b.count();
  const Range my_panels = by_tiles ? Range{0, b.count()} : split(b.count(), threads, thread);
  const Range my_tiles = by_tiles ? split(a.count(), threads, thread) : Range{0, a.count()};
  // As many tiles at a time as stay in the L2 cache while the panels go by.
  constexpr int64_t kTiles = (512 << 10) / (kRows * kSumBlock * sizeof(float));
  for (int64_t begin = my_tiles.begin; begin < my_tiles.end; begin += kTiles)
    for (int64_t panel = my_panels.begin; panel < my_panels.end; ++panel)
      for_each_tile(a.m, Range{begin, smaller(begin + kTiles, my_tiles.end)},
                    [&](auto height, int64_t tile, int64_t row) {
                      const auto function = a.columns ? product_tile<height, true> : product_tile<height, false>;
                      function(size, a.at(tile), b.at(panel), first, c + row * stride + panel * kPanel, stride,
                               b.n - panel * kPanel);
                    });
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
