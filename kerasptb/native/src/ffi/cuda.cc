// XLA FFI handlers of the kernels on a GPU. In float32 their targets have the same names as those of the CPU: XLA takes
// the handler of the platform that a program is compiled for.
#include "cuda/driver.h"
#include "cuda/lstm_launcher.h"
#include "cuda/softmax_cross_entropy_launcher.h"
#include "ffi/handlers.h"
#include "ffi/recurrence.h"
#include "ffi/softmax_cross_entropy.h"

namespace kerasptb {
namespace {

using cuda::Precision;

// The answer of a launcher as an error: empty, or the kernel, the shape and the driver's message.
ffi::Error launched(const std::string& message) {
  return message.empty() ? ffi::Error::Success() : ffi::Error::Internal(message);
}

template <Precision kPrecision, bool kSaves>
ffi::Error recurrence_forward(Call& call) {
  RecurrenceForward a{};
  if (ffi::Error error = read(call, kLstm, kSaves, &a); error.failure()) return error;
  return launched(cuda::lstm_recurrence_forward(a, kPrecision, call.stream));
}

template <Precision kPrecision>
ffi::Error recurrence_backward(Call& call) {
  RecurrenceBackward a{};
  if (ffi::Error error = read(call, kLstm, &a); error.failure()) return error;
  return launched(cuda::lstm_recurrence_backward(a, kPrecision, call.stream));
}

template <bool kGradients>
ffi::Error softmax_cross_entropy(Call& call) {
  SoftmaxCrossEntropy a{};
  if (ffi::Error error = read(call, kGradients, &a); error.failure()) return error;
  return launched(cuda::softmax_cross_entropy(a, call.stream));
}

}  // namespace

std::vector<Handler> cuda_handlers() {
  if (kerasptb_fatbin_size == 0) return {};
  constexpr Precision kF32 = Precision::kFloat32, kBf16 = Precision::kBfloat16;
  return {{"kerasptb_lstm_recurrence_forward_float32", "CUDA", on_gpu<recurrence_forward<kF32, true>>},
          {"kerasptb_lstm_recurrence_inference_float32", "CUDA", on_gpu<recurrence_forward<kF32, false>>},
          {"kerasptb_lstm_recurrence_backward_float32", "CUDA", on_gpu<recurrence_backward<kF32>>},
          {"kerasptb_lstm_recurrence_forward_bfloat16", "CUDA", on_gpu<recurrence_forward<kBf16, true>>},
          {"kerasptb_lstm_recurrence_inference_bfloat16", "CUDA", on_gpu<recurrence_forward<kBf16, false>>},
          {"kerasptb_lstm_recurrence_backward_bfloat16", "CUDA", on_gpu<recurrence_backward<kBf16>>},
          {"kerasptb_softmax_cross_entropy_loss_float32", "CUDA", on_gpu<softmax_cross_entropy<false>>},
          {"kerasptb_softmax_cross_entropy_loss_and_gradients_float32", "CUDA", on_gpu<softmax_cross_entropy<true>>}};
}

}  // namespace kerasptb
