// Products of float32 matrices, C = A B with A [m, k] and B [k, n], by all threads of a kernel together. For products
// inside a kernel that are too small for a call of the framework to pay.
//
// This is the usual blocked GEMM (Goto & van de Geijn 2008), in blocks of at most kDepth along k (there: KC). The
// threads pack a block of B into panels together, and wait for each other; then each packs the tiles of A that it needs
// into a buffer of its own, in the order in which the micro-kernel reads them, and multiplies.
#pragma once

#include "common/tiles_float32.h"

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

// Up to kLanes neighbouring columns: where they begin, and how many they are.
struct Columns {
  int64_t begin, lanes;
};

// The columns of a dense matrix, a vector at a time, in the order in which they lie in memory. PackedColumns of
// recurrence/layout_float32.h is another such order.
struct PlainColumns {
  int64_t size;
  KERASPTB_INLINE_METHOD Columns of_vector(int64_t vector) const {
    return {vector * kLanes, lanes_before(vector * kLanes, size)};
  }
  // How many panels apart those are whose columns are neighbours.
  KERASPTB_INLINE_METHOD int64_t apart() const { return 1; }
};

// Calls function(panel) for each of the panels, those one after another whose columns are neighbours in memory.
template <class Order, class Function>
KERASPTB_INLINE void for_each_panel(const Order& order, Range panels, const Function& function) {
  for (int64_t begin = panels.begin; begin < panels.begin + order.apart(); ++begin)
    for (int64_t panel = begin; panel < panels.end; panel += order.apart()) function(panel);
}

// A matrix [rows, columns] packed as [panel][rows][kPanel]. The columns past the last one of the last panel may hold
// anything: they affect no column of C that is stored.
struct Panels {
  int64_t rows, columns;
  float* data;

  int64_t count() const { return ceil_div(columns, kPanel); }
  static int64_t floats(int64_t rows, int64_t columns) { return rows * round_up(columns, kPanel); }
  float* at(int64_t panel, int64_t row) const { return data + (panel * rows + row) * kPanel; }

  // Packs this thread's share of the first `size` rows. Row i is at from + i * stride, its columns in the given order.
  template <class Order>
  KERASPTB_INLINE_METHOD void pack_rows(const float* from, int64_t stride, const Order& order, int64_t size, int thread,
                                        int threads) const {
    const Range mine = split(size, threads, thread);
    for (int64_t i = mine.begin; i < mine.end; ++i)
      for_each_panel(order, {0, count()}, [&](int64_t panel) {
        for (int64_t j = 0; j < 2; ++j) {
          const Columns columns = order.of_vector(2 * panel + j);
          const float* p = from + i * stride + columns.begin;
          store(at(panel, i) + j * kLanes, columns.lanes == kLanes ? load(p) : load(p, columns.lanes));
        }
      });
  }

  // Packs rows k, whole vectors, as the first ones, of this thread's share of the panels. Column j is at from + j *
  // stride, its elements in the given order; those past the last are zero.
  template <class Order>
  KERASPTB_INLINE_METHOD void pack_columns(const float* from, int64_t stride, const Order& order, Range k, int thread,
                                           int threads) const {
    const Range mine = split(count(), threads, thread);
    for (int64_t panel = mine.begin; panel < mine.end; ++panel)
      for (int64_t vector = k.begin / kLanes; vector < k.end / kLanes; ++vector) {
        const auto [begin, lanes] = order.of_vector(vector);
        float* to = at(panel, vector * kLanes - k.begin);
        pack_transposed<kPanel>(from + panel * kPanel * stride + begin, stride, columns - panel * kPanel, lanes, to);
        if (lanes < kLanes) memset(to + lanes * kPanel, 0, (kLanes - lanes) * kPanel * sizeof(float));
      }
  }
};

// How a tile of A is packed: kColumns is [k][kRows], the usual form. kRows is [k / kSumBlock][kRows][k % kSumBlock]:
// where A is stored by rows it is packed by longer copies.
enum class TileForm { kRows, kColumns };

// Floats of a packed tile.
KERASPTB_INLINE int64_t tile_floats(int64_t depth) { return kRows * round_up(depth, kSumBlock); }

