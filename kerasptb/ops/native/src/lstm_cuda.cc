#include "lstm_cuda.h"

#include "column_sums_cuda.h"
#include "cuda/layout.h"
#include "cuda_driver.h"

namespace kerasptb {
namespace cuda {
namespace {

// The kernels of one pass; each serves any number of units up to its own.
struct Kernels {
  const char* name;  // without the number of units
  const char* of_64;
  const char* of_128;
  const char* of_256;
  int64_t (*shared_bytes)(int units);
};

std::string launch_recurrence(const Kernels& kernels, int64_t batch, int64_t steps, int64_t units,
                              const void* arguments, void* stream) {
  const std::string shape =
      "batch " + std::to_string(batch) + ", steps " + std::to_string(steps) + ", units " + std::to_string(units);
  if (batch < 1 || steps < 1 || steps > INT32_MAX || units < 1 || units > kMostUnits)
    return std::string(kernels.name) + " (" + shape + "): serves 1 to " + std::to_string(kMostUnits) +
           " units, and at least one row and step";
  const int compiled_units = units <= 64 ? 64 : units <= 128 ? 128 : 256;
  const char* name = units <= 64 ? kernels.of_64 : units <= 128 ? kernels.of_128 : kernels.of_256;
  const int64_t clusters = (batch + kClusterRows - 1) / kClusterRows;
  return launch({name, shape, clusters * lstm_cluster_blocks(compiled_units), kLstmThreads,
                 kernels.shared_bytes(compiled_units), arguments},
                stream);
}

}  // namespace

std::string lstm_forward(const LstmForward& a, void* stream) {
  constexpr Kernels kKernels = {"kerasptb_lstm_forward", "kerasptb_lstm_forward_64", "kerasptb_lstm_forward_128",
                                "kerasptb_lstm_forward_256", lstm_forward_shared_bytes};
  if (a.batch == 0) return "";
  return launch_recurrence(kKernels, a.batch, a.steps, a.units, &a, stream);
}

std::string lstm_backward(const LstmBackward& a, void* stream) {
  constexpr Kernels kKernels = {"kerasptb_lstm_backward", "kerasptb_lstm_backward_64", "kerasptb_lstm_backward_128",
                                "kerasptb_lstm_backward_256", lstm_backward_shared_bytes};
  if (a.batch != 0)
    if (std::string error = launch_recurrence(kKernels, a.batch, a.steps, a.units, &a, stream); !error.empty())
      return error;
  return column_sums({a.batch * a.steps, 4 * a.units, a.dz, a.dbias}, stream);
}

}  // namespace cuda
}  // namespace kerasptb
