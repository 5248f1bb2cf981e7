// The shapes of AMX's tile registers.
#pragma once

#include "simd.h"

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
