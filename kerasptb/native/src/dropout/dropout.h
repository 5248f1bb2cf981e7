// Dropout: y[i] = x[i] / keep_prob with probability keep_prob, else 0. The gradient is the same operation on dy, with
// the same seed. XLA FFI target:
//
//   kerasptb_dropout_float32(x f32 of any shape, seed s32 [2], keep_prob f32 [], first s32 [] or nothing)
//     -> y f32 of x's shape
//
// x may be a part of a larger array, from its element `first` on: it is dropped as it would be in the whole. keep_prob
// is in (0, 1]. Element 32 g + 16 j + l of the whole is kept if number j of Threefry-2x32 (20 rounds; Salmon et al.,
// 2011, "Parallel random numbers: as easy as 1, 2, 3") with the key `seed` and the counter 16 g + l, low word first, is
// below 2^32 keep_prob. So every processor and any number of threads draws the same.
#pragma once

#include <cstdint>

#include "common/cpu.h"

namespace kerasptb {

struct Dropout {
  int64_t size;
  const float* x;   // [size]
  uint32_t key[2];  // the seed
  float keep_prob;  // in (0, 1]
  float* y;         // [size]
  int64_t first = 0;
};

KERASPTB_DECLARE(void dropout(const Dropout&))

}  // namespace kerasptb
