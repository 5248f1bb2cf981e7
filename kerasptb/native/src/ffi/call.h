// A call of an XLA FFI handler: its buffers and attributes, read one after the other. They come from the caller's
// program, and the kernels trust them, so each is asked for with the type and the shape that it must have.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <exception>
#include <initializer_list>
#include <string>
#include <type_traits>

#include "common/huge_pages.h"
#include "xla/ffi/api/ffi.h"

namespace kerasptb {

namespace ffi = xla::ffi;
using Shape = ffi::Span<const int64_t>;

class Call {
 public:
  Call(const ffi::RemainingArgs& arguments, const ffi::RemainingRets& results, const ffi::Dictionary& attributes,
       void* stream = nullptr)
      : stream(stream), arguments_(arguments), results_(results), attributes_(attributes) {}

  void* const stream;  // on a GPU

  // The sizes of an argument or a result, for others to fit; zeros if its rank is another one.
  template <size_t kRank>
  std::array<int64_t, kRank> argument_sizes(size_t i) const {
    return sizes<kRank>(argument(i));
  }
  template <size_t kRank>
  std::array<int64_t, kRank> result_sizes(size_t i) const {
    return sizes<kRank>(result(i));
  }

  // Takes the next argument or result; returns the number of its elements.
  template <class T, class Sizes = std::initializer_list<int64_t>>
  int64_t in(const T*& data, const Sizes& shape, ffi::DataType type = type_of<T>()) {
    const ffi::AnyBuffer buffer = argument(next_argument_++);
    data = static_cast<const T*>(buffer.untyped_data());
    return fit(buffer, shape, type);
  }
  // An argument without elements, in one dimension, stands for none, and leaves `data` null.
  template <class T>
  void in_or_none(const T*& data, const std::initializer_list<int64_t>& shape) {
    if (argument(next_argument_).dimensions().size() > 1)
      in(data, shape);
    else
      in(data, {0}), data = nullptr;
  }
  template <class T, class Sizes = std::initializer_list<int64_t>>
  int64_t out(T*& data, const Sizes& shape, ffi::DataType type = type_of<T>()) {
    const ffi::AnyBuffer buffer = result(next_result_++);
    data = static_cast<T*>(buffer.untyped_data());
    return fit(buffer, shape, type);
  }

  // For handlers of any number of arrays, of any shapes.
  size_t arguments_left() const { return next_argument_ < arguments_.size() ? arguments_.size() - next_argument_ : 0; }
  size_t results_left() const { return next_result_ < results_.size() ? results_.size() - next_result_ : 0; }
  Shape next_shape() const { return argument(next_argument_).dimensions(); }
  template <class T>
  bool next_is() const {
    return argument(next_argument_).element_type() == type_of<T>();
  }

  bool attribute(const char* name) {
    const auto value = attributes_.get<bool>(name);
    fits_ = fits_ && value.has_value();
    return value.has_value() && *value;
  }

  // An error if what was taken does not fit, or is not all there is. `sizes_fit`: what shapes cannot say.
  ffi::Error check(const char* target, bool sizes_fit = true) const {
    if (fits_ && sizes_fit && arguments_left() == 0 && results_left() == 0) return ffi::Error::Success();
    return ffi::Error::InvalidArgument(std::string(target) + ": the shapes of the buffers do not fit each other");
  }

  // For all buffers, see common/huge_pages.h.
  void use_huge_pages() const {
    for (size_t i = 0; i < arguments_.size(); ++i)
      prefer_huge_pages(argument(i).untyped_data(), argument(i).size_bytes());
    for (size_t i = 0; i < results_.size(); ++i) prefer_huge_pages(result(i).untyped_data(), result(i).size_bytes());
  }

 private:
  template <class T>
  static constexpr ffi::DataType type_of() {
    return std::is_same_v<T, int32_t> ? ffi::S32 : ffi::F32;
  }

  static ffi::AnyBuffer nothing() {
    static const XLA_FFI_Buffer buffer = {};
    return ffi::AnyBuffer(&buffer);
  }
  ffi::AnyBuffer argument(size_t i) const {
    const auto buffer = arguments_.get<ffi::AnyBuffer>(i);
    return buffer.has_value() ? *buffer : nothing();
  }
  ffi::AnyBuffer result(size_t i) const {
    auto buffer = results_.get<ffi::AnyBuffer>(i);
    return buffer.has_value() ? **buffer : nothing();
  }

  template <size_t kRank>
  static std::array<int64_t, kRank> sizes(const ffi::AnyBuffer& buffer) {
    std::array<int64_t, kRank> sizes = {};
    const Shape shape = buffer.dimensions();
    if (shape.size() == kRank) std::copy(shape.begin(), shape.end(), sizes.begin());
    return sizes;
  }

  template <class Sizes>
  int64_t fit(const ffi::AnyBuffer& buffer, const Sizes& shape, ffi::DataType type) {
    const Shape found = buffer.dimensions();
    fits_ =
        fits_ && buffer.element_type() == type && std::equal(found.begin(), found.end(), shape.begin(), shape.end());
    return static_cast<int64_t>(buffer.element_count());
  }

  const ffi::RemainingArgs& arguments_;
  const ffi::RemainingRets& results_;
  const ffi::Dictionary& attributes_;
  size_t next_argument_ = 0, next_result_ = 0;
  bool fits_ = true;
};

inline ffi::Error check_targets(const int32_t* targets, int64_t count, int64_t vocabulary_size) {
  for (int64_t n = 0; n < count; ++n)
    if (targets[n] < 0 || targets[n] >= vocabulary_size)
      return ffi::Error::InvalidArgument("`targets` must be in [0, " + std::to_string(vocabulary_size) +
                                         "). Received: targets containing " + std::to_string(targets[n]));
  return ffi::Error::Success();
}

// Runs a kernel, and returns its exception as an error. Kernels throw only if the system refuses memory or threads.
template <class Kernel>
ffi::Error run(const Kernel& kernel) {
  try {
    kernel();
  } catch (const std::exception& error) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, error.what());
  }
  return ffi::Error::Success();
}

// Makes an XLA handler of a function from `Call&` to `ffi::Error`.
template <auto function>
XLA_FFI_Error* on_cpu(XLA_FFI_CallFrame* frame) {
  const auto handle = [](ffi::RemainingArgs arguments, ffi::RemainingRets results, ffi::Dictionary attributes) {
    Call call(arguments, results, attributes);
    return function(call);
  };
  static auto* handler = ffi::Ffi::Bind().RemainingArgs().RemainingRets().Attrs().To(handle).release();
  return handler->Call(frame);
}

// The same on a GPU. The function only launches kernels on the call's stream, so it may become part of a CUDA graph.
template <auto function>
XLA_FFI_Error* on_gpu(XLA_FFI_CallFrame* frame) {
  const auto handle = [](void* stream, ffi::RemainingArgs arguments, ffi::RemainingRets results,
                         ffi::Dictionary attributes) {
    Call call(arguments, results, attributes, stream);
    return function(call);
  };
  static auto* handler = ffi::Ffi::Bind()
                             .Ctx<ffi::PlatformStream<void*>>()
                             .RemainingArgs()
                             .RemainingRets()
                             .Attrs()
                             .To(handle, {ffi::Traits::kCmdBufferCompatible})
                             .release();
  return handler->Call(frame);
}

}  // namespace kerasptb
