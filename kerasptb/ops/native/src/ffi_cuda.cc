// XLA FFI handlers of the kernels on a GPU. In float32 their targets have the same names as those of the CPU: XLA takes
// the handler of the platform that a program is compiled for. In bfloat16 the CPU's kernels compute the whole layer and
// the GPU's the recurrence alone, so those have targets of their own,
// kerasptb_lstm_{forward,inference,backward}_bfloat16_recurrence, with the arguments and results of ..._float32
// (lstm_float32.h). The handlers only launch kernels, so they may become part of a CUDA graph.
#include <cstdint>
#include <string>
#include <vector>

#include "cuda_driver.h"
#include "ffi_float32.h"
#include "ffi_handlers.h"
#include "lstm_cuda.h"
#include "softmax_cross_entropy_cuda.h"

namespace kerasptb {
namespace {

using Stream = ffi::PlatformStream<void*>;
using cuda::Precision;

// The targets of the recurrence, by precision.
struct LstmTargets {
  const char *forward, *inference, *backward;
};
constexpr LstmTargets kFloat32Targets = {"kerasptb_lstm_forward_float32", "kerasptb_lstm_inference_float32",
                                         "kerasptb_lstm_backward_float32"};
constexpr LstmTargets kBfloat16Targets = {"kerasptb_lstm_forward_bfloat16_recurrence",
                                          "kerasptb_lstm_inference_bfloat16_recurrence",
                                          "kerasptb_lstm_backward_bfloat16_recurrence"};
constexpr const LstmTargets& targets(Precision precision) {
  return precision == Precision::kFloat32 ? kFloat32Targets : kBfloat16Targets;
}

// The answer of a launcher as an error: empty, or the kernel, the shape and the driver's message.
ffi::Error launched(const std::string& message) {
  return message.empty() ? ffi::Error::Success() : ffi::Error::Internal(message);
}

template <Precision precision>
ffi::Error lstm_training(void* stream, Float32 xz, Float32 recurrent_kernel, Float32 bias, Float32 h0, Float32 c0,
                         Out h_seq, Out h_T, Out c_T, Out gates, Out c_seq) {
  LstmForward arguments;
  ffi::Error error = check(targets(precision).forward, xz, recurrent_kernel, bias, h0, c0, *h_seq, *h_T, *c_T, &*gates,
                           &*c_seq, &arguments);
  return error.failure() ? error : launched(cuda::lstm_forward(arguments, precision, stream));
}

template <Precision precision>
ffi::Error lstm_inference(void* stream, Float32 xz, Float32 recurrent_kernel, Float32 bias, Float32 h0, Float32 c0,
                          Out h_seq, Out h_T, Out c_T) {
  LstmForward arguments;
  ffi::Error error = check(targets(precision).inference, xz, recurrent_kernel, bias, h0, c0, *h_seq, *h_T, *c_T,
                           nullptr, nullptr, &arguments);
  return error.failure() ? error : launched(cuda::lstm_forward(arguments, precision, stream));
}

template <Precision precision>
ffi::Error lstm_backward(void* stream, Float32 recurrent_kernel, Float32 gates, Float32 c_seq, Float32 c0,
                         Float32 dh_seq, Float32 dh_T, Float32 dc_T, Out dz, Out dbias, Out dc0) {
  LstmBackward arguments;
  ffi::Error error = check(targets(precision).backward, recurrent_kernel, gates, c_seq, c0, dh_seq, dh_T, dc_T, &*dz,
                           *dbias, *dc0, &arguments);
  return error.failure() ? error : launched(cuda::lstm_backward(arguments, precision, stream));
}

ffi::Error loss_and_gradient(void* stream, Float32 logits, Float32 bias, Int32 targets, Float32 scale, Out loss,
                             Out dlogits, Out dbias) {
  SoftmaxCrossEntropy arguments;
  ffi::Error error =
      check("kerasptb_softmax_cross_entropy", logits, bias, targets, &scale, *loss, &*dlogits, &*dbias, &arguments);
  return error.failure() ? error : launched(cuda::softmax_cross_entropy(arguments, stream));
}

ffi::Error loss_only(void* stream, Float32 logits, Float32 bias, Int32 targets, Out loss) {
  SoftmaxCrossEntropy arguments;
  ffi::Error error =
      check("kerasptb_softmax_cross_entropy_loss", logits, bias, targets, nullptr, *loss, nullptr, nullptr, &arguments);
  return error.failure() ? error : launched(cuda::softmax_cross_entropy(arguments, stream));
}

XLA_FFI_DEFINE_HANDLER(LstmForwardFloat32Handler, lstm_training<Precision::kFloat32>,
                       bind_lstm_training(ffi::Ffi::Bind().Ctx<Stream>()), {ffi::Traits::kCmdBufferCompatible});
XLA_FFI_DEFINE_HANDLER(LstmInferenceFloat32Handler, lstm_inference<Precision::kFloat32>,
                       bind_lstm_inference(ffi::Ffi::Bind().Ctx<Stream>()), {ffi::Traits::kCmdBufferCompatible});
XLA_FFI_DEFINE_HANDLER(LstmBackwardFloat32Handler, lstm_backward<Precision::kFloat32>,
                       bind_lstm_backward(ffi::Ffi::Bind().Ctx<Stream>()), {ffi::Traits::kCmdBufferCompatible});
XLA_FFI_DEFINE_HANDLER(LstmForwardBfloat16Handler, lstm_training<Precision::kBfloat16>,
                       bind_lstm_training(ffi::Ffi::Bind().Ctx<Stream>()), {ffi::Traits::kCmdBufferCompatible});
XLA_FFI_DEFINE_HANDLER(LstmInferenceBfloat16Handler, lstm_inference<Precision::kBfloat16>,
                       bind_lstm_inference(ffi::Ffi::Bind().Ctx<Stream>()), {ffi::Traits::kCmdBufferCompatible});
XLA_FFI_DEFINE_HANDLER(LstmBackwardBfloat16Handler, lstm_backward<Precision::kBfloat16>,
                       bind_lstm_backward(ffi::Ffi::Bind().Ctx<Stream>()), {ffi::Traits::kCmdBufferCompatible});
XLA_FFI_DEFINE_HANDLER(LossAndGradientHandler, loss_and_gradient,
                       bind_loss_and_gradient(ffi::Ffi::Bind().Ctx<Stream>()), {ffi::Traits::kCmdBufferCompatible});
XLA_FFI_DEFINE_HANDLER(LossHandler, loss_only, bind_loss(ffi::Ffi::Bind().Ctx<Stream>()),
                       {ffi::Traits::kCmdBufferCompatible});

}  // namespace

std::vector<NamedHandler> cuda_handlers() {
  if (kerasptb_fatbin_size == 0) return {};
  return {{kFloat32Targets.forward, "CUDA", LstmForwardFloat32Handler},
          {kFloat32Targets.inference, "CUDA", LstmInferenceFloat32Handler},
          {kFloat32Targets.backward, "CUDA", LstmBackwardFloat32Handler},
          {kBfloat16Targets.forward, "CUDA", LstmForwardBfloat16Handler},
          {kBfloat16Targets.inference, "CUDA", LstmInferenceBfloat16Handler},
          {kBfloat16Targets.backward, "CUDA", LstmBackwardBfloat16Handler},
          {"kerasptb_softmax_cross_entropy", "CUDA", LossAndGradientHandler},
          {"kerasptb_softmax_cross_entropy_loss", "CUDA", LossHandler}};
}

}  // namespace kerasptb

#define KERASPTB_EXPORT extern "C" __attribute__((visibility("default")))

// Why the CUDA kernels cannot run on a GPU, as the driver counts them, in a line; empty if they can. Valid until this
// thread's next call.
KERASPTB_EXPORT const char* kerasptb_cuda_obstacle(int device) {
  static thread_local std::string message;
  message = kerasptb::cuda::obstacle(device, nullptr);
  return message.c_str();
}

// The most units that the CUDA recurrence takes on a GPU, with products in bfloat16 or in float32; see
// `cuda::most_units`.
KERASPTB_EXPORT int64_t kerasptb_cuda_most_units(int in_bfloat16, int device) {
  using kerasptb::cuda::Precision;
  return kerasptb::cuda::most_units(in_bfloat16 ? Precision::kBfloat16 : Precision::kFloat32, device);
}
