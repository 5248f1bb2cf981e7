// The shipped launchers behind plain functions, for ctypes; with a fat binary that only the fake driver takes.
#include <string>

#include "cuda/driver.h"
#include "cuda/lstm_launcher.h"
#include "cuda/softmax_cross_entropy_launcher.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

#if !defined(FATBIN)
#define FATBIN "kernels for the emulator"
#endif
extern "C" const unsigned char kerasptb_fatbin[] = FATBIN;
#if defined(WITHOUT_CUDA_CODE)
extern "C" const unsigned long long kerasptb_fatbin_size = 0;
#else
extern "C" const unsigned long long kerasptb_fatbin_size = sizeof kerasptb_fatbin;
#endif
#if !defined(NVCC)
#define NVCC 12
#endif
extern "C" const int kerasptb_fatbin_nvcc = NVCC;

namespace {

const char* kept(std::string text) {
  static std::string last;
  last = std::move(text);
  return last.c_str();
}

}  // namespace

using kerasptb::cuda::Precision;
EXPORT const char* lstm_forward(const kerasptb::RecurrenceForward* a, void* stream) {
  return kept(kerasptb::cuda::lstm_recurrence_forward(*a, Precision::kFloat32, stream));
}
EXPORT const char* lstm_backward(const kerasptb::RecurrenceBackward* a, void* stream) {
  return kept(kerasptb::cuda::lstm_recurrence_backward(*a, Precision::kFloat32, stream));
}
EXPORT const char* lstm_forward_bfloat16(const kerasptb::RecurrenceForward* a, void* stream) {
  return kept(kerasptb::cuda::lstm_recurrence_forward(*a, Precision::kBfloat16, stream));
}
EXPORT const char* lstm_backward_bfloat16(const kerasptb::RecurrenceBackward* a, void* stream) {
  return kept(kerasptb::cuda::lstm_recurrence_backward(*a, Precision::kBfloat16, stream));
}
EXPORT long long max_units(int in_bfloat16, int device) {
  return kerasptb::cuda::max_units(in_bfloat16 ? Precision::kBfloat16 : Precision::kFloat32, device);
}
EXPORT const char* softmax_cross_entropy(const kerasptb::SoftmaxCrossEntropy* a, void* stream) {
  return kept(kerasptb::cuda::softmax_cross_entropy(*a, stream));
}
EXPORT const char* why_not(int device, kerasptb::cuda::DeviceReport* report) {
  return kept(kerasptb::cuda::why_not(device, report));
}
EXPORT const char* launch(const char* kernel, long long blocks, long long threads, long long shared_bytes,
                          void* stream) {
  const int nothing[64] = {};
  return kept(kerasptb::cuda::launch({kernel, "a test", blocks, threads, shared_bytes, nothing}, stream));
}
