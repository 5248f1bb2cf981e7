// The forward pass with products in bfloat16; see lstm_bfloat16.cuh.
//
// A warp computes four units of the block. Their 16 columns of U, H numbers each, are the rows of A, and stay in the
// registers of its lanes. The order of the rows is such that a lane ends up with the four gates of one unit and one
// batch row.
#include "cuda/lstm_bfloat16.cuh"

namespace kerasptb {
namespace cuda {

template <int H>
KERASPTB_DEVICE void lstm_forward_bfloat16(const RecurrenceForward& a) {
  constexpr int kBlocks = H / kBlockUnits, kProducts = H / 16, kStride = H + kOperandPadding, kWarpUnits = 4;
  KERASPTB_SHARED(float, shared);
  const int units = static_cast<int>(a.units), steps = static_cast<int>(a.steps);
  const int rank = cluster_rank(), lane = threadIdx.x % 32, first_unit = threadIdx.x / 32 * kWarpUnits;
  const int block_unit = first_unit + lane / 8, row = product_column(lane);
  const int unit = rank * kBlockUnits + block_unit;

  uint32_t weights[kProducts][4];
#pragma unroll
  for (int first = 0; first < H; first += kStagedRows) {
    __syncthreads();
    stage_recurrent_kernel<kBfloat16StageStride>(shared, a.recurrent_kernel, units, rank, first);
    __syncthreads();
#pragma unroll
    for (int m = 0; m < kStagedRows / 16; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        // Rows g of A are gates i and f of unit g / 2, rows g + 8 gates g and o.
        const int gate = lane / 4 % 2 + i % 2 * 2;
        const float* from = shared + first_k(m, i / 2, lane) * kBfloat16StageStride + gate * kBlockUnits + block_unit;
        weights[first / 16 + m][i] = pack_bfloat16(from[0], from[kBfloat16StageStride]);
      }
  }
  __syncthreads();

  // Step t reads h[t-1] from buffer t % 2 and writes h[t] into the other, so one barrier a step is enough.
  const int64_t first_batch = static_cast<int64_t>(blockIdx.x / kBlocks) * kBfloat16ClusterRows;
  uint16_t* const h_buffers = reinterpret_cast<uint16_t*>(shared);  // [2][8 rows][kStride], bfloat16
  constexpr int kBuffer = kBfloat16ClusterRows * kStride;
  for (int i = threadIdx.x; i < H / 2 * kBfloat16ClusterRows; i += kLstmThreads) {
    const int k = i % (H / 2) * 2, r = i / (H / 2);
    const bool there = first_batch + r < a.batch;
    const float* h0 = a.h0 + (first_batch + r) * units + k;
    *reinterpret_cast<uint32_t*>(h_buffers + r * kStride + k) =
        pack_bfloat16(there && k < units ? h0[0] : 0.0f, there && k + 1 < units ? h0[1] : 0.0f);
  }
  const int64_t batch = first_batch + row;
  const bool live = batch < a.batch && unit < units, keep = a.gates != nullptr;
  const int64_t position = batch * units + unit;                   // in [B, H]
  const int64_t sequence = batch * steps * units + unit;           // in [B, T, H], at step 0
  const int64_t gate_sequence = batch * steps * 4 * units + unit;  // in [B, T, 4H]
  const float* xz = a.xz + gate_sequence;
  float* gates = keep ? a.gates + gate_sequence : nullptr;
  float* h_seq = a.h_seq + sequence;
  float* c_seq = keep ? a.c_seq + sequence : nullptr;
  // Past the last row or unit all of these stay 0, and so does h.
  float c = 0.0f, bias[4] = {}, x[4] = {};
  if (live) {
    c = a.c0[position];
#pragma unroll
    for (int gate = 0; gate < 4; ++gate) {
      bias[gate] = a.bias[gate * units + unit];
      x[gate] = xz[gate * units];
    }
  }
  cluster_sync();  // every block has begun, and has its h0, before another writes into it

  for (int t = 0; t < steps; ++t) {
    const bool more = t + 1 < steps;
    float x_next[4] = {};  // read a step ahead, to hide the latency
    xz += 4 * units;
    if (live && more) {
#pragma unroll
      for (int gate = 0; gate < 4; ++gate) x_next[gate] = xz[gate * units];
    }

    const uint16_t* h = h_buffers + t % 2 * kBuffer;
    float sums[4][4] = {};  // four independent sums, to hide the latency of a product
#pragma unroll
    for (int m = 0; m < kProducts; m += 2) {
      const uint4 rows = load_operand(h, kStride, m, lane);
      multiply_add(sums[m % 4], weights[m], rows.x, rows.y);
      multiply_add(sums[m % 4 + 1], weights[m + 1], rows.z, rows.w);
    }
    float z[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) z[i] = (sums[0][i] + sums[1][i]) + (sums[2][i] + sums[3][i]);
    pair_rows(z, lane);

    const float i = sigmoid(z[0] + x[0] + bias[0]), f = sigmoid(z[1] + x[1] + bias[1]);
    const float g = tanhf(z[2] + x[2] + bias[2]), o = sigmoid(z[3] + x[3] + bias[3]);
    c = f * c + i * g;
    const float h_new = o * tanhf(c);
    if (more) {
      // The four lanes of a batch row exchange their units, so that each has all four in one piece, and sends it to a
      // quarter of the blocks.
      const float h_next = shuffle_xor(h_new, 8);
      const uint32_t own = lane & 8 ? pack_bfloat16(h_next, h_new) : pack_bfloat16(h_new, h_next);
      const uint32_t other = shuffle_xor(own, 16);
      const uint2 four = lane & 16 ? make_uint2(other, own) : make_uint2(own, other);
      uint16_t* const target = h_buffers + (t + 1) % 2 * kBuffer + row * kStride + rank * kBlockUnits + first_unit;
#pragma unroll
      for (int q = 0; q < kBlocks / kWarpUnits; ++q)
        store_to_rank(reinterpret_cast<uint2*>(target), lane / 8 * (kBlocks / kWarpUnits) + q, four);
      cluster_arrive();
    }
    // Between arriving and waiting, since no other block needs this.
    if (live) {
      *h_seq = h_new;
      h_seq += units;
      if (keep) {
        gates[0] = i;
        gates[units] = f;
        gates[2 * units] = g;
        gates[3 * units] = o;
        gates += 4 * units;
        *c_seq = c;
        c_seq += units;
      }
      if (!more) {
        a.h_T[position] = h_new;
        a.c_T[position] = c;
      }
    }
#pragma unroll
    for (int gate = 0; gate < 4; ++gate) x[gate] = x_next[gate];
    if (more) cluster_wait();
  }
}

}  // namespace cuda
}  // namespace kerasptb

KERASPTB_CLUSTER_KERNEL(kerasptb_lstm_recurrence_forward_bfloat16_128, kerasptb::RecurrenceForward, 4,
                        kerasptb::cuda::kLstmThreads) {
  kerasptb::cuda::lstm_forward_bfloat16<128>(a);
}
KERASPTB_CLUSTER_KERNEL(kerasptb_lstm_recurrence_forward_bfloat16_256, kerasptb::RecurrenceForward, 8,
                        kerasptb::cuda::kLstmThreads) {
  kerasptb::cuda::lstm_forward_bfloat16<256>(a);
}
KERASPTB_CLUSTER_KERNEL(kerasptb_lstm_recurrence_forward_bfloat16_512, kerasptb::RecurrenceForward, 16,
                        kerasptb::cuda::kLstmThreads) {
  kerasptb::cuda::lstm_forward_bfloat16<512>(a);
}
