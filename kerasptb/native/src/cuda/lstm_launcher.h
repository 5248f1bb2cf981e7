// The recurrence of an LSTM layer, and its gradient, on a GPU of compute capability 9.0 or later. What is computed is
// written down in recurrence/recurrence.h; all pointers are the device's.
//
// In bfloat16 the operands of the two products of the recurrence, h U and dz U', are rounded to it; all arrays, sums
// and the cell state are float32 all the same.
//
// A call only launches kernels on the stream: it allocates nothing, waits for nothing and calls nothing back, so that
// it may become part of a CUDA graph. It returns an empty string, or one line that says why nothing was computed.
#pragma once

#include <string>

#include "recurrence/recurrence.h"

namespace kerasptb {
namespace cuda {

enum class Precision { kFloat32, kBfloat16 };

// The most units that the kernels take on a GPU, numbered as the driver does. In bfloat16 it depends on the GPU: 512
// units need a cluster of 16 thread blocks, which not every GPU can place. Each GPU is asked once, by `has_room`.
int64_t max_units(Precision, int device);

// gates and c_seq null: inference.
std::string lstm_recurrence_forward(const RecurrenceForward&, Precision, void* stream);
std::string lstm_recurrence_backward(const RecurrenceBackward&, Precision, void* stream);

}  // namespace cuda
}  // namespace kerasptb
