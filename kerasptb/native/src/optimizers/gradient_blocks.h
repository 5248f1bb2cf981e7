// A model's gradients cut into blocks, which the threads share evenly: one large array among small ones keeps all of
// them busy. Sums of the blocks are added in their order, so results do not depend on the number of threads.
#pragma once

#include <math.h>

#include "common/simd.h"
#include "common/threads.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

// Floats of a block: 16 KB. Within a block sums are float32, of 32 to 256 terms in each lane; beyond it they are
// float64.
constexpr int64_t kGradientBlock = 4096;

// `size_of(a)` is the number of floats of array a.
template <class Size>
KERASPTB_INLINE int64_t count_blocks(int64_t arrays, const Size& size_of) {
  int64_t blocks = 0;
  for (int64_t a = 0; a < arrays; ++a) blocks += ceil_div(size_of(a), kGradientBlock);
  return blocks;
}

// Calls function(block, array, first float in it, floats) for the thread's share of the blocks.
template <class Size, class Function>
KERASPTB_INLINE void for_each_block(int64_t arrays, const Size& size_of, int64_t num_blocks, int thread, int threads,
                                    const Function& function) {
  const Range blocks = split(num_blocks, threads, thread);
  int64_t first = 0;  // block of the array
  for (int64_t a = 0; a < arrays; ++a) {
    const int64_t of_array = ceil_div(size_of(a), kGradientBlock), end = smaller(blocks.end - first, of_array);
    for (int64_t b = larger(blocks.begin - first, 0); b < end; ++b)
      function(first + b, a, b * kGradientBlock, smaller(kGradientBlock, size_of(a) - b * kGradientBlock));
    first += of_array;
  }
}

KERASPTB_INLINE double sum_of_squares(const float* x, int64_t size) {
  constexpr int kUnroll = 8;  // independent sums, computed at a time to hide the latency of an addition
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

// The square root of the sum of all blocks' sums.
KERASPTB_INLINE float norm_of_blocks(const double* of_block, int64_t num_blocks) {
  double total = 0;
  for (int64_t b = 0; b < num_blocks; ++b) total += of_block[b];
  return static_cast<float>(sqrt(total));
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
