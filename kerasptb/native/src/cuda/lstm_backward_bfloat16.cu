// The backward pass with products in bfloat16; see lstm_bfloat16.cuh, and lstm_backward.cu for the equations and for
// how dz U' is put together from the blocks' parts.
//
// In the product, a warp computes H / 8 units, each a row of A. The sum is over the block's 128 columns, in the order
// unit, gate, so that the four gates of a unit are contiguous in shared memory. In the rest, a warp has one batch row
// and a lane one unit, so that the arrays are read and written in whole lines.
#include "cuda/lstm_bfloat16.cuh"

namespace kerasptb {
namespace cuda {

template <int H>
KERASPTB_DEVICE void lstm_backward_bfloat16(const RecurrenceBackward& a) {
  constexpr int kBlocks = H / kBlockUnits, kOwnUnits = H / (kLstmThreads / 32), kTiles = kOwnUnits / 16;
  constexpr int kProducts = kBlockColumns / 16, kStride = kBlockColumns + kOperandPadding;
  KERASPTB_SHARED(float, shared);
  const int units = static_cast<int>(a.units), steps = static_cast<int>(a.steps);
  const int rank = cluster_rank(), warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  uint32_t weights[kTiles][kProducts][4] = {};
#pragma unroll 1
  for (int first = 0; first < H; first += kStagedRows) {
    __syncthreads();
    stage_recurrent_kernel<kBfloat16StageStride>(shared, a.recurrent_kernel, units, rank, first);
    __syncthreads();
    if (warp * kOwnUnits / kStagedRows * kStagedRows == first) {
      const float* from = shared + (warp * kOwnUnits - first + lane / 4) * kBfloat16StageStride;
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
        for (int m = 0; m < kProducts; ++m)
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int k = first_k(m, i / 2, lane);  // even: a gate i or g, and f or o comes after
            const float* gates = from + (16 * tile + i % 2 * 8) * kBfloat16StageStride + k % 4 * kBlockUnits + k / 4;
            weights[tile][m][i] = pack_bfloat16(gates[0], gates[kBlockUnits]);
          }
    }
  }
  __syncthreads();

  uint16_t* const dz_rows = reinterpret_cast<uint16_t*>(shared);     // [8 rows][kStride], bfloat16
  float* const parts = shared + kBfloat16ClusterRows * kStride / 2;  // [2][from block][8 rows][kPartStride]
  const int row = warp, unit = rank * kBlockUnits + lane;
  const int64_t batch = static_cast<int64_t>(blockIdx.x / kBlocks) * kBfloat16ClusterRows + row;
  const bool live = batch < a.batch && unit < units;

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
    const float dh = now.dh + dh_later;
    dc += dh * now.dc_of_dh;
    const float d[4] = {dc * now.i, dc * now.forget, dc * now.g, dh * now.o};
    dc *= now.f;
    if (live) {
#pragma unroll
      for (int gate = 0; gate < 4; ++gate) dz[gate * units] = d[gate];
    }
    if (t == 0) break;
    *reinterpret_cast<uint2*>(dz_rows + row * kStride + 4 * lane) =
        make_uint2(pack_bfloat16(d[0], d[1]), pack_bfloat16(d[2], d[3]));

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

    float sums[kTiles][4] = {};
#pragma unroll
    for (int m = 0; m < kProducts; m += 2) {
      const uint4 rows = load_operand(dz_rows, kStride, m, lane);
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        multiply_add(sums[tile], weights[tile][m], rows.x, rows.y);
        multiply_add(sums[tile], weights[tile][m + 1], rows.z, rows.w);
      }
    }

    // Two buffers, because the parts of step t - 1 may arrive while those of step t are still read.
    float* const buffer = parts + t % 2 * kBlocks * kPart;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      pair_rows(sums[tile], lane);
      const int k = warp * kOwnUnits + 16 * tile + lane / 8 * 2;
      float* const target = buffer + rank * kPart + product_column(lane) * kPartStride + k % kBlockUnits;
      store_to_rank(reinterpret_cast<float2*>(target), k / kBlockUnits, make_float2(sums[tile][0], sums[tile][1]));
      store_to_rank(reinterpret_cast<float2*>(target + 8), k / kBlockUnits, make_float2(sums[tile][2], sums[tile][3]));
    }
    cluster_arrive();
    now = factors(step);
    cluster_wait();
    dh_later = 0.0f;
#pragma unroll
    for (int from = 0; from < kBlocks; ++from) dh_later += buffer[from * kPart + row * kPartStride + lane];
  }
  if (live) a.dc0[position] = dc;
}

}  // namespace cuda
}  // namespace kerasptb

KERASPTB_CLUSTER_KERNEL(kerasptb_lstm_recurrence_backward_bfloat16_128, kerasptb::RecurrenceBackward, 4,
                        kerasptb::cuda::kLstmThreads) {
  kerasptb::cuda::lstm_backward_bfloat16<128>(a);
}
KERASPTB_CLUSTER_KERNEL(kerasptb_lstm_recurrence_backward_bfloat16_256, kerasptb::RecurrenceBackward, 8,
                        kerasptb::cuda::kLstmThreads) {
  kerasptb::cuda::lstm_backward_bfloat16<256>(a);
}
KERASPTB_CLUSTER_KERNEL(kerasptb_lstm_recurrence_backward_bfloat16_512, kerasptb::RecurrenceBackward, 16,
                        kerasptb::cuda::kLstmThreads) {
  kerasptb::cuda::lstm_backward_bfloat16<512>(a);
}
