// A step of gradient descent, w <- w - learning_rate g, with what trained_variable.h says of g and besides. XLA FFI
// target, without further scalars or state:
//
//   kerasptb_clipped_sgd_float32
//
// The clipping factor multiplies the learning rate. Without decay and average only the rows that a gradient has are
// read and written, each part of a row in its order.
#pragma once

#include "common/cpu.h"
#include "optimizers/trained_variable.h"

namespace kerasptb {

KERASPTB_DECLARE(void clipped_sgd(const TrainedVariable* variables, int64_t count, const ClippedStep& step))

}  // namespace kerasptb
