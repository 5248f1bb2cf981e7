// The forward pass; equations and the split over blocks are in lstm.cuh.
//
// In a block, eight neighbouring lanes work on one unit. Lane bits 0-1 choose a quarter of the rows k of U, bit 2
// chooses the gates (i, f) or (g, o). So a lane holds H / 4 weights of each of two gates, and reads h[k] of the four
// batch rows, as a float4, H / 4 times. The sum over the four lanes leaves each of them with one batch row; then the
// lanes of the two pairs of gates exchange them.
#include "cuda/lstm.cuh"

namespace kerasptb {
namespace cuda {

template <int H>
KERASPTB_DEVICE void lstm_forward(const RecurrenceForward& a) {
  constexpr int kBlocks = H / kBlockUnits, kSplit = 4, kOwnRows = H / kSplit;
  KERASPTB_SHARED(float, shared);
  const int units = static_cast<int>(a.units), steps = static_cast<int>(a.steps);
  const int rank = cluster_rank(), lane = threadIdx.x % 32;
  const int split = lane % kSplit, half = lane / kSplit % 2, block_unit = threadIdx.x / 8;
  const int unit = rank * kBlockUnits + block_unit;

  float weights[2][kOwnRows];  // of gates 2 half and 2 half + 1, row k = 4 i + split
#pragma unroll
  for (int first = 0; first < H; first += kStagedRows) {
    __syncthreads();
    stage_recurrent_kernel<kForwardStride>(shared, a.recurrent_kernel, units, rank, first);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kStagedRows / kSplit; ++i) {
      const float* from = shared + (kSplit * i + split) * kForwardStride + 2 * half * kBlockUnits + block_unit;
      weights[0][first / kSplit + i] = from[0];
      weights[1][first / kSplit + i] = from[kBlockUnits];
    }
  }
  __syncthreads();

  // Step t reads h[t-1] from buffer t % 2 and writes h[t] into the other, so one barrier a step is enough.
  const int64_t first_batch = static_cast<int64_t>(blockIdx.x / kBlocks) * kClusterRows;
  float4* const h_buffers = reinterpret_cast<float4*>(shared);  // [2][H], the four rows in a float4
  for (int i = threadIdx.x; i < H * kClusterRows; i += kLstmThreads) {
    const int k = i % H, row = i / H;
    const bool there = k < units && first_batch + row < a.batch;
    shared[k * kClusterRows + row] = there ? a.h0[(first_batch + row) * units + k] : 0.0f;
  }
  const int row = scattered_first<kSplit>(lane) / 2;
  const int64_t batch = first_batch + row;
  const bool live = batch < a.batch && unit < units, keep = a.gates != nullptr;
  const int64_t position = batch * units + unit;                                      // in [B, H]
  const int64_t sequence = batch * steps * units + unit;                              // in [B, T, H], at step 0
  const int64_t gate_sequence = batch * steps * 4 * units + 2 * half * units + unit;  // in [B, T, 4H]
  const float* xz = a.xz + gate_sequence;
  float* gates = keep ? a.gates + gate_sequence : nullptr;
  float* h_seq = a.h_seq + sequence;
  float* c_seq = keep ? a.c_seq + sequence : nullptr;
  // Past the last row or unit all of these stay 0, and so does h.
  float c = 0.0f, bias[2] = {}, x[2] = {};
  if (live) {
    c = a.c0[position];
    bias[0] = a.bias[2 * half * units + unit];
    bias[1] = a.bias[2 * half * units + units + unit];
    x[0] = xz[0];
    x[1] = xz[units];
  }
  cluster_sync();  // every block has begun, and has its h0, before another writes into it

  for (int t = 0; t < steps; ++t) {
    const bool more = t + 1 < steps;
    float x_next[2] = {};  // read a step ahead, to hide the latency
    xz += 4 * units;
    if (live && more) {
      x_next[0] = xz[0];
      x_next[1] = xz[units];
    }

    const float4* h = h_buffers + (t % 2) * H;
    float z[8] = {};  // [row][gate]
#pragma unroll
    for (int i = 0; i < kOwnRows; ++i) {
      const float4 rows = h[kSplit * i + split];
      z[0] += weights[0][i] * rows.x;
      z[1] += weights[1][i] * rows.x;
      z[2] += weights[0][i] * rows.y;
      z[3] += weights[1][i] * rows.y;
      z[4] += weights[0][i] * rows.z;
      z[5] += weights[1][i] * rows.z;
      z[6] += weights[0][i] * rows.w;
      z[7] += weights[1][i] * rows.w;
    }
    reduce_scatter<kSplit>(z, lane);
    const float own[2] = {z[0] + x[0] + bias[0], z[1] + x[1] + bias[1]};
    const float other[2] = {shuffle_xor(own[0], kSplit), shuffle_xor(own[1], kSplit)};

    // From here both halves compute the same: so both have h, and each sends it to half of the blocks.
    const float i = sigmoid(half ? other[0] : own[0]), f = sigmoid(half ? other[1] : own[1]);
    const float g = tanhf(half ? own[0] : other[0]), o = sigmoid(half ? own[1] : other[1]);
    c = f * c + i * g;
    const float h_new = o * tanhf(c);
    if (more) {
      float* const target = shared + ((t + 1) % 2 * H + unit) * kClusterRows + row;
#pragma unroll
      for (int q = 0; q < kBlocks / 2; ++q) store_to_rank(target, half * (kBlocks / 2) + q, h_new);
      cluster_arrive();
    }
    // Between arriving and waiting, since no other block needs this.
    if (live) {
      if (keep) {
        gates[0] = half ? g : i;
        gates[units] = half ? o : f;
        gates += 4 * units;
      }
      if (half == 0) {
        *h_seq = h_new;
        if (keep) *c_seq = c;
      }
      if (half == 0 && !more) {
        a.h_T[position] = h_new;
        a.c_T[position] = c;
      }
      h_seq += units;
      if (keep) c_seq += units;
    }
    x[0] = x_next[0];
    x[1] = x_next[1];
    if (more) cluster_wait();
  }
}

}  // namespace cuda
}  // namespace kerasptb

KERASPTB_CLUSTER_KERNEL(kerasptb_lstm_recurrence_forward_float32_64, kerasptb::RecurrenceForward, 2,
                        kerasptb::cuda::kLstmThreads) {
  kerasptb::cuda::lstm_forward<64>(a);
}
KERASPTB_CLUSTER_KERNEL(kerasptb_lstm_recurrence_forward_float32_128, kerasptb::RecurrenceForward, 4,
                        kerasptb::cuda::kLstmThreads) {
  kerasptb::cuda::lstm_forward<128>(a);
}
KERASPTB_CLUSTER_KERNEL(kerasptb_lstm_recurrence_forward_float32_256, kerasptb::RecurrenceForward, 8,
                        kerasptb::cuda::kLstmThreads) {
  kerasptb::cuda::lstm_forward<256>(a);
}
