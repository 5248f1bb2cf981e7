// The backward pass through time; equations and the split over blocks are in lstm.cuh. d* is the gradient of the loss:
//
//   dh        = dh_seq[t] + dz[t+1] U'                  [B, H]    (dh_T in place of the product at the last step)
//   dc        = dc[t+1] f[t+1] + dh o (1 - tanh(c)^2)   [B, H]    (dc_T in place of the first term at the last step)
//   dz_i      = dc g i (1 - i)          dz_f = dc c[t-1] f (1 - f)
//   dz_g      = dc i (1 - g^2)          dz_o = dh tanh(c) o (1 - o)
//
// U' is the transpose of U. A block has dz of its own 128 columns only, and computes from them a part of dz U' for all
// H units. It sends each unit's part to the block that owns the unit, which adds the parts in the order of the blocks.
// dh0, the same product at step 0, is left to the framework.
//
// In the product, `kSplit` neighbouring lanes compute two units k of four batch rows and share the 128 columns: a lane
// holds 2 x 128 / kSplit weights. In the rest, each of the first 128 threads has one unit and one batch row.
#include "cuda/lstm.cuh"

namespace kerasptb {
namespace cuda {

KERASPTB_DEVICE void send(float* target, int rank, const float (&values)[8], int count) {
  if (count == 4)
    store_to_rank(reinterpret_cast<float4*>(target), rank, make_float4(values[0], values[1], values[2], values[3]));
  else if (count == 2)
    store_to_rank(reinterpret_cast<float2*>(target), rank, make_float2(values[0], values[1]));
  else
    store_to_rank(target, rank, values[0]);
}

template <int H>
KERASPTB_DEVICE void lstm_backward(const RecurrenceBackward& a) {
  constexpr int kBlocks = H / kBlockUnits, kSplit = kLstmThreads / (H / 2), kOwnColumns = kBlockColumns / kSplit;
  KERASPTB_SHARED(float, shared);
  const int units = static_cast<int>(a.units), steps = static_cast<int>(a.steps);
  const int rank = cluster_rank(), lane = threadIdx.x % 32;

  const int split = threadIdx.x % kSplit, k = threadIdx.x / kSplit * 2;
  float weights[2][kOwnColumns] = {};  // of units k and k + 1, column kSplit i + split
#pragma unroll 1
  for (int first = 0; first < H; first += kStagedRows) {
    __syncthreads();
    stage_recurrent_kernel<kBackwardStride>(shared, a.recurrent_kernel, units, rank, first);
    __syncthreads();
    if (k / kStagedRows * kStagedRows == first) {
      const float* from = shared + (k - first) * kBackwardStride + split;
#pragma unroll
      for (int i = 0; i < kOwnColumns; ++i) {
        weights[0][i] = from[kSplit * i];
        weights[1][i] = from[kSplit * i + kBackwardStride];
      }
    }
  }
  __syncthreads();

  float4* const dz_columns = reinterpret_cast<float4*>(shared);  // [128], the four rows in a float4
  float* const parts = shared + kBlockColumns * kClusterRows;    // [2][from block][32 units][4 rows]
  constexpr int kPart = kBlockUnits * kClusterRows;
  const bool owner = threadIdx.x < kPart;
  const int row = threadIdx.x % kClusterRows, block_unit = threadIdx.x / kClusterRows;
  const int unit = rank * kBlockUnits + block_unit;
  const int64_t batch = static_cast<int64_t>(blockIdx.x / kBlocks) * kClusterRows + row;
  const bool live = owner && batch < a.batch && unit < units;

  const int64_t position = batch * units + unit;                                 // in [B, H]
  const int64_t sequence = (batch * steps + steps - 1) * units + unit;           // in [B, T, H], at the last step
  const int64_t gate_sequence = (batch * steps + steps - 1) * 4 * units + unit;  // in [B, T, 4H]
  const float* dh_seq = a.dh_seq + sequence;
  const float* c_seq = a.c_seq + sequence;
  const float* gates = a.gates + gate_sequence;
  float* dz = a.dz + gate_sequence;

  Step step = {};
  float dh_later = 0.0f, dc = 0.0f;
  if (live) {
    dh_later = a.dh_T[position];
    dc = a.dc_T[position];
    step = {*dh_seq,
            gates[0],
            gates[units],
            gates[2 * units],
            gates[3 * units],
            *c_seq,
            steps > 1 ? *(c_seq - units) : a.c0[position]};
  }
  Factors now = factors(step);
  cluster_sync();  // every block has begun before another writes into it

  for (int t = steps - 1;; --t) {
    if (owner) {
      const float dh = now.dh + dh_later;
      dc += dh * now.dc_of_dh;
      const float d[4] = {dc * now.i, dc * now.forget, dc * now.g, dh * now.o};
      dc *= now.f;
#pragma unroll
      for (int gate = 0; gate < 4; ++gate) {
        shared[(gate * kBlockUnits + block_unit) * kClusterRows + row] = d[gate];
        if (live) dz[gate * units] = d[gate];
      }
    }
    if (t == 0) break;

    // Reads what the next round needs, to hide the latency behind the product.
    dz -= 4 * units;
    gates -= 4 * units;
    dh_seq -= units;
    c_seq -= units;
    if (live)
      step = {*dh_seq,
              gates[0],
              gates[units],
              gates[2 * units],
              gates[3 * units],
              step.c_previous,
              t > 1 ? *(c_seq - units) : a.c0[position]};
    __syncthreads();

    float dh[8] = {};  // [unit k or k + 1][row]
#pragma unroll
    for (int i = 0; i < kOwnColumns; ++i) {
      const float4 rows = dz_columns[kSplit * i + split];
      dh[0] += weights[0][i] * rows.x;
      dh[1] += weights[0][i] * rows.y;
      dh[2] += weights[0][i] * rows.z;
      dh[3] += weights[0][i] * rows.w;
      dh[4] += weights[1][i] * rows.x;
      dh[5] += weights[1][i] * rows.y;
      dh[6] += weights[1][i] * rows.z;
      dh[7] += weights[1][i] * rows.w;
    }
    reduce_scatter<kSplit>(dh, lane);

    // Two buffers, because the parts of step t - 1 may arrive while those of step t are still read.
    float* const buffer = parts + t % 2 * kBlocks * kPart;
    send(buffer + rank * kPart + k % kBlockUnits * kClusterRows + scattered_first<kSplit>(lane), k / kBlockUnits, dh,
         8 / kSplit);
    cluster_arrive();
    now = factors(step);
    cluster_wait();
    if (owner) {
      dh_later = 0.0f;
#pragma unroll
      for (int from = 0; from < kBlocks; ++from) dh_later += buffer[from * kPart + threadIdx.x];
    }
  }
  if (live) a.dc0[position] = dc;
}

}  // namespace cuda
}  // namespace kerasptb

KERASPTB_CLUSTER_KERNEL(kerasptb_lstm_recurrence_backward_float32_64, kerasptb::RecurrenceBackward, 2,
                        kerasptb::cuda::kLstmThreads) {
  kerasptb::cuda::lstm_backward<64>(a);
}
KERASPTB_CLUSTER_KERNEL(kerasptb_lstm_recurrence_backward_float32_128, kerasptb::RecurrenceBackward, 4,
                        kerasptb::cuda::kLstmThreads) {
  kerasptb::cuda::lstm_backward<128>(a);
}
KERASPTB_CLUSTER_KERNEL(kerasptb_lstm_recurrence_backward_float32_256, kerasptb::RecurrenceBackward, 8,
                        kerasptb::cuda::kLstmThreads) {
  kerasptb::cuda::lstm_backward<256>(a);
}
