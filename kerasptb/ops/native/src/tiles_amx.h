// Blocks of sums in AMX tiles; included by bfloat16.h.
#pragma once

namespace kerasptb {
namespace KERASPTB_LEVEL {

// What LDTILECFG reads: the shapes of the eight tile registers. The rest of the 64 bytes has to be zero.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb

// The tests bring a file of their own, which does the same without AMX.
#ifdef KERASPTB_AMX_INSTRUCTIONS
#include KERASPTB_AMX_INSTRUCTIONS
#else
#include "amx_instructions.h"
#endif

namespace kerasptb {
namespace KERASPTB_LEVEL {

constexpr double kTileProductCycles = 16;  // of one tile of A times one of B

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

// Four tiles of sums C: a block of 32 x 32 (0 1 / 2 3), or tiles side by side. They are the registers 0 .. 3, so a thread
// has one block at a time; 4 .. 7 hold A and B. Distances of rows in elements.
class SumBlock {
 public:
  KERASPTB_INLINE_METHOD void zero() {
    zero_tile<0>();
    zero_tile<1>();
    zero_tile<2>();
    zero_tile<3>();
  }
  template <int kTile>
  KERASPTB_INLINE_METHOD void load(const float* c, int64_t row_size) {
    load_tile<kTile>(c, row_size * int64_t{sizeof(float)});
  }
  template <int kTile>
  KERASPTB_INLINE_METHOD void store(float* c, int64_t row_size) const {
    store_tile<kTile>(c, row_size * int64_t{sizeof(float)});
  }

  // C (32 x 32) += A (32 x 32 steps) B (32 steps x 32)
  template <int kParts>
  KERASPTB_INLINE_METHOD void add_32x32(int64_t steps, Operand a, Operand b) {
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
  }

  // C_c (16 x 16) += A (16 x 32 steps) B_c (32 steps x 16) for the columns c = 0 .. kColumnTiles - 1 (2 or 4).
  template <int kParts, int kColumnTiles>
  KERASPTB_INLINE_METHOD void add_16_rows(int64_t steps, Operand a, Operand b) {
    for (int64_t i = 0; i < steps; ++i) {
      load_tile<4>(a.data, a.stride);
      if (kParts == 2) load_tile<5>(a.data + a.low, a.stride);
      add_column<kParts, 0>(b);
      add_column<kParts, 1>(b);
      if (kColumnTiles == 4) {
        add_column<kParts, 2>(b);
        add_column<kParts, 3>(b);
      }
      a.data += a.step;
      b.data += b.step;
    }
  }

 private:
  KERASPTB_INLINE_METHOD void load_columns(const Operand& b, int64_t part) {
    load_tile<6>(b.data + part, b.stride);
    load_tile<7>(b.data + part + b.next, b.stride);
  }
  KERASPTB_INLINE_METHOD void load_rows(const Operand& a, int64_t part) {
    load_tile<4>(a.data + part, a.stride);
    load_tile<5>(a.data + part + a.next, a.stride);
  }
  KERASPTB_INLINE_METHOD void multiply_2x2() {
    multiply_tiles<0, 4, 6>();
    multiply_tiles<1, 4, 7>();
    multiply_tiles<2, 5, 6>();
    multiply_tiles<3, 5, 7>();
  }
  template <int kParts, int kColumn>
  KERASPTB_INLINE_METHOD void add_column(const Operand& b) {
    load_tile<6>(b.data + kColumn * b.next, b.stride);
    multiply_tiles<kColumn, 4, 6>();
    if (kParts == 2) {
      multiply_tiles<kColumn, 5, 6>();
      load_tile<7>(b.data + b.low + kColumn * b.next, b.stride);
      multiply_tiles<kColumn, 4, 7>();
    }
  }
};

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
