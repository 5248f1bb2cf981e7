// What keeps a kernel's exceptions out of XLA.
#pragma once

#include <exception>

#include "xla/ffi/api/ffi.h"

namespace kerasptb {

// Runs a kernel. All that one throws is for want of something the system gives: memory, threads.
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
