// Products of float32 matrices by the threads of one kernel together, for products that are too small, or too much
// between what comes before and after, to be handed to the framework.
//
// C = A B, A [m, k], B [k, n], in blocks of kDepth along k. The threads copy a block of B into panels together; then
// each copies the tiles of A that it comes to into memory of its own, in the order in which it reads them.
#pragma once

#include "tiles_float32.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

// Products of an entry of C that are made in one go.
constexpr int64_t kDepth = 1024;
// Of a thread's tiles of A: they stay in its L2 cache while the panels go by.
constexpr int64_t kTileFloats = (512 << 10) / sizeof(float);
static_assert(kTileFloats >= kRows * kDepth && kDepth % kSumBlock == 0 && kSumBlock % kPanel == 0);

// The depth of blocks, nearly equal and of whole panels, into which a sum of `size` products falls.
KERASPTB_INLINE int64_t block_depth(int64_t size) { return round_up(ceil_div(size, ceil_div(size, kDepth)), kPanel); }

// function(block, whether it is the first) for each of them.
template <class Function>
KERASPTB_INLINE void for_each_block(int64_t size, const Function& function) {
  const int64_t depth = block_depth(size);
  for (int64_t k = 0; k < size; k += depth) function(Range{k, smaller(k + depth, size)}, k == 0);
}

// A matrix in panels, each [rows][kPanel]; what lies beyond the last column is not read as one.
struct Panels {
  int64_t rows, columns;
  float* memory;

  int64_t count() const { return ceil_div(columns, kPanel); }
  static int64_t floats(int64_t rows, int64_t columns) { return rows * round_up(columns, kPanel); }
  float* at(int64_t panel, int64_t row) const { return memory + (panel * rows + row) * kPanel; }

  // Row i is from + i * stride: this thread's rows of `size`.
  void copy_rows(const float* from, int64_t stride, int64_t size, int thread, int threads) const {
    const Range mine = split(size, threads, thread);
    for (int64_t i = mine.begin; i < mine.end; ++i) {
      const float* row = from + i * stride;
      float* to = at(0, i);
      int64_t j = 0;
      for (; j + kPanel <= columns; j += kPanel, to += rows * kPanel) {
        store(to, load(row + j));
        store(to + kLanes, load(row + j + kLanes));
      }
      if (j < columns) {
        store(to, load(row + j, lanes_before(j, columns)));
        store(to + kLanes, load(row + j + kLanes, lanes_before(j + kLanes, columns)));
      }
    }
  }

  // Column j is from + j * stride: this thread's panels of `size` rows.
  void copy_columns(const float* from, int64_t stride, int64_t size, int thread, int threads) const {
    const Range mine = split(count(), threads, thread);
    for (int64_t j = mine.begin * kPanel; j < mine.end * kPanel; j += 4) {
      const float* column = from + j * stride;
      float* to = at(j / kPanel, 0) + j % kPanel;
      int64_t i = 0;
      if (j + 4 <= columns)
        for (; i + 4 <= size; i += 4) transpose4(column + i, stride, to + i * kPanel, kPanel);
      for (; i < size; ++i)
        for (int64_t l = 0; l < 4; ++l) to[i * kPanel + l] = j + l < columns ? column[l * stride + i] : 0.0f;
    }
  }

  // Puts columns [column, column + lanes) of a row, lanes <= kLanes.
  KERASPTB_INLINE_METHOD void put(int64_t row, int64_t column, Float x, int64_t lanes) const {
    float* to = at(column / kPanel, row) + column % kPanel;
    const int64_t here = kPanel - column % kPanel;
    if (lanes <= here) {
      if (lanes == kLanes)
        store(to, x);
      else
        store(to, x, lanes);
      return;
    }
    float both[2 * kLanes];
    store(both, x);
    store(to, x, here);
    store(at(column / kPanel + 1, row), load(both + here), lanes - here);
  }
};

// Tiles of A as a thread copies them, of kRows floats for each k: [k][row] where A's columns are at hand, else
// [k / kSumBlock][row][k % kSumBlock], whose loops are long.
KERASPTB_INLINE int64_t tile_floats(int64_t depth) { return kRows * round_up(depth, kSumBlock); }

// From rows of A, row i at a + i * stride.
KERASPTB_INLINE void copy_tiles_of_rows(const float* a, int64_t stride, int64_t m, Range tiles, Range k, float* to) {
  for_each_tile(m, tiles, [&](auto height, int64_t, int64_t row) {
    for (int64_t r = 0; r < height; ++r) {
      const float* from = a + (row + r) * stride + k.begin;
      for (int64_t j = 0; j < k.size(); j += kSumBlock)
        memcpy(to + j * kRows + r * kSumBlock, from + j, smaller(kSumBlock, k.size() - j) * sizeof(float));
    }
    to += tile_floats(k.size());
  });
}

