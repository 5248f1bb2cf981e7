// AMX's instructions without AMX, in the place of src/common/amx_instructions.h: what they compute and what they
// refuse, as Intel's Architecture Instruction Set Extensions manual has it, but for the flushing of subnormal numbers.
#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace kerasptb {
namespace KERASPTB_LEVEL {

static_assert(sizeof(TileShapes) == 64, "LDTILECFG reads 64 bytes");

struct EmulatedTiles {
  bool configured = false;
  alignas(64) unsigned char data[8][16][64];

  void require(bool condition, const char* problem) const {
    if (condition) return;
    fprintf(stderr, "AMX: %s\n", problem);
    abort();
  }
};
inline thread_local EmulatedTiles emulated_tiles;

inline void configure_tiles(const TileShapes& shapes) {
  EmulatedTiles& tiles = emulated_tiles;
  tiles.require(!tiles.configured, "configured twice");
  tiles.require(shapes.palette == 1 && shapes.start_row == 0, "palette or first row");
  for (int tile = 0; tile < 16; ++tile) {
    tiles.require(shapes.row_bytes[tile] == (tile < 8 ? 64 : 0), "row size");
    tiles.require(shapes.rows[tile] == (tile < 8 ? 16 : 0), "number of rows");
  }
  tiles.configured = true;
  memset(tiles.data, 0, sizeof(tiles.data));
}
inline void release_tiles() {
  emulated_tiles.require(emulated_tiles.configured, "released without a configuration");
  emulated_tiles.configured = false;
}
template <int kTile>
inline void load_tile(const void* p, int64_t stride) {
  static_assert(kTile >= 0 && kTile < 8, "a tile register");
  emulated_tiles.require(emulated_tiles.configured, "load without a configuration");
  for (int row = 0; row < 16; ++row)
    memcpy(emulated_tiles.data[kTile][row], static_cast<const char*>(p) + row * stride, 64);
}
template <int kTile>
inline void store_tile(void* p, int64_t stride) {
  static_assert(kTile >= 0 && kTile < 8, "a tile register");
  emulated_tiles.require(emulated_tiles.configured, "store without a configuration");
  for (int row = 0; row < 16; ++row) memcpy(static_cast<char*>(p) + row * stride, emulated_tiles.data[kTile][row], 64);
}
template <int kTile>
inline void zero_tile() {
  static_assert(kTile >= 0 && kTile < 8, "a tile register");
  emulated_tiles.require(emulated_tiles.configured, "zero without a configuration");
  memset(emulated_tiles.data[kTile], 0, sizeof(emulated_tiles.data[kTile]));
}

// TDPBF16PS: of the pairs of k, the even and the odd members are summed apart, each product and sum in one rounding.
template <int kC, int kA, int kB>
inline void multiply_tiles() {
  static_assert(kC != kA && kC != kB && kA != kB, "three different tile registers");
  emulated_tiles.require(emulated_tiles.configured, "product without a configuration");
  const auto& a = emulated_tiles.data[kA];
  const auto& b = emulated_tiles.data[kB];
  for (int row = 0; row < 16; ++row) {
    __m512 even = _mm512_setzero_ps(), odd = even;
    for (int pair = 0; pair < 16; ++pair) {
      uint32_t two;
      memcpy(&two, a[row] + 4 * pair, sizeof(two));
      const __m512i columns = _mm512_load_si512(b[pair]), high = _mm512_set1_epi32(0xffff0000);
      even = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_set1_epi32(two << 16)),
                             _mm512_castsi512_ps(_mm512_slli_epi32(columns, 16)), even);
      odd = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_set1_epi32(two & 0xffff0000)),
                            _mm512_castsi512_ps(_mm512_and_si512(columns, high)), odd);
    }
    float* c = reinterpret_cast<float*>(emulated_tiles.data[kC][row]);
    _mm512_store_ps(c, _mm512_add_ps(_mm512_load_ps(c), _mm512_add_ps(even, odd)));
  }
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
