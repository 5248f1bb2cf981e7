// What the two passes of the recurrence share. B batch, T steps, H units as the kernel is compiled for them; `units` is
// the number there really is, at most H: what lies beyond is computed on zeros and not stored.
//
// The equations (Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber & Cummins 2000, no peepholes;
// gates in Keras' order i, f, g, o):
//
//   z[t] = xz[t] + h[t-1] U + bias           [B, 4H]
//   i, f, o = sigmoid(z), g = tanh(z)        [B, H] each
//   c[t] = f c[t-1] + i g
//   h[t] = o tanh(c[t])
//
// How they are spread. Rows of the batch never meet, so a cluster takes four of them through all steps, and no two
// clusters wait for each other. Its blocks share the units: each keeps its 128 columns of U (four gates of 32 units) in
// registers from the first step to the last, which is what makes a step short; only h, or its gradient, travels between
// blocks, through distributed shared memory, with one barrier of the cluster a step.
#pragma once

#include "../lstm_float32.h"
#include "device.cuh"
#include "layout.h"

namespace kerasptb {
namespace cuda {

KERASPTB_DEVICE float sigmoid(float x) { return divide(1.0f, 1.0f + expf(-x)); }

// Sums 8 numbers over `lanes` neighbouring lanes, and leaves each lane 8 / lanes of the sums, from number
// `scattered_first` on. Half the numbers change places in each round, so that 7 shuffles do for 8 lanes, and the order
// of the additions is the same in all lanes.
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

// stage[row * stride + gate * 32 + unit of the block] = U[first_row + row, gate, unit]; whole rows of 32 units by a
// warp.
template <int stride>
KERASPTB_DEVICE void stage_recurrent_kernel(float* stage, const float* recurrent_kernel, int units, int rank,
                                            int first_row) {
  constexpr int kRowsAtOnce = kLstmThreads / kBlockColumns;
  const int column = threadIdx.x % kBlockColumns, gate = column / kBlockUnits;
  const int unit = rank * kBlockUnits + column % kBlockUnits;
  const float* from = recurrent_kernel + static_cast<int64_t>(gate) * units + unit;
  // All of them under way at once would take registers that weights are in already.
#pragma unroll 16
  for (int i = 0; i < kStagedRows / kRowsAtOnce; ++i) {
    const int row = i * kRowsAtOnce + threadIdx.x / kBlockColumns, k = first_row + row;
    const bool there = k < units && unit < units;
    stage[row * stride + column] = there ? from[static_cast<int64_t>(k) * 4 * units] : 0.0f;
  }
}

// For the backward pass: a step of one unit and row, as the forward pass left it.
struct Step {
  float dh, i, f, g, o, c, c_previous;
};

// All that the gradients of a step are multiplied with; does not depend on the steps after it.
struct Factors {
  float dh;            // the part of dh from above
  float dc_of_dh, f;   // dc = dc + dh dc_of_dh; then to the step before: dc f
  float i, forget, g;  // dz of these gates by dc
  float o;             // dz_o by dh
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
