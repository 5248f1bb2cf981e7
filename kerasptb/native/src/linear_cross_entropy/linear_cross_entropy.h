// Cross-entropy of softmax(h W + b) and its gradients, without an array of all logits.
//
//   z = h W + b    loss[n] = log(sum over v of exp(z[n, v])) - z[n, targets[n]]        h [N,D], W [D,V], b [V]
//   dz[n, v] = scale[n] (softmax(z[n])[v] - [v == targets[n]])    dh = dz W^T    dW = h^T dz    db = sum over n of dz
//
// Operands of the products are float32, or bfloat16 in one part (bfloat16) or two (bfloat16x3). Sums, softmax and loss
// are float32. For few words the operands are float32 in every precision: for up to 6 to 39 words, by processor,
// precision and size of W (ffi/linear_cross_entropy.cc).
//
// XLA FFI targets (platform Host), and the same with bfloat16 and bfloat16x3:
//   kerasptb_linear_cross_entropy_loss_and_gradients_float32(h, W, b, targets s32 [N], scale [N]) -> loss [N], dh
//   [N,D], dW [D,V], db [V] kerasptb_linear_cross_entropy_loss_float32(h, W, b, targets) -> loss [N]
// All have an attribute `transpose_kernel`, a bool: W and dW are [V,D] then, as an embedding's matrix is.
// A target outside [0, V) is an error that names it, and nothing is computed.
#pragma once

#include <stdint.h>

#include "common/cpu.h"

namespace kerasptb {

// So many elements of W are too many for the nearer caches.
constexpr int64_t kLargeKernel = 4 << 20;

struct LinearCrossEntropy {
  int64_t num_words, features, vocabulary_size;  // N, D, V, all at least 1
  const float *h, *kernel, *bias;
  const int32_t* targets;  // each in [0, V)
  const float* scale;      // [N]; null: no gradients, and dh, d_kernel and d_bias are not used
  float *loss, *dh, *d_kernel, *d_bias;
  bool transpose_kernel = false;  // W and dW are [V, D]
};

// All throw std::bad_alloc. A logit of +infinity gives a loss of NaN.
//
// Each logit is computed once, and the exponentials of a chunk of words are saved: memory beyond the results is about
// (D + 300) V floats, for few words N V.
KERASPTB_DECLARE(void linear_cross_entropy(const LinearCrossEntropy&))

// parts: 1 or 2. Call them only where cpu_level() is at least the namespace's. Memory beyond the results is about 16 MB
// or, if that is more, 512 V bfloat16 for each part.
KERASPTB_DECLARE_BFLOAT16(void linear_cross_entropy(int parts, const LinearCrossEntropy&))

}  // namespace kerasptb