// From columns of A, column(j) the j-th: from some of them, into one tile after the other, while they are in the cache.
template <class Column>
KERASPTB_INLINE void copy_tiles_of_columns(const Column& column, int64_t m, Range tiles, Range k, float* to) {
  constexpr int64_t kSome = 32;
  for (int64_t begin = 0; begin < k.size(); begin += kSome) {
    const int64_t some = smaller(kSome, k.size() - begin);
    const float* from[kSome];
    for (int64_t j = 0; j < some; ++j) from[j] = column(k.begin + begin + j);
    float* out = to + begin * kRows;
    for_each_tile(m, tiles, [&](auto height, int64_t, int64_t row) {
      for (int64_t j = 0; j < some; ++j) memcpy(out + j * kRows, from[j] + row, height * sizeof(float));
      out += tile_floats(k.size());
    });
  }
}

// From A in panels; k.begin is a multiple of kPanel.
KERASPTB_INLINE void copy_tiles_of_panels(const Panels& a, Range tiles, Range k, float* to) {
  for_each_tile(a.rows, tiles, [&](auto height, int64_t, int64_t row) {
    for (int64_t j = 0; j < k.size(); j += kPanel) {
      const float* from = a.at((k.begin + j) / kPanel, row);
      float* out = to + j / kSumBlock * kSumBlock * kRows + j % kSumBlock;
      for (int r = 0; r < height; ++r) memcpy(out + r * kSumBlock, from + r * kPanel, kPanel * sizeof(float));
    }
    to += tile_floats(k.size());
  });
}

// Which of the two forms a tile has.
enum class TileForm { kRows, kColumns };

// R rows of C, each `stride` after the one before, and the first `columns` of their columns, at most kPanel. A line of
// `ahead` is fetched with each product.
template <int R, TileForm form>
KERASPTB_NOINLINE void product_tile(int64_t depth, const float* a, const float* b, bool first, float* c, int64_t stride,
                                    int64_t columns, const float* ahead) {
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < 2; ++j) prefetch_to_write(c + r * stride + j * kLanes);
  Float total[R][2];
  for (int64_t begin = 0; begin < depth; begin += kSumBlock) {
    const int64_t size = smaller(kSumBlock, depth - begin);
    Sums<R> sums;
    sums.zero();
    if constexpr (form == TileForm::kColumns)
      sums.template add<1, kRows, true>(size, a + begin * kRows, b + begin * kPanel, ahead + begin * kLanes);
    else
      sums.template add<kSumBlock, 1, true>(size, a + begin * kRows, b + begin * kPanel, ahead + begin * kLanes);
    for (int r = 0; r < R; ++r)
      for (int j = 0; j < 2; ++j) total[r][j] = begin == 0 ? sums.of[r][j] : total[r][j] + sums.of[r][j];
  }
  for (int r = 0; r < R; ++r, c += stride)
    for (int j = 0; j < 2; ++j) {
      float* to = c + j * kLanes;
      const int64_t lanes = lanes_before(j * kLanes, columns);
      if (lanes == kLanes)
        store(to, first ? total[r][j] : load(to) + total[r][j]);
      else if (lanes > 0)
        store(to, first ? total[r][j] : load(to, lanes) + total[r][j], lanes);
    }
}

// This thread's part of C [m, b.columns], dense, from a block of `depth` products, whose rows of B begin at `b_row`;
// added to C unless it is the first. copy(tiles, to) copies tiles of A into `own`, of kTileFloats.
template <TileForm form, class Copy>
KERASPTB_INLINE void multiply(int64_t m, const Copy& copy, const Panels& b, int64_t b_row, int64_t depth, bool first,
                              float* c, float* own, int thread, int threads) {
  const int64_t tiles = ceil_div(m, kRows), panels = b.count();
  // Of panels where those come out more nearly equal, or where a thread's few tiles would make little of each panel;
  // else of tiles, which then nobody else copies.
  const int64_t most_by_tiles = ceil_div(tiles, threads) * panels, most_by_panels = ceil_div(panels, threads) * tiles;
  const bool by_panels = most_by_panels < most_by_tiles || (most_by_panels == most_by_tiles && tiles < 8 * threads);
  const Range my_panels = by_panels ? split(panels, threads, thread) : Range{0, panels};
  const Range my_tiles = by_panels ? Range{0, tiles} : split(tiles, threads, thread);
  if (my_panels.size() == 0) return;
  const int64_t chunks = ceil_div(my_tiles.size(), kTileFloats / tile_floats(depth));
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const Range part = split(my_tiles.size(), chunks, chunk),
                some{my_tiles.begin + part.begin, my_tiles.begin + part.end};
    copy(some, own);
    for (int64_t panel = my_panels.begin; panel < my_panels.end; ++panel) {
      const float* a = own;
      // Two lines a row, so two tiles fetch it.
      const float* next = b.at(panel + 1, b_row);
      for_each_tile(m, some, [&](auto height, int64_t tile, int64_t row) {
        product_tile<height, form>(depth, a, b.at(panel, b_row), first, c + row * b.columns + panel * kPanel, b.columns,
                                   b.columns - panel * kPanel, next + tile % 2 * depth * kLanes);
        a += tile_floats(depth);
      });
    }
  }
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
