// The arguments and results of the softmax cross-entropy's targets in their order, the same on CPU and GPU. Signatures:
// linear_cross_entropy/softmax_cross_entropy.h.
#pragma once

#include "ffi/call.h"
#include "linear_cross_entropy/softmax_cross_entropy.h"

namespace kerasptb {

// Checks the shapes and fills in the kernel's arguments. The values of the targets are not checked.
inline ffi::Error read(Call& call, bool with_gradients, SoftmaxCrossEntropy* a) {
  const auto [N, V] = call.argument_sizes<2>(0);
  a->rows = N;
  a->vocabulary = V;
  call.in(a->logits, {N, V});
  call.in(a->bias, {V});
  call.in(a->targets, {N});
  if (with_gradients) call.in(a->scale, {N});
  call.out(a->loss, {N});
  if (with_gradients) {
    call.out(a->dlogits, {N, V});
    call.out(a->dbias, {V});
  }
  return call.check("kerasptb_softmax_cross_entropy", V > 0);
}

}  // namespace kerasptb
