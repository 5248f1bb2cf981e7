// The XLA FFI handlers defined in the ffi*.cc files, which ffi.cc registers.
#pragma once

#include <vector>

#include "xla/ffi/api/c_api.h"

namespace kerasptb {

struct NamedHandler {
  const char* target;
  const char* platform;  // as XLA calls it: "Host" or "CUDA"
  XLA_FFI_Handler* handler;
};

std::vector<NamedHandler> float32_handlers();
// Empty where the processor has neither AVX512-BF16 nor AMX.
std::vector<NamedHandler> lstm_bfloat16_handlers();
// Those in bfloat16 only where the processor has AVX512-BF16 or AMX.
std::vector<NamedHandler> linear_cross_entropy_handlers();
// Empty if the library was built without CUDA code. They can also be registered on a machine without a GPU.
std::vector<NamedHandler> cuda_handlers();

}  // namespace kerasptb
