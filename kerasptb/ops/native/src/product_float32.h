// Products of float32 matrices, C = A B with A [m, k] and B [k, n], by all threads of a kernel together. For products
// inside a kernel that are too small for a call of the framework to pay.
//
// This is the usual blocked GEMM (Goto & van de Geijn 2008), in blocks of at most kDepth along k (there: KC). The
// threads pack a block of B into panels together, and wait for each other; then each packs the tiles of A that it needs
// into a buffer of its own, in the order in which the micro-kernel reads them, and multiplies.
#pragma once

#include "tiles_float32.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

// The longest block along k.
constexpr int64_t kDepth = 1024;
// Bytes of the panels by which each tile of A is multiplied before the next: C is then stored in longer runs along its
// rows, which lie in different pages.
constexpr int64_t kPanelBytes = 256 << 10;
// Floats of a thread's buffer for packed tiles of A: 512 KB, which stay in its L2 cache while it reads panel after
// panel.
constexpr int64_t kTileFloats = (512 << 10) / sizeof(float);
static_assert(kTileFloats >= kRows * kDepth && kDepth % kSumBlock == 0 && kSumBlock % kPanel == 0);

// The depth of the blocks into which k < size is split: nearly equal, and a multiple of kPanel.
KERASPTB_INLINE int64_t block_depth(int64_t size) { return round_up(ceil_div(size, ceil_div(size, kDepth)), kPanel); }

// Calls function(block of k, whether it is the first) for each block.
template <class Function>
KERASPTB_INLINE void for_each_block(int64_t size, const Function& function) {
  const int64_t depth = block_depth(size);
  for (int64_t k = 0; k < size; k += depth) function(Range{k, smaller(k + depth, size)}, k == 0);
}

// A matrix [rows, columns] packed as [panel][rows][kPanel]. The columns past the last one of the last panel may hold
// anything: they affect no column of C that is stored.
struct Panels {
  int64_t rows, columns;
  float* data;

  int64_t count() const { return ceil_div(columns, kPanel); }
  static int64_t floats(int64_t rows, int64_t columns) { return rows * round_up(columns, kPanel); }
  float* at(int64_t panel, int64_t row) const { return data + (panel * rows + row) * kPanel; }

