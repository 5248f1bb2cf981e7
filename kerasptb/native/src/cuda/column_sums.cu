// out[v] = the sum over r of in[r, v]: the gradient of a bias. No atomics: the order of the additions is fixed, so the
// same input gives the same bits.
//
// A warp reads 32 neighbouring columns of every 32nd row; the 32 warps' sums meet in shared memory.
#include "cuda/device.cuh"
#include "cuda/layout.h"

KERASPTB_KERNEL(kerasptb_column_sums, kerasptb::cuda::ColumnSums,
                (kerasptb::cuda::kSumColumns * kerasptb::cuda::kSumGroups)) {
  using namespace kerasptb::cuda;
  KERASPTB_SHARED(float, sums);  // [group][column]
  const int group = threadIdx.x / kSumColumns;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kSumColumns + threadIdx.x % kSumColumns;
  const bool there = column < a.columns;
  float total = 0.0f;
  if (there) {
    const float* in = a.in + group * a.columns + column;
#pragma unroll 8
    for (int64_t r = group; r < a.rows; r += kSumGroups) {
      total += *in;
      in += kSumGroups * a.columns;
    }
  }
  sums[threadIdx.x] = total;
  __syncthreads();
  if (group == 0 && there) {
    for (int i = 1; i < kSumGroups; ++i) total += sums[i * kSumColumns + threadIdx.x];
    a.out[column] = total;
  }
}
