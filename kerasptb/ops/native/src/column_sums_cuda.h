// The sums of the columns of a matrix on a GPU, always added up in the same order: gradients of biases.
#pragma once

#include <string>

#include "cuda/layout.h"

namespace kerasptb {
namespace cuda {

// No rows give zeros. Only launches a kernel on the stream; empty, or says in a line why nothing was computed.
std::string column_sums(const ColumnSums&, void* stream);

}  // namespace cuda
}  // namespace kerasptb
