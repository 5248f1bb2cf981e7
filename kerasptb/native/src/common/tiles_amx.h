// Products in bfloat16 by AMX: the interface is in tiles_bfloat16.h.
#pragma once

#include "common/bfloat16.h"
#include "common/tile_shapes.h"

// The tests replace the instructions by an emulation, which needs no AMX.
#ifdef KERASPTB_AMX_INSTRUCTIONS
#include KERASPTB_AMX_INSTRUCTIONS
#else
#include "common/amx_instructions.h"
#endif

namespace kerasptb {
namespace KERASPTB_LEVEL {

constexpr double kTileProductCycles = 16;  // of one tile of A times one of B
constexpr int64_t kRowsTogether = 16;

// Configures this thread's eight tile registers as 16 rows of 64 bytes. The destructor releases them, as other
// libraries that use them expect.
class Tiles {
 public:
  KERASPTB_INLINE_METHOD Tiles() {
    TileShapes shapes;
    for (int i = 0; i < 8; ++i) {
      shapes.row_bytes[i] = 64;
      shapes.rows[i] = kTileRows;
    }
    configure_tiles(shapes);
  }
  KERASPTB_INLINE_METHOD ~Tiles() { release_tiles(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

// Tile registers 0 .. 3 hold the sums, 4 and 5 tiles of A, 6 and 7 tiles of B.

template <int kTile>
KERASPTB_INLINE void load_sums(const SumTiles* from) {
  if (from == nullptr)
    zero_tile<kTile>();
  else
    load_tile<kTile>(from->tile[kTile], from->row_stride * int64_t{sizeof(float)});
}
template <int kTile>
KERASPTB_INLINE void store_sums(const SumTiles& to) {
  store_tile<kTile>(to.tile[kTile], to.row_stride * int64_t{sizeof(float)});
}

KERASPTB_INLINE void load_columns(const Operand& b, int64_t part) {
  load_tile<6>(b.data + part, b.row_bytes);
  load_tile<7>(b.data + part + b.tile_stride, b.row_bytes);
}
KERASPTB_INLINE void load_rows(const Operand& a, int64_t part) {
  load_tile<4>(a.data + part, a.row_bytes);
  load_tile<5>(a.data + part + a.tile_stride, a.row_bytes);
}
KERASPTB_INLINE void multiply_2x2() {
  multiply_tiles<0, 4, 6>();
  multiply_tiles<1, 4, 7>();
  multiply_tiles<2, 5, 6>();
  multiply_tiles<3, 5, 7>();
}

template <int kParts, class Meanwhile>
KERASPTB_INLINE void multiply_32x32(int64_t steps, int64_t num_rows, Operand a, Operand b, const SumTiles* from,
                                    const SumTiles& to, const Meanwhile& meanwhile) {
  static_cast<void>(num_rows);  // fewer rows would take no less time
  load_sums<0>(from);
  load_sums<1>(from);
  load_sums<2>(from);
  load_sums<3>(from);
  for (int64_t i = 0; i < steps; ++i) {
    // Register 5 is loaded late: its former tile is in use for longer than the others.
    load_tile<4>(a.data, a.row_bytes);
    load_columns(b, 0);
    multiply_tiles<0, 4, 6>();
    multiply_tiles<1, 4, 7>();
    load_tile<5>(a.data + a.tile_stride, a.row_bytes);
    meanwhile();
    multiply_tiles<2, 5, 6>();
    multiply_tiles<3, 5, 7>();
    if (kParts == 2) {
      load_columns(b, b.part_stride);
      multiply_2x2();
      load_rows(a, a.part_stride);
      load_columns(b, 0);
      multiply_2x2();
    }
    meanwhile();
    a.data += a.depth_stride;
    b.data += b.depth_stride;
  }
  store_sums<0>(to);
  store_sums<1>(to);
  store_sums<2>(to);
  store_sums<3>(to);
}

template <int kParts>
KERASPTB_INLINE void multiply_32x32(int64_t steps, int64_t num_rows, const Operand& a, const Operand& b,
                                    const SumTiles* from, const SumTiles& to) {
  multiply_32x32<kParts>(steps, num_rows, a, b, from, to, [] {});
}

// Adds A, in registers 4 and 5 by part, times tile kColumn of B to the sums kColumn.
template <int kParts, int kColumn>
KERASPTB_INLINE void multiply_column(const Operand& b) {
  load_tile<6>(b.data + kColumn * b.tile_stride, b.row_bytes);
  multiply_tiles<kColumn, 4, 6>();
  if (kParts == 2) {
    multiply_tiles<kColumn, 5, 6>();
    load_tile<7>(b.data + b.part_stride + kColumn * b.tile_stride, b.row_bytes);
    multiply_tiles<kColumn, 4, 7>();
  }
}

template <int kParts, int kColumnTiles>
KERASPTB_INLINE void multiply_16_rows(int64_t steps, int64_t num_rows, Operand a, Operand b, const SumTiles* from,
                                      const SumTiles& to) {
  static_cast<void>(num_rows);  // likewise
  load_sums<0>(from);
  if constexpr (kColumnTiles > 1) load_sums<1>(from);
  if constexpr (kColumnTiles > 2) load_sums<2>(from);
  if constexpr (kColumnTiles > 3) load_sums<3>(from);
  for (int64_t i = 0; i < steps; ++i) {
    load_tile<4>(a.data, a.row_bytes);
    if (kParts == 2) load_tile<5>(a.data + a.part_stride, a.row_bytes);
    multiply_column<kParts, 0>(b);
    if constexpr (kColumnTiles > 1) multiply_column<kParts, 1>(b);
    if constexpr (kColumnTiles > 2) multiply_column<kParts, 2>(b);
    if constexpr (kColumnTiles > 3) multiply_column<kParts, 3>(b);
    a.data += a.depth_stride;
    b.data += b.depth_stride;
  }
  store_sums<0>(to);
  if constexpr (kColumnTiles > 1) store_sums<1>(to);
  if constexpr (kColumnTiles > 2) store_sums<2>(to);
  if constexpr (kColumnTiles > 3) store_sums<3>(to);
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
