// Keeps a kernel's exceptions out of XLA.
#pragma once

#include <exception>

#include "xla/ffi/api/ffi.h"

namespace kerasptb {

// Runs a kernel, and returns its exception as an error. Kernels throw only if the system refuses memory or threads.
template <class Function>
xla::ffi::Error guarded(const Function& function) {
  try {
    function();
  } catch (const std::exception& error) {
    return xla::ffi::Error(xla::ffi::ErrorCode::kResourceExhausted, error.what());
  }
  return xla::ffi::Error::Success();
}

}  // namespace kerasptb
