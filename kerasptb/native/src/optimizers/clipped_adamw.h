// A step of Adam (Kingma and Ba, 2015), with what trained_variable.h says of g and besides, so with decoupled weight
// decay (Loshchilov and Hutter, 2019). As in Keras:
//
//   m <- m + (1 - beta_1) (g - m),    v <- v + (1 - beta_2) (g^2 - v),    w <- w - alpha m / (sqrt(v) + epsilon)
//
// XLA FFI target, with the state m, v and the further scalars alpha, 1 - beta_1, 1 - beta_2, epsilon:
//
//   kerasptb_clipped_adamw_float32
//
// In step t, counted from 1, alpha = learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t).
#pragma once

#include "common/cpu.h"
#include "optimizers/trained_variable.h"

namespace kerasptb {

struct AdamStep {
  float alpha, one_minus_beta_1, one_minus_beta_2, epsilon;
};

KERASPTB_DECLARE(void clipped_adamw(const TrainedVariable* variables, int64_t count, const ClippedStep& step,
                                    const AdamStep& adam))

}  // namespace kerasptb
