// The handlers that the ffi*.cc files give, for ffi.cc to register.
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
// In bfloat16 too where the processor has either.
std::vector<NamedHandler> linear_cross_entropy_handlers();
// Empty if the library was built without CUDA code. They can be registered, and the library used, where no GPU is.
std::vector<NamedHandler> cuda_handlers();

}  // namespace kerasptb
