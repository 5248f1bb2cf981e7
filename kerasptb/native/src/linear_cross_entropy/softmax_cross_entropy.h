// Softmax cross-entropy of rows of logits, and its gradient. N rows, V words of the vocabulary.
//
//   z[r, v]       = logits[r, v] + bias[v]
//   loss[r]       = log(sum over v of exp(z[r, v])) - z[r, targets[r]]
//   dlogits[r, v] = scale[r] (softmax(z[r])[v] - [v == targets[r]])
//   dbias[v]      = sum over r of dlogits[r, v]
//
// V may be any size, and logits of any magnitude: the row's maximum is subtracted first. XLA FFI targets:
//
//   kerasptb_softmax_cross_entropy_loss_and_gradients_float32(logits f32 [N, V], bias f32 [V], targets s32 [N],
//       scale f32 [N]) -> (loss f32 [N], dlogits f32 [N, V], dbias f32 [V])
//   kerasptb_softmax_cross_entropy_loss_float32(logits f32 [N, V], bias f32 [V], targets s32 [N]) -> (loss f32 [N],)
//
// logits are the bare product h W, without the bias; scale is the upstream gradient of each loss (1 for a sum). A
// target outside [0, V) is an error that names it, and nothing is computed.
#pragma once

#include <cstdint>

#include "common/cpu.h"

namespace kerasptb {

struct SoftmaxCrossEntropy {
  int64_t rows, vocabulary;  // N, V
  const float* logits;       // [N, V]
  const float* bias;         // [V]
  const int32_t* targets;    // [N], each in [0, V)
  const float* scale;        // [N]; not read if dlogits is null
  float* loss;               // [N]
  float* dlogits;            // [N, V], may be `logits` itself; null: loss only
  float* dbias;              // [V]; null: loss only
};

KERASPTB_DECLARE(void softmax_cross_entropy(const SoftmaxCrossEntropy&))

}  // namespace kerasptb
