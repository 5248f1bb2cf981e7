// The shapes of AMX's tile registers.
#pragma once

#include "common/simd.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

// The operand of LDTILECFG: the shapes of the eight tile registers. All other bytes must be zero.
struct alignas(64) TileShapes {
  uint8_t palette = 1;  // the only one there is besides 0: eight tiles of at most 16 rows of 64 bytes
  uint8_t start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};  // of tiles 0 to 7, and 0 for 8 to 15, which do not exist
  uint8_t rows[16] = {};        // likewise
};
static_assert(sizeof(TileShapes) == 64);

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
