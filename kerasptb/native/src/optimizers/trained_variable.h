// A variable of a model as an optimizer's kernel updates it, and what the steps of all optimizers have in common:
//
//   g <- g min(1, clip / |g|),    |g| = sqrt(sum over the gradients of all variables of g^2)
//   w <- w - learning_rate weight_decay w        before the optimizer's own step
//   average <- w + momentum (average - w)        after it
//
// Not clipped if clip is negative. A norm that is not finite makes g NaN (Pascanu et al., 2013, section 3.2). A row
// that occurs several times in a gradient has the sum of its parts, and enters the norm once for each of them; one
// outside [0, V) is left out of the sum.
//
// The XLA FFI targets, see clipped_sgd.h and clipped_adamw.h, all take
//
//   scalars                f32 [..]: learning_rate, clip, momentum, and further ones of the optimizer
//   weight_decays          f32 [number of variables]
//   then for each variable:
//     w                    f32, an array of any shape
//     average              f32 as w, if the attribute `averages` (bool) is true
//     state                f32 as w, each of the optimizer's arrays
//     g                    f32 as w; or, for w [V,D], rows i32 [N] and g f32 [N,D]: the gradient of these rows, else 0
//
// and return for each variable the new w, average and state, in this order, in the memory of the old ones if that is
// given for them.
#pragma once

#include <cstdint>

namespace kerasptb {

constexpr int kMaxStates = 2;

struct TrainedVariable {
  float* weights;  // before and after the step
  const float* gradient;
  int64_t size;  // floats of `gradient`
  // For some rows only:
  const int32_t* rows;  // null: for all
  int64_t num_rows, vocabulary_size, row_size;

  float weight_decay;        // 0: none
  float* average;            // null: none
  float* state[kMaxStates];  // the optimizer's own
};

struct ClippedStep {
  float learning_rate, clip, average_momentum;
};

}  // namespace kerasptb
