// The recurrence of an LSTM layer in float32, and its gradient, on a GPU of compute capability 9.0 or later. What is
// computed is written down in lstm_float32.h; all pointers are the device's.
//
// A call only launches kernels on the stream: it allocates nothing, waits for nothing and calls nothing back, so that
// it may become part of a CUDA graph. The string that it returns is empty, or says in a line why nothing was computed.
#pragma once

#include <string>

#include "lstm_float32.h"

namespace kerasptb {
namespace cuda {

constexpr int64_t kMostUnits = 256;

// gates and c_seq null: inference, nothing is kept for the gradient.
std::string lstm_forward(const LstmForward&, void* stream);
std::string lstm_backward(const LstmBackward&, void* stream);

}  // namespace cuda
}  // namespace kerasptb
