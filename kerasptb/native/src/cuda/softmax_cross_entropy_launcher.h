// Softmax cross-entropy of rows of logits, with its gradient, on a GPU. What is computed is written down in
// softmax_cross_entropy.h; all pointers are the device's. Unlike on the CPU, a target outside [0, V) cannot be refused
// (the host does not see it): its row's loss and gradient are NaN, and no memory out of bounds is touched.
//
// A call only launches kernels on the stream, as in cuda/lstm_launcher.h. It returns an empty string, or one line that
// says why nothing was computed.
#pragma once

#include <string>

#include "linear_cross_entropy/softmax_cross_entropy.h"

namespace kerasptb {
namespace cuda {

// scale, dlogits and dbias null: the loss alone. dlogits may be `logits` itself.
std::string softmax_cross_entropy(const SoftmaxCrossEntropy&, void* stream);

}  // namespace cuda
}  // namespace kerasptb
