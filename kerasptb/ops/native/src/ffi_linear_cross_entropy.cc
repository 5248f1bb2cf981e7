// XLA FFI handlers of the linear cross-entropy. Their signatures are written down in linear_cross_entropy.h.
#include <cstdint>
#include <vector>

#include "cpu.h"
#include "few_words.h"
#include "ffi_float32.h"
#include "ffi_guard.h"
#include "ffi_handlers.h"
#include "ffi_huge_pages.h"
#include "linear_cross_entropy.h"

namespace kerasptb {
namespace {

// The kParts of the handlers: for each float32 operand so many bfloat16 numbers, or float32 itself.
constexpr int kFloat32 = 0;

template <int kParts>
ffi::Error run(const LinearCrossEntropy& tensors) {
  return guarded([&] {
    if (kParts == kFloat32 || tensors.num_words <= few_words_limit(kParts, tensors.features, tensors.vocabulary_size))
      KERASPTB_DISPATCH(linear_cross_entropy)(tensors);
#if KERASPTB_BFLOAT16
    else
      KERASPTB_DISPATCH_BFLOAT16(linear_cross_entropy)(kParts, tensors);
#endif
  });
}

bool has_kernel_shape(const Float32& kernel, int64_t D, int64_t V, bool transposed) {
  return transposed ? has_shape(kernel, {V, D}) : has_shape(kernel, {D, V});
}

// Checks the shapes and the targets, and fills in the arguments that both handlers have.
ffi::Error check(Float32 h, Float32 kernel, Float32 bias, Int32 targets, Float32& loss, bool transpose_kernel,
                 LinearCrossEntropy* tensors) {
  const char* name = "kerasptb_linear_cross_entropy";
  if (h.dimensions().size() != 2 || kernel.dimensions().size() != 2) return wrong_shapes(name);
  const int64_t N = h.dimensions()[0], D = h.dimensions()[1], V = kernel.dimensions()[transpose_kernel ? 0 : 1];
  if (N < 1 || D < 1 || V < 1 || !has_kernel_shape(kernel, D, V, transpose_kernel) ||
      !shapes_fit({{bias, {V}}, {loss, {N}}}) || targets.dimensions().size() != 1 || targets.dimensions()[0] != N)
    return wrong_shapes(name);
  if (ffi::Error error = check_targets(targets.typed_data(), N, V); error.failure()) return error;
  *tensors = {N,
              D,
              V,
              h.typed_data(),
              kernel.typed_data(),
              bias.typed_data(),
              targets.typed_data(),
              nullptr,
              loss.typed_data(),
              nullptr,
              nullptr,
              nullptr,
              transpose_kernel};
  return ffi::Error::Success();
}

template <int kParts>
ffi::Error loss_and_gradients(Float32 h, Float32 kernel, Float32 bias, Int32 targets, Float32 scale, Out loss, Out dh,
                              Out d_kernel, Out d_bias, bool transpose_kernel) {
  LinearCrossEntropy tensors;
  if (ffi::Error error = check(h, kernel, bias, targets, *loss, transpose_kernel, &tensors); error.failure())
    return error;
  const int64_t N = tensors.num_words, D = tensors.features, V = tensors.vocabulary_size;
  if (!shapes_fit({{scale, {N}}, {*dh, {N, D}}, {*d_bias, {V}}}) ||
      !has_kernel_shape(*d_kernel, D, V, transpose_kernel))
    return wrong_shapes("kerasptb_linear_cross_entropy");
  tensors.scale = scale.typed_data();
  tensors.dh = dh->typed_data();
  tensors.d_kernel = d_kernel->typed_data();
  tensors.d_bias = d_bias->typed_data();
  prefer_huge_pages_for(h, kernel, *dh, *d_kernel);
  return run<kParts>(tensors);
}

template <int kParts>
ffi::Error loss_only(Float32 h, Float32 kernel, Float32 bias, Int32 targets, Out loss, bool transpose_kernel) {
  LinearCrossEntropy tensors;
  if (ffi::Error error = check(h, kernel, bias, targets, *loss, transpose_kernel, &tensors); error.failure())
    return error;
  prefer_huge_pages_for(h, kernel);
  return run<kParts>(tensors);
}

auto bind_loss_and_gradients() {
  return ffi::Ffi::Bind()
      .Arg<Float32>()
      .Arg<Float32>()
      .Arg<Float32>()
      .Arg<Int32>()
      .Arg<Float32>()
      .Ret<Float32>()
      .Ret<Float32>()
      .Ret<Float32>()
      .Ret<Float32>()
      .Attr<bool>("transpose_kernel");
}
auto bind_loss_only() {
  auto inputs = ffi::Ffi::Bind().Arg<Float32>().Arg<Float32>().Arg<Float32>().Arg<Int32>();
  return std::move(inputs).Ret<Float32>().Attr<bool>("transpose_kernel");
}

XLA_FFI_DEFINE_HANDLER(GradientsFloat32, loss_and_gradients<kFloat32>, bind_loss_and_gradients());
XLA_FFI_DEFINE_HANDLER(LossFloat32, loss_only<kFloat32>, bind_loss_only());
#if KERASPTB_BFLOAT16
XLA_FFI_DEFINE_HANDLER(Gradients1, loss_and_gradients<1>, bind_loss_and_gradients());
XLA_FFI_DEFINE_HANDLER(Gradients2, loss_and_gradients<2>, bind_loss_and_gradients());
XLA_FFI_DEFINE_HANDLER(Loss1, loss_only<1>, bind_loss_only());
XLA_FFI_DEFINE_HANDLER(Loss2, loss_only<2>, bind_loss_only());
#endif

}  // namespace

std::vector<NamedHandler> linear_cross_entropy_handlers() {
  std::vector<NamedHandler> handlers = {{"kerasptb_linear_cross_entropy_float32", "Host", GradientsFloat32},
                                        {"kerasptb_linear_cross_entropy_forward_float32", "Host", LossFloat32}};
#if KERASPTB_BFLOAT16
  if (cpu_level() >= CpuLevel::kAvx512Bf16) {
    handlers.push_back({"kerasptb_linear_cross_entropy_bfloat16", "Host", Gradients1});
    handlers.push_back({"kerasptb_linear_cross_entropy_bfloat16x3", "Host", Gradients2});
    handlers.push_back({"kerasptb_linear_cross_entropy_forward_bfloat16", "Host", Loss1});
    handlers.push_back({"kerasptb_linear_cross_entropy_forward_bfloat16x3", "Host", Loss2});
  }
#endif
  return handlers;
}

}  // namespace kerasptb
