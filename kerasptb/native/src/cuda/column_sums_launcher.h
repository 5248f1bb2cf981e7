// The sums of the columns of a matrix on a GPU, for gradients of biases. They are always added in the same order.
#pragma once

#include <string>

#include "cuda/layout.h"

namespace kerasptb {
namespace cuda {

// Without rows all sums are zero. Only launches a kernel on the stream. Returns an empty string, or one line that says
// why nothing was computed.
std::string column_sums(const ColumnSums&, void* stream);

}  // namespace cuda
}  // namespace kerasptb
