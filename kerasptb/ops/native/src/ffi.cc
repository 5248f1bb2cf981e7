// XLA FFI handlers of the float32 kernels, and the registration of all. Their signatures are written down in
// lstm_float32.h and softmax_cross_entropy.h. Only ffi*.cc see XLA's headers.
#include "xla/ffi/api/ffi.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <initializer_list>
#include <string>

#include "cpu.h"
#include "ffi_amx.h"
#include "lstm_float32.h"
#include "softmax_cross_entropy.h"
#include "threads.h"

namespace kerasptb {
namespace {

namespace ffi = xla::ffi;
using Float32 = ffi::Buffer<ffi::F32>;
using Int32 = ffi::Buffer<ffi::S32>;
using Out = ffi::Result<Float32>;

struct Expected {
  const Float32& buffer;
  std::initializer_list<int64_t> shape;
};

// Kernels trust their shapes: this keeps a wrong program from reading and writing out of bounds. Only the first
// dimension of an array, the batch, may be zero.
bool shapes_fit(std::initializer_list<Expected> all) {
  for (const Expected& expected : all) {
    const auto dimensions = expected.buffer.dimensions();
    if (dimensions.size() != expected.shape.size()) return false;
    size_t i = 0;
    for (const int64_t size : expected.shape) {
      if ((size < 1 && i > 0) || dimensions[i] != size) return false;
      ++i;
    }
  }
  return true;
}

ffi::Error wrong_shapes(const char* target) {
  return ffi::Error::InvalidArgument(std::string(target) + ": the shapes of the buffers do not fit each other");
}

// No exception may pass into XLA.
template <class Function>
ffi::Error guarded(const Function& function) {
  try {
    function();
    return ffi::Error::Success();
  } catch (const std::exception& error) {
    return ffi::Error::Internal(error.what());
  }
}

ffi::Error lstm_forward(const char* name, Float32 xz, Float32 recurrent_kernel, Float32 bias, Float32 h0, Float32 c0,
                        Float32& h_seq, Float32& h_T, Float32& c_T, Float32* gates, Float32* c_seq) {
  if (h_seq.dimensions().size() != 3) return wrong_shapes(name);
  const int64_t B = h_seq.dimensions()[0], T = h_seq.dimensions()[1], H = h_seq.dimensions()[2];
  if (!shapes_fit({{xz, {B, T, 4 * H}},
                   {recurrent_kernel, {H, 4 * H}},
                   {bias, {4 * H}},
                   {h0, {B, H}},
                   {c0, {B, H}},
                   {h_seq, {B, T, H}},
                   {h_T, {B, H}},
                   {c_T, {B, H}}}))
    return wrong_shapes(name);
  if (gates != nullptr && !shapes_fit({{*gates, {B, T, 4 * H}}, {*c_seq, {B, T, H}}})) return wrong_shapes(name);
  if (B == 0) return ffi::Error::Success();
  return guarded([&] {
    KERASPTB_DISPATCH(lstm_forward)
    ({B, T, H, xz.typed_data(), recurrent_kernel.typed_data(), bias.typed_data(), h0.typed_data(), c0.typed_data(),
      h_seq.typed_data(), h_T.typed_data(), c_T.typed_data(), gates ? gates->typed_data() : nullptr,
      c_seq ? c_seq->typed_data() : nullptr});
  });
}

ffi::Error lstm_training(Float32 xz, Float32 recurrent_kernel, Float32 bias, Float32 h0, Float32 c0, Out h_seq, Out h_T,
                         Out c_T, Out gates, Out c_seq) {
  return lstm_forward("kerasptb_lstm_forward_float32", xz, recurrent_kernel, bias, h0, c0, *h_seq, *h_T, *c_T, &*gates,
                      &*c_seq);
}

ffi::Error lstm_inference(Float32 xz, Float32 recurrent_kernel, Float32 bias, Float32 h0, Float32 c0, Out h_seq,
                          Out h_T, Out c_T) {
  return lstm_forward("kerasptb_lstm_inference_float32", xz, recurrent_kernel, bias, h0, c0, *h_seq, *h_T, *c_T,
                      nullptr, nullptr);
}

ffi::Error lstm_backward(Float32 recurrent_kernel, Float32 gates, Float32 c_seq, Float32 c0, Float32 dh_seq,
                         Float32 dh_T, Float32 dc_T, Out dz, Out dbias, Out dc0) {
  if (c_seq.dimensions().size() != 3) return wrong_shapes("kerasptb_lstm_backward_float32");
  const int64_t B = c_seq.dimensions()[0], T = c_seq.dimensions()[1], H = c_seq.dimensions()[2];
  if (!shapes_fit({{recurrent_kernel, {H, 4 * H}},
                   {gates, {B, T, 4 * H}},
                   {c_seq, {B, T, H}},
                   {c0, {B, H}},
                   {dh_seq, {B, T, H}},
                   {dh_T, {B, H}},
                   {dc_T, {B, H}},
                   {*dz, {B, T, 4 * H}},
                   {*dbias, {4 * H}},
                   {*dc0, {B, H}}}))
    return wrong_shapes("kerasptb_lstm_backward_float32");
  if (B == 0) {
    std::fill_n(dbias->typed_data(), 4 * H, 0.0f);
    return ffi::Error::Success();
  }
  return guarded([&] {
    KERASPTB_DISPATCH(lstm_backward)
    ({B, T, H, recurrent_kernel.typed_data(), gates.typed_data(), c_seq.typed_data(), c0.typed_data(),
      dh_seq.typed_data(), dh_T.typed_data(), dc_T.typed_data(), dz->typed_data(), dbias->typed_data(),
      dc0->typed_data()});
  });
}

// Runs the kernel once shapes and targets have been found good. scale, dlogits, dbias: all null for the loss alone.
ffi::Error softmax_cross_entropy(const char* name, Float32 logits, Float32 bias, Int32 targets, const Float32* scale,
                                 Float32& loss, Float32* dlogits, Float32* dbias) {
  if (logits.dimensions().size() != 2) return wrong_shapes(name);
  const int64_t N = logits.dimensions()[0], V = logits.dimensions()[1];
  if (!shapes_fit({{logits, {N, V}}, {bias, {V}}, {loss, {N}}}) || targets.dimensions().size() != 1 ||
      targets.dimensions()[0] != N)
    return wrong_shapes(name);
  if (scale != nullptr && !shapes_fit({{*scale, {N}}, {*dlogits, {N, V}}, {*dbias, {V}}})) return wrong_shapes(name);
  for (int64_t r = 0; r < N; ++r) {
    const int32_t target = targets.typed_data()[r];
    if (target < 0 || target >= V)
      return ffi::Error::InvalidArgument("`targets` must be in [0, " + std::to_string(V) +
                                         "). Received: targets containing " + std::to_string(target));
  }
  return guarded([&] {
    KERASPTB_DISPATCH(softmax_cross_entropy)
    ({N, V, logits.typed_data(), bias.typed_data(), targets.typed_data(), scale ? scale->typed_data() : nullptr,
      loss.typed_data(), dlogits ? dlogits->typed_data() : nullptr, dbias ? dbias->typed_data() : nullptr});
  });
}

ffi::Error loss_and_gradient(Float32 logits, Float32 bias, Int32 targets, Float32 scale, Out loss, Out dlogits,
                             Out dbias) {
  return softmax_cross_entropy("kerasptb_softmax_cross_entropy", logits, bias, targets, &scale, *loss, &*dlogits,
                               &*dbias);
}

ffi::Error loss_only(Float32 logits, Float32 bias, Int32 targets, Out loss) {
  return softmax_cross_entropy("kerasptb_softmax_cross_entropy_loss", logits, bias, targets, nullptr, *loss, nullptr,
                               nullptr);
}

XLA_FFI_DEFINE_HANDLER(LstmForwardHandler, lstm_training,
                       ffi::Ffi::Bind()
                           .Arg<Float32>()
                           .Arg<Float32>()
                           .Arg<Float32>()
                           .Arg<Float32>()
                           .Arg<Float32>()
                           .Ret<Float32>()
                           .Ret<Float32>()
                           .Ret<Float32>()
                           .Ret<Float32>()
                           .Ret<Float32>());
XLA_FFI_DEFINE_HANDLER(LstmInferenceHandler, lstm_inference,
                       ffi::Ffi::Bind()
                           .Arg<Float32>()
                           .Arg<Float32>()
                           .Arg<Float32>()
                           .Arg<Float32>()
                           .Arg<Float32>()
                           .Ret<Float32>()
                           .Ret<Float32>()
                           .Ret<Float32>());
XLA_FFI_DEFINE_HANDLER(LstmBackwardHandler, lstm_backward,
                       ffi::Ffi::Bind()
                           .Arg<Float32>()
                           .Arg<Float32>()
                           .Arg<Float32>()
                           .Arg<Float32>()
                           .Arg<Float32>()
                           .Arg<Float32>()
                           .Arg<Float32>()
                           .Ret<Float32>()
                           .Ret<Float32>()
                           .Ret<Float32>());
XLA_FFI_DEFINE_HANDLER(LossAndGradientHandler, loss_and_gradient,
                       ffi::Ffi::Bind()
                           .Arg<Float32>()
                           .Arg<Float32>()
                           .Arg<Int32>()
                           .Arg<Float32>()
                           .Ret<Float32>()
                           .Ret<Float32>()
                           .Ret<Float32>());
XLA_FFI_DEFINE_HANDLER(LossHandler, loss_only,
                       ffi::Ffi::Bind().Arg<Float32>().Arg<Float32>().Arg<Int32>().Ret<Float32>());

const char* register_float32_handlers(const XLA_FFI_Api* api) {
  const struct {
    const char* name;
    XLA_FFI_Handler* handler;
  } handlers[] = {
      {"kerasptb_lstm_forward_float32", LstmForwardHandler},
      {"kerasptb_lstm_inference_float32", LstmInferenceHandler},
      {"kerasptb_lstm_backward_float32", LstmBackwardHandler},
      {"kerasptb_softmax_cross_entropy", LossAndGradientHandler},
      {"kerasptb_softmax_cross_entropy_loss", LossHandler},
  };
  for (const auto& entry : handlers)
    if (XLA_FFI_Error* error = ffi::Ffi::RegisterStaticHandler(api, entry.name, "Host", entry.handler)) {
      XLA_FFI_Error_Destroy_Args destroy{XLA_FFI_Error_Destroy_Args_STRUCT_SIZE, nullptr, error};
      api->XLA_FFI_Error_Destroy(&destroy);
      return entry.name;
    }
  return nullptr;
}

}  // namespace
}  // namespace kerasptb

#define KERASPTB_EXPORT extern "C" __attribute__((visibility("default")))

// Registers every handler with XLA. Returns null, or a line that says why not.
KERASPTB_EXPORT const char* kerasptb_register(const XLA_FFI_Api* api) {
  static char message[256];
  if (api->api_version.major_version != XLA_FFI_API_MAJOR || api->api_version.minor_version < XLA_FFI_API_MINOR) {
    std::snprintf(message, sizeof(message), "it speaks XLA FFI %d.%d, and the library was built for %d.%d",
                  api->api_version.major_version, api->api_version.minor_version, XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR);
    return message;
  }
  const char* refused = kerasptb::register_float32_handlers(api);
  if (refused == nullptr) refused = kerasptb::register_amx_handlers(api);
  if (refused == nullptr) return nullptr;
  std::snprintf(message, sizeof(message), "it refused the handler %s", refused);
  return message;
}

KERASPTB_EXPORT const char* kerasptb_cpu_level() { return kerasptb::cpu_level_name(kerasptb::cpu_level()); }

KERASPTB_EXPORT int kerasptb_thread_count() { return kerasptb::thread_count(); }
