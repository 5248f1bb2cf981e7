// Checks of shapes and targets, for all FFI handlers. These come from the caller's program, and the kernels trust them.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include "xla/ffi/api/ffi.h"

namespace kerasptb {

namespace ffi = xla::ffi;
using Float32 = ffi::Buffer<ffi::F32>;
using Bfloat16 = ffi::Buffer<ffi::BF16>;
using Int16 = ffi::Buffer<ffi::S16>;
using Int32 = ffi::Buffer<ffi::S32>;

// Whether the buffer has this shape, all sizes at least 1. The first may be 0 if `batch_may_be_empty`.
template <class Buffer>
bool has_shape(const Buffer& buffer, std::initializer_list<int64_t> shape, bool batch_may_be_empty = false) {
  const auto dimensions = buffer.dimensions();
  if (dimensions.size() != shape.size()) return false;
  size_t i = 0;
  for (const int64_t size : shape) {
    if ((size < 1 && !(i == 0 && batch_may_be_empty)) || dimensions[i] != size) return false;
    ++i;
  }
  return true;
}

inline ffi::Error wrong_shapes(const char* target) {
  return ffi::Error::InvalidArgument(std::string(target) + ": the shapes of the buffers do not fit each other");
}

inline ffi::Error check_targets(const int32_t* targets, int64_t count, int64_t vocabulary_size) {
  for (int64_t n = 0; n < count; ++n)
    if (targets[n] < 0 || targets[n] >= vocabulary_size)
      return ffi::Error::InvalidArgument("`targets` must be in [0, " + std::to_string(vocabulary_size) +
                                         "). Received: targets containing " + std::to_string(targets[n]));
  return ffi::Error::Success();
}

}  // namespace kerasptb
