// AMX's instructions as functions; included by tiles_amx.h.
#pragma once

#include "common/tile_shapes.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

// The compiler does not know which memory these instructions read and write, hence the memory clobbers. Strides are in
// bytes.
KERASPTB_INLINE void configure_tiles(const TileShapes& shapes) {
  asm volatile("ldtilecfg %0" ::"m"(shapes) : "memory");
}
KERASPTB_INLINE void release_tiles() { asm volatile("tilerelease" ::: "memory"); }
template <int kTile>
KERASPTB_INLINE void load_tile(const void* p, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
KERASPTB_INLINE void store_tile(void* p, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
KERASPTB_INLINE void zero_tile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
// C += A B, the operands in tile registers kC, kA and kB.
template <int kC, int kA, int kB>
KERASPTB_INLINE void multiply_tiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kC), "i"(kA), "i"(kB));
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
