// The norm of many arrays together, as of a model's gradients: sqrt(sum over all arrays of x^2). XLA FFI target:
//
//   kerasptb_global_norm_float32(any number of f32 arrays of any shapes) -> f32 []
//
// The squares are float32, so the norm is infinite if one of them overflows, as in TensorFlow and Keras.
#pragma once

#include <cstdint>

#include "common/cpu.h"

namespace kerasptb {

struct FloatArray {
  const float* data;
  int64_t size;
};

KERASPTB_DECLARE(float global_norm(const FloatArray* arrays, int64_t count))

}  // namespace kerasptb
