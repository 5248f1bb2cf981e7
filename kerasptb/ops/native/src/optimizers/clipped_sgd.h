// A step of gradient descent, which clips the global norm of all gradients (Pascanu et al., 2013, section 3.2):
//
//   w <- w - rate g,    rate = learning_rate min(1, clip / |g|),    |g| = sqrt(sum over all gradients of g^2)
//
// XLA FFI target:
//
//   kerasptb_clipped_sgd_float32(learning_rate f32 [], clip f32 [], for each variable:
//                            w, g                       f32 arrays of any one shape, or
//                            w [V,D], rows i32 [N], g [N,D]: the gradient of these rows, 0 elsewhere)
//       -> the new w of each variable, whose memory may be that of the old one
//
// Not clipped if clip is negative. A rate is NaN if the norm is not finite. A row that occurs several times is updated
// several times, in order; one outside [0, V) is left out.
#pragma once

#include <cstdint>

#include "common/cpu.h"

namespace kerasptb {

struct SgdVariable {
  float* weights;  // before and after the step
  const float* gradient;
  int64_t size;  // floats of `gradient`
  // For some rows only:
  const int32_t* rows;  // null: for all
  int64_t num_rows, vocabulary_size, row_size;
};

KERASPTB_DECLARE(void clipped_sgd(const SgdVariable* variables, int64_t count, float learning_rate, float clip))

}  // namespace kerasptb
