// The norm of many arrays together, on the CPU. See global_norm.h.
//
// The arrays are cut into blocks, which the threads share evenly: one large array among small ones keeps all of them
// busy. The sums of the blocks are added in their order, so the result does not depend on the number of threads.
#include "global_norm.h"

#include <math.h>

#include "simd.h"
#include "threads.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

// Floats of a block: 16 KB. Within a block sums are float32, of 32 to 256 terms in each lane; beyond it they are
// float64.
constexpr int64_t kBlock = 4096;
// Independent sums that are computed at a time to hide the latency of an addition.
constexpr int kUnroll = 8;

KERASPTB_NOINLINE double sum_of_squares(const float* x, int64_t size) {
  Float total[kUnroll] = {};
  int64_t i = 0;
  for (; i + kUnroll * kLanes <= size; i += kUnroll * kLanes)
    for (int j = 0; j < kUnroll; ++j) {
      const Float value = load(x + i + j * kLanes);
      total[j] += value * value;
    }
  for (; i < size; i += kLanes) {
    const Float value = load(x + i, lanes_before(i, size));
    total[0] += value * value;
  }
  double result = 0;
  for (int j = 0; j < kUnroll; ++j) result += static_cast<double>(sum(total[j]));
  return result;
}

}  // namespace

float global_norm(const FloatArray* arrays, int64_t count) {
  Workers workers;
  const int threads = workers.count();
  int64_t num_blocks = 0;
  for (int64_t a = 0; a < count; ++a) num_blocks += ceil_div(arrays[a].size, kBlock);
  double* of_block = workers.scratch<double>(num_blocks);
  const auto work = [&](int thread) {
    const Range blocks = split(num_blocks, threads, thread);
    int64_t first = 0;  // block of the array
    for (int64_t a = 0; a < count; ++a) {
      const int64_t of_array = ceil_div(arrays[a].size, kBlock);
      const int64_t end = smaller(blocks.end - first, of_array);
      for (int64_t b = larger(blocks.begin - first, 0); b < end; ++b)
        of_block[first + b] = sum_of_squares(arrays[a].data + b * kBlock, smaller(kBlock, arrays[a].size - b * kBlock));
      first += of_array;
    }
  };
  workers.run(work, /* rest = */ true);  // the framework's updates follow
  double total = 0;
  for (int64_t b = 0; b < num_blocks; ++b) total += of_block[b];
  return static_cast<float>(sqrt(total));
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
