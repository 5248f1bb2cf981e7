// What the two passes of the recurrence share. B batch, T steps, H units: the number that the kernel is compiled for.
// The layer has `units` <= H of them; the rest are computed from zeros and not stored.
//
// The equations (Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber & Cummins 2000, no peepholes;
// gates in Keras' order i, f, g, o):
//
//   z[t] = xz[t] + h[t-1] U + bias           [B, 4H]
//   i, f, o = sigmoid(z), g = tanh(z)        [B, H] each
//   c[t] = f c[t-1] + i g
//   h[t] = o tanh(c[t])
//
// How the work is split. Rows of the batch are independent, so each cluster computes four of them for all steps, and no
// cluster waits for another. The blocks of a cluster share the units: each block keeps its 128 columns of U (four gates
// of 32 units) in registers from the first step to the last, which makes a step short. Only h, or its gradient, is
// exchanged between blocks, through distributed shared memory, with one barrier of the cluster per step.
#pragma once

#include "recurrence/recurrence.h"
#include "cuda/device.cuh"
#include "cuda/layout.h"

namespace kerasptb {
namespace cuda {

KERASPTB_DEVICE float sigmoid(float x) { return divide(1.0f, 1.0f + expf(-x)); }

// Sums each of 8 numbers over `lanes` neighbouring lanes, and leaves every lane with 8 / lanes of the sums: those from
// number scattered_first(lane) on, in sums[0] and following. In each round a lane exchanges half of its numbers, so
// that 7 shuffles are enough for 8 lanes. The order of the additions is the same in all lanes.
template <int lanes>
KERASPTB_DEVICE void reduce_scatter(float (&sums)[8], int lane) {
  int count = 8;
#pragma unroll
  for (int mask = 1; mask < lanes; mask *= 2) {
    count /= 2;
    const bool upper = (lane & mask) != 0;
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const float kept = upper ? sums[i + count] : sums[i], given = upper ? sums[i] : sums[i + count];
      sums[i] = kept + shuffle_xor(given, mask);
    }
  }
}
template <int lanes>
KERASPTB_DEVICE int scattered_first(int lane) {
  int first = 0;
#pragma unroll
  for (int mask = 1, count = 4; mask < lanes; mask *= 2, count /= 2)
    if (lane & mask) first += count;
  return first;
}

// stage[row * stride + gate * 32 + unit of the block] = U[first_row + row, gate, unit], zero past the last unit. A warp
// reads 32 consecutive units.
template <int stride>
KERASPTB_DEVICE void stage_recurrent_kernel(float* stage, const float* recurrent_kernel, int units, int rank,
                                            int first_row) {
  constexpr int kRowsAtOnce = kLstmThreads / kBlockColumns;
  const int column = threadIdx.x % kBlockColumns, gate = column / kBlockUnits;
  const int unit = rank * kBlockUnits + column % kBlockUnits;
  const float* from = recurrent_kernel + static_cast<int64_t>(gate) * units + unit;
  // Not unrolled completely: all reads at once would need registers that hold weights by now.
#pragma unroll 16
  for (int i = 0; i < kStagedRows / kRowsAtOnce; ++i) {
    const int row = i * kRowsAtOnce + threadIdx.x / kBlockColumns, k = first_row + row;
    const bool there = k < units && unit < units;
    stage[row * stride + column] = there ? from[static_cast<int64_t>(k) * 4 * units] : 0.0f;
  }
}

// For the backward pass: what it reads of one step, unit and row. `dh` is dh_seq.
struct Step {
  float dh, i, f, g, o, c, c_previous;
};

// The factors of the gradients of a step. They do not depend on later steps, so they are computed while the threads
// wait.
struct Factors {
  float dh;            // the part of dh from the layer above: dh_seq
  float dc_of_dh;      // dc += dh dc_of_dh
  float f;             // dc of the step before is dc f
  float i, forget, g;  // dz of these gates is dc times this
  float o;             // dz_o is dh times this
};

KERASPTB_DEVICE Factors factors(const Step& s) {
  const float tanh_c = tanhf(s.c);
  return {s.dh,
          s.o * (1.0f - tanh_c * tanh_c),
          s.f,
          s.g * s.i * (1.0f - s.i),
          s.c_previous * s.f * (1.0f - s.f),
          s.i * (1.0f - s.g * s.g),
          tanh_c * s.o * (1.0f - s.o)};
}

}  // namespace cuda
}  // namespace kerasptb
