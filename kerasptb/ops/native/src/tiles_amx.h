// Blocks of sums in AMX tiles.
#pragma once

#include "bfloat16.h"
#include "tile_shapes.h"

// The tests bring a file of their own, which does the same without AMX.
#ifdef KERASPTB_AMX_INSTRUCTIONS
#include KERASPTB_AMX_INSTRUCTIONS
#else
#include "amx_instructions.h"
#endif

namespace kerasptb {
namespace KERASPTB_LEVEL {

constexpr double kTileProductCycles = 16;  // of one tile of A times one of B
constexpr int64_t kRowsTogether = 16;

// The tiles of a thread, all of 16 rows of 64 bytes, for as long as it lives. Afterwards the tiles are free again, as
// other libraries that use them expect.
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

// The sums are the registers 0 .. 3; 4 .. 7 hold A and B.

template <int kTile>
KERASPTB_INLINE void load_sums(const Places* from) {
  if (from == nullptr)
    zero_tile<kTile>();
  else
    load_tile<kTile>(from->tile[kTile], from->row_size * int64_t{sizeof(float)});
}
template <int kTile>
KERASPTB_INLINE void store_sums(const Places& to) {
  store_tile<kTile>(to.tile[kTile], to.row_size * int64_t{sizeof(float)});
}

KERASPTB_INLINE void load_columns(const Operand& b, int64_t part) {
  load_tile<6>(b.data + part, b.stride);
  load_tile<7>(b.data + part + b.next, b.stride);
}
KERASPTB_INLINE void load_rows(const Operand& a, int64_t part) {
  load_tile<4>(a.data + part, a.stride);
  load_tile<5>(a.data + part + a.next, a.stride);
}
KERASPTB_INLINE void multiply_2x2() {
  multiply_tiles<0, 4, 6>();
  multiply_tiles<1, 4, 7>();
  multiply_tiles<2, 5, 6>();
  multiply_tiles<3, 5, 7>();
}

template <int kParts>
KERASPTB_INLINE void multiply_32x32(int64_t steps, int64_t num_rows, Operand a, Operand b, const Places* from,
                                    const Places& to) {
  static_cast<void>(num_rows);  // all cost what one costs
  load_sums<0>(from);
  load_sums<1>(from);
  load_sums<2>(from);
  load_sums<3>(from);
  for (int64_t i = 0; i < steps; ++i) {
    load_rows(a, 0);
    load_columns(b, 0);
    multiply_2x2();
    if (kParts == 2) {
      load_columns(b, b.low);
      multiply_2x2();
      load_rows(a, a.low);
      load_columns(b, 0);
      multiply_2x2();
    }
    a.data += a.step;
    b.data += b.step;
  }
  store_sums<0>(to);
  store_sums<1>(to);
  store_sums<2>(to);
  store_sums<3>(to);
}

template <int kParts, int kColumn>
KERASPTB_INLINE void multiply_column(const Operand& b) {
  load_tile<6>(b.data + kColumn * b.next, b.stride);
  multiply_tiles<kColumn, 4, 6>();
  if (kParts == 2) {
    multiply_tiles<kColumn, 5, 6>();
    load_tile<7>(b.data + b.low + kColumn * b.next, b.stride);
    multiply_tiles<kColumn, 4, 7>();
  }
}

template <int kParts, int kColumnTiles>
KERASPTB_INLINE void multiply_16_rows(int64_t steps, int64_t num_rows, Operand a, Operand b, const Places* from,
                                      const Places& to) {
  static_cast<void>(num_rows);
  load_sums<0>(from);
  load_sums<1>(from);
  if (kColumnTiles == 4) {
    load_sums<2>(from);
    load_sums<3>(from);
  }
  for (int64_t i = 0; i < steps; ++i) {
    load_tile<4>(a.data, a.stride);
    if (kParts == 2) load_tile<5>(a.data + a.low, a.stride);
    multiply_column<kParts, 0>(b);
    multiply_column<kParts, 1>(b);
    if (kColumnTiles == 4) {
      multiply_column<kParts, 2>(b);
      multiply_column<kParts, 3>(b);
    }
    a.data += a.step;
    b.data += b.step;
  }
  store_sums<0>(to);
  store_sums<1>(to);
  if (kColumnTiles == 4) {
    store_sums<2>(to);
    store_sums<3>(to);
  }
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