  // Packs this thread's share of the first `size` rows; row i is at from + i * stride.
  void pack_rows(const float* from, int64_t stride, int64_t size, int thread, int threads) const {
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

  // Packs the first `size` rows of this thread's share of the panels; column j is at from + j * stride.
  void pack_columns(const float* from, int64_t stride, int64_t size, int thread, int threads) const {
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

  // Stores columns [column, column + lanes) of a row, lanes <= kLanes, which may lie in two panels.
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

// How a tile of A is packed: kColumns is [k][kRows], the usual form. kRows is [k / kSumBlock][kRows][k % kSumBlock]:
// where A is stored by rows it is packed by longer copies.
enum class TileForm { kRows, kColumns };

// Floats of a packed tile.
KERASPTB_INLINE int64_t tile_floats(int64_t depth) { return kRows * round_up(depth, kSumBlock); }

// Packs tiles from rows of A, row i at a + i * stride. TileForm::kRows.
KERASPTB_INLINE void pack_tiles_of_rows(const float* a, int64_t stride, int64_t m, Range tiles, Range k, float* to) {
  for_each_tile(m, tiles, [&](auto height, int64_t, int64_t row) {
    for (int64_t r = 0; r < height; ++r) {
      const float* from = a + (row + r) * stride + k.begin;
      for (int64_t j = 0; j < k.size(); j += kSumBlock)
        memcpy(to + j * kRows + r * kSumBlock, from + j, smaller(kSumBlock, k.size() - j) * sizeof(float));
    }
    to += tile_floats(k.size());
  });
}

// Packs tiles from columns of A, column(j) being the address of the j-th: some columns at a time, for all tiles, while
// they are in the cache. TileForm::kColumns.
template <class Column>
KERASPTB_INLINE void pack_tiles_of_columns(const Column& column, int64_t m, Range tiles, Range k, float* to) {
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

// Packs tiles from A in panels; k.begin is a multiple of kPanel. TileForm::kRows.
KERASPTB_INLINE void pack_tiles_of_panels(const Panels& a, Range tiles, Range k, float* to) {
  for_each_tile(a.rows, tiles, [&](auto height, int64_t, int64_t row) {
    for (int64_t j = 0; j < k.size(); j += kPanel) {
      const float* from = a.at((k.begin + j) / kPanel, row);
      float* out = to + j / kSumBlock * kSumBlock * kRows + j % kSumBlock;
      for (int r = 0; r < height; ++r) memcpy(out + r * kSumBlock, from + r * kPanel, kPanel * sizeof(float));
    }
    to += tile_floats(k.size());
  });
}

// A tile of C, c[r * stride + j] for r < R and j < min(columns, kPanel), from a packed tile `a` and panel `b` of
// `depth` products. C is replaced if `first`, else added to. With each k, kLanes floats of `ahead` are prefetched.
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
      sums.template add<1, kRows, 1>(size, a + begin * kRows, b + begin * kPanel, ahead + begin * kLanes);
    else
      sums.template add<kSumBlock, 1, 1>(size, a + begin * kRows, b + begin * kPanel, ahead + begin * kLanes);
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

// This thread's part of C [m, b.columns], dense, from a block of `depth` products, whose rows of B begin at `b_row`. C
// is replaced if `first`, else added to. pack(tiles, to) packs a range of tiles of A; `packed` is this thread's buffer
// for them, of kTileFloats.
template <TileForm form, class Pack>
KERASPTB_INLINE void multiply(int64_t m, const Pack& pack, const Panels& b, int64_t b_row, int64_t depth, bool first,
                              float* c, float* packed, int thread, int threads) {
  const int64_t tiles = ceil_div(m, kRows), panels = b.count();
  // Threads share out either the tiles, so that each tile is packed by one thread alone, or the panels: where that
  // splits the work more evenly, or where few tiles for each thread would not pay for reading all panels.
  const int64_t most_by_tiles = ceil_div(tiles, threads) * panels, most_by_panels = ceil_div(panels, threads) * tiles;
  const bool by_panels = most_by_panels < most_by_tiles || (most_by_panels == most_by_tiles && tiles < 8 * threads);
  const Range my_panels = by_panels ? split(panels, threads, thread) : Range{0, panels};
  const Range my_tiles = by_panels ? Range{0, tiles} : split(tiles, threads, thread);
  if (my_panels.size() == 0) return;
  const int64_t chunks = ceil_div(my_tiles.size(), kTileFloats / tile_floats(depth));
  const int64_t at_once = larger(1, kPanelBytes / (depth * kPanel * int64_t{sizeof(float)}));
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const Range part = split(my_tiles.size(), chunks, chunk),
                some{my_tiles.begin + part.begin, my_tiles.begin + part.end};
    pack(some, packed);
    for (int64_t first_panel = my_panels.begin; first_panel < my_panels.end; first_panel += at_once) {
      const int64_t end = smaller(first_panel + at_once, my_panels.end);
      const float* a = packed;
      for_each_tile(m, some, [&](auto height, int64_t tile, int64_t row) {
        for (int64_t panel = first_panel; panel < end; ++panel)
          // Of a panel to come, which is 2 kLanes floats for each k, two tiles prefetch a half each.
          product_tile<height, form>(depth, a, b.at(panel, b_row), first, c + row * b.columns + panel * kPanel,
                                     b.columns, b.columns - panel * kPanel,
                                     b.at(panel + at_once, b_row) + tile % 2 * depth * kLanes);
        a += tile_floats(depth);
      });
    }
  }
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