// Packs tiles from rows of A, row_at(i) being the address of the i-th. TileForm::kRows.
template <class Row>
KERASPTB_INLINE void pack_tiles_of_rows(const Row& row_at, int64_t m, Range tiles, Range k, float* to) {
  for_each_tile(m, tiles, [&](auto height, int64_t, int64_t row) {
    for (int64_t r = 0; r < height; ++r) {
      const float* from = row_at(row + r) + k.begin;
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

// Stores a tile of C, R rows by a panel, whose rows begin at `c` and have their columns in the given order: replaces it
// if `first`, else adds to it.
template <int R, class Order>
KERASPTB_INLINE void store_tile(const Float (&total)[R][2], bool first, float* const (&c)[R], const Order& order,
                                int64_t panel) {
  const Columns columns[] = {order.of_vector(2 * panel), order.of_vector(2 * panel + 1)};
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < 2; ++j) {
      const auto [begin, lanes] = columns[j];
      float* to = c[r] + begin;
      if (lanes == kLanes)
        store(to, first ? total[r][j] : load(to) + total[r][j]);
      else if (lanes > 0)
        store(to, first ? total[r][j] : load(to, lanes) + total[r][j], lanes);
    }
}
template <int R, class Order>
KERASPTB_INLINE void prefetch_tile(float* const (&c)[R], const Order& order, int64_t panel) {
  for (int j = 0; j < 2; ++j) {
    const int64_t begin = order.of_vector(2 * panel + j).begin;
    for (int r = 0; r < R; ++r) prefetch_to_write(c[r] + begin);
  }
}

// A tile of C, as above, from a packed tile `a` and panel `b` of `depth` products. With each k, kLanes floats of
// `ahead` are prefetched.
template <int R, TileForm form, class Order>
KERASPTB_NOINLINE void product_tile(int64_t depth, const float* a, const float* b, bool first, float* const (&c)[R],
                                    const Order& order, int64_t panel, const float* ahead) {
  prefetch_tile(c, order, panel);
  Float total[R][2];
  for (int64_t begin = 0; begin < depth; begin += kSumBlock) {
    const int64_t size = smaller(kSumBlock, depth - begin);
    Sums<R> sums;
    sums.zero();
    if constexpr (form == TileForm::kColumns)
      sums.template add<1, kRows, 1>(size, a + begin * kRows, b + begin * kPanel, ahead + begin * kLanes);
    else
      sums.template add<kSumBlock, 1, 1>(size, a + begin * kRows, b + begin * kPanel, ahead + begin * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
      for (int j = 0; j < 2; ++j) total[r][j] = begin == 0 ? sums.of[r][j] : total[r][j] + sums.of[r][j];
  }
  store_tile(total, first, c, order, panel);
}

// The same from A in panels: its rows from `row` on, its columns `k`, of which the first is a multiple of kPanel. With
// every second k, kLanes floats of `ahead` are prefetched, which goes on by `ahead_stride` after each panel of A.
template <int R, class Order>
KERASPTB_NOINLINE void product_tile_of_panels(const Panels& a, int64_t row, Range k, const float* b, bool first,
                                              float* const (&c)[R], const Order& order, int64_t panel,
                                              const float* ahead, int64_t ahead_stride) {
  prefetch_tile(c, order, panel);
  Float total[R][2];
  for (int64_t begin = k.begin; begin < k.end; begin += kSumBlock) {
    Sums<R> sums;
    sums.zero();
    for (int64_t j = begin; j < smaller(begin + kSumBlock, k.end); j += kPanel, b += kPanel * kPanel) {
      sums.template add<kPanel, 1, 2>(smaller(kPanel, k.end - j), a.at(j / kPanel, row), b, ahead);
      ahead += ahead_stride;
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
      for (int j = 0; j < 2; ++j) total[r][j] = begin == k.begin ? sums.of[r][j] : total[r][j] + sums.of[r][j];
  }
  store_tile(total, first, c, order, panel);
}

// The part of a thread in a product C = A B of `tiles` of A and `panels` of B. Threads share out either the tiles, so
// that each tile is packed by one thread alone, or the panels: where that splits the work more evenly, or where few
// tiles for each thread would not pay for reading all panels.
struct ProductPart {
  Range tiles, panels;

  KERASPTB_INLINE_METHOD ProductPart(int64_t all_tiles, int64_t all_panels, int thread, int threads)
      : tiles{0, all_tiles}, panels{0, all_panels} {
    const int64_t max_by_tiles = ceil_div(all_tiles, threads) * all_panels,
                  max_by_panels = ceil_div(all_panels, threads) * all_tiles;
    if (max_by_panels < max_by_tiles || (max_by_panels == max_by_tiles && all_tiles < 8 * threads))
      panels = split(all_panels, threads, thread);
    else
      tiles = split(all_tiles, threads, thread);
  }
};

// Calls function(tiles, panels, most panels) for a part in pieces: some tiles of A that stay in the L2 cache, after
// start(tiles), with kPanelBytes of the panels at a time.
template <class Start, class Function>
KERASPTB_INLINE void for_each_piece(const ProductPart& part, int64_t depth, const Start& start,
                                    const Function& function) {
  if (part.panels.size() == 0) return;
  const int64_t chunks = ceil_div(part.tiles.size(), kTileFloats / tile_floats(depth));
  const int64_t at_once = larger(1, kPanelBytes / (depth * kPanel * int64_t{sizeof(float)}));
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const Range some = split(part.tiles.size(), chunks, chunk),
                tiles{part.tiles.begin + some.begin, part.tiles.begin + some.end};
    start(tiles);
    for (int64_t first = part.panels.begin; first < part.panels.end; first += at_once)
      function(tiles, Range{first, smaller(first + at_once, part.panels.end)}, at_once);
  }
}

// This thread's part of C [m, b.columns] from a block of `depth` products, whose rows of B begin at `b_row`. Row i of C
// begins at row_of_c(i), with its columns in the given order; C is replaced if `first`, else added to. pack(tiles, to)
// packs a range of tiles of A; `packed` is this thread's buffer for them, of kTileFloats.
template <TileForm form, class Pack, class Row, class Order>
KERASPTB_INLINE void multiply(int64_t m, const Pack& pack, const Panels& b, int64_t b_row, int64_t depth, bool first,
                              const Row& row_of_c, const Order& order, float* packed, int thread, int threads) {
  for_each_piece(
      ProductPart(ceil_div(m, kRows), b.count(), thread, threads), depth, [&](Range tiles) { pack(tiles, packed); },
      [&](Range tiles, Range panels, int64_t at_once) {
        const float* a = packed;
        for_each_tile(m, tiles, [&](auto height, int64_t tile, int64_t row) {
          float* c[height];
          for (int r = 0; r < height; ++r) c[r] = row_of_c(row + r);
          for_each_panel(order, panels, [&](int64_t panel) {
            // Of a panel to come, which is 2 kLanes floats for each k, two tiles prefetch a half each.
            product_tile<height, form>(depth, a, b.at(panel, b_row), first, c, order, panel,
                                       b.at(panel + at_once, b_row) + tile % 2 * depth * kLanes);
          });
          a += tile_floats(depth);
        });
      });
}

// The same from a block `k` of the columns of A, which is in panels. The rows of B for the block are the first ones; C
// is replaced by the first block.
template <class Row, class Order>
KERASPTB_INLINE void multiply_panels(const Panels& a, Range k, const Panels& b, const Row& row_of_c, const Order& order,
                                     float* packed, int thread, int threads) {
  // A is read where it is, unless that happens so often that packing it pays.
  constexpr int64_t kUsesThatPay = 16;
  if (b.count() > kUsesThatPay) {
    const auto pack = [&](Range tiles, float* to) { pack_tiles_of_panels(a, tiles, k, to); };
    multiply<TileForm::kRows>(a.rows, pack, b, 0, k.size(), k.begin == 0, row_of_c, order, packed, thread, threads);
    return;
  }
  constexpr int64_t kPrefetched = kPanel / 2 * kLanes;  // floats, for each panel of A
  const ProductPart part(ceil_div(a.rows, kRows), b.count(), thread, threads);
  for_each_piece(
      part, k.size(), [](Range) {},
      [&](Range tiles, Range panels, int64_t at_once) {
        // The first panels find tiles of A that are not in the cache yet: they prefetch those of the next one, a half
        // each. The others prefetch a panel to come, of which four tiles read a quarter each.
        const bool a_is_new = panels.begin == part.panels.begin;
        for_each_tile(a.rows, tiles, [&](auto height, int64_t tile, int64_t row) {
          float* c[height];
          for (int r = 0; r < height; ++r) c[r] = row_of_c(row + r);
          for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
            const float* ahead = a_is_new
                                     ? a.at(k.begin / kPanel, row + height) + (panel - panels.begin) % 2 * kPrefetched
                                     : b.at(panel + at_once, 0) + tile % 4 * k.size() * (kLanes / 2);
            product_tile_of_panels<height>(a, row, k, b.at(panel, 0), k.begin == 0, c, order, panel, ahead,
                                           a_is_new ? a.rows * kPanel : kPrefetched);
          }
        });
      });
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
