// The XLA FFI handlers, which library.cc registers. A target is named kerasptb_<operation>_<pass>_<precision>, without
// the pass where an operation has one only. What an operation computes is the same in every precision.
#pragma once

#include <vector>

#include "xla/ffi/api/c_api.h"

namespace kerasptb {

struct Handler {
  const char* target;
  const char* platform;  // as XLA calls it: "Host" or "CUDA"
  XLA_FFI_Handler* handler;
};

// Those in bfloat16 only where the processor has AVX512-BF16 or AMX.
std::vector<Handler> cell_handlers();
std::vector<Handler> linear_cross_entropy_handlers();
std::vector<Handler> dropout_handlers();
std::vector<Handler> optimizer_handlers();
// Empty if the library was built without CUDA code. They can also be registered on a machine without a GPU.
std::vector<Handler> cuda_handlers();

}  // namespace kerasptb
