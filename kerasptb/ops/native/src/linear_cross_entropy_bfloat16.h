// Cross-entropy of softmax(h W + b) and its gradients: bfloat16 operands in one part (bfloat16) or two
// (bfloat16x3). Sums, softmax and loss are float32.
//
//   z = h W + b    loss[n] = log(sum over v of exp(z[n, v])) - z[n, targets[n]]        h [N,D], W [D,V], b [V]
//   dz[n, v] = scale[n] (softmax(z[n])[v] - [v == targets[n]])    dh = dz W^T    dW = h^T dz    db = sum over n of dz
//
// The logits are computed twice and never stored: memory beyond the results is a few times that of h.
//
// XLA FFI targets (platform Host), and the same with bfloat16x3:
//   kerasptb_linear_cross_entropy_bfloat16(h, W, b, targets s32 [N], scale [N]) -> loss [N], dh [N,D], dW [D,V], db [V]
//   kerasptb_linear_cross_entropy_forward_bfloat16(h, W, b, targets) -> loss [N]
// A target outside [0, V) is an error that names it, and nothing is computed.
#pragma once

#include <stdint.h>

namespace kerasptb {

struct LinearCrossEntropyBfloat16 {
  int64_t num_words, features, vocabulary_size;  // N, D, V, all at least 1
  const float *h, *kernel, *bias;
  const int32_t* targets;  // each in [0, V)
  const float* scale;      // null: no gradients, and the four below are not touched
  float *loss, *dh, *d_kernel, *d_bias;
};

// parts: 1 or 2. Only where cpu_level() is at least the namespace's. Throws std::bad_alloc.
namespace avx512bf16 {
void linear_cross_entropy(int parts, const LinearCrossEntropyBfloat16& tensors);
}  // namespace avx512bf16
namespace amx {
void linear_cross_entropy(int parts, const LinearCrossEntropyBfloat16& tensors);
}  // namespace amx

}  // namespace kerasptb
