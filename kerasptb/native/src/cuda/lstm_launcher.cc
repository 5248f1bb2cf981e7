#include "cuda/lstm_launcher.h"

#include <iterator>
#include <map>
#include <mutex>

#include "cuda/column_sums_launcher.h"
#include "cuda/layout.h"
#include "cuda/driver.h"

namespace kerasptb {
namespace cuda {
namespace {

// A kernel, and the most units that it serves: the number that it is compiled for.
struct Kernel {
  int units;
  const char* name;
};

// The kernels of one pass in one precision, in the order of their units.
struct Pass {
  const char* name;  // without the number of units
  Kernel kernels[3];
  int cluster_rows;  // rows of the batch that a cluster computes
  int64_t (*shared_bytes)(int units);
};

constexpr Pass kForward = {"kerasptb_lstm_recurrence_forward_float32",
                           {{64, "kerasptb_lstm_recurrence_forward_float32_64"},
                            {128, "kerasptb_lstm_recurrence_forward_float32_128"},
                            {256, "kerasptb_lstm_recurrence_forward_float32_256"}},
                           kClusterRows,
                           lstm_forward_shared_bytes};
constexpr Pass kBackward = {"kerasptb_lstm_recurrence_backward_float32",
                            {{64, "kerasptb_lstm_recurrence_backward_float32_64"},
                             {128, "kerasptb_lstm_recurrence_backward_float32_128"},
                             {256, "kerasptb_lstm_recurrence_backward_float32_256"}},
                            kClusterRows,
                            lstm_backward_shared_bytes};
constexpr Pass kForwardBfloat16 = {"kerasptb_lstm_recurrence_forward_bfloat16",
                                   {{128, "kerasptb_lstm_recurrence_forward_bfloat16_128"},
                                    {256, "kerasptb_lstm_recurrence_forward_bfloat16_256"},
                                    {512, "kerasptb_lstm_recurrence_forward_bfloat16_512"}},
                                   kBfloat16ClusterRows,
                                   lstm_forward_bfloat16_shared_bytes};
constexpr Pass kBackwardBfloat16 = {"kerasptb_lstm_recurrence_backward_bfloat16",
                                    {{128, "kerasptb_lstm_recurrence_backward_bfloat16_128"},
                                     {256, "kerasptb_lstm_recurrence_backward_bfloat16_256"},
                                     {512, "kerasptb_lstm_recurrence_backward_bfloat16_512"}},
                                    kBfloat16ClusterRows,
                                    lstm_backward_bfloat16_shared_bytes};

// The launch for a number of clusters.
Launch launch_of(const Pass& pass, const Kernel& kernel, int64_t clusters) {
  const int cluster_blocks = lstm_cluster_blocks(kernel.units);
  return {kernel.name,   "", clusters * cluster_blocks, kLstmThreads, pass.shared_bytes(kernel.units), nullptr,
          cluster_blocks};
}

template <class Arguments>
std::string launch_recurrence(const Pass& pass, const Arguments& a, void* stream) {
  const int64_t batch = a.batch, steps = a.steps, units = a.units;
  const std::string shape =
      "batch " + std::to_string(batch) + ", steps " + std::to_string(steps) + ", units " + std::to_string(units);
  const Kernel* kernel = pass.kernels;
  const Kernel* const last = std::end(pass.kernels) - 1;
  if (batch < 1 || steps < 1 || steps > INT32_MAX || units < 1 || units > last->units)
    return std::string(pass.name) + " (" + shape + "): serves 1 to " + std::to_string(last->units) +
           " units, and at least one row and step";
  while (units > kernel->units) ++kernel;
  Launch ready = launch_of(pass, *kernel, (batch + pass.cluster_rows - 1) / pass.cluster_rows);
  ready.shape = shape;
  ready.arguments = &a;
  return launch(ready, stream);
}

}  // namespace

int64_t max_units(Precision precision, int device) {
  if (precision == Precision::kFloat32) return kForward.kernels[2].units;
  static std::mutex mutex;
  static std::map<int, int64_t> known;
  const std::lock_guard<std::mutex> lock(mutex);
  int64_t& units = known[device];
  if (units == 0) {
    const bool largest = has_room(launch_of(kForwardBfloat16, kForwardBfloat16.kernels[2], 1), device) &&
                         has_room(launch_of(kBackwardBfloat16, kBackwardBfloat16.kernels[2], 1), device);
    units = kForwardBfloat16.kernels[largest ? 2 : 1].units;
  }
  return units;
}

std::string lstm_recurrence_forward(const RecurrenceForward& a, Precision precision, void* stream) {
  if (a.batch == 0) return "";
  return launch_recurrence(precision == Precision::kFloat32 ? kForward : kForwardBfloat16, a, stream);
}

std::string lstm_recurrence_backward(const RecurrenceBackward& a, Precision precision, void* stream) {
  if (a.batch != 0)
    if (std::string error =
            launch_recurrence(precision == Precision::kFloat32 ? kBackward : kBackwardBfloat16, a, stream);
        !error.empty())
      return error;
  return column_sums({a.batch * a.steps, 4 * a.units, a.dz, a.dbias}, stream);
}

}  // namespace cuda
}  // namespace kerasptb
