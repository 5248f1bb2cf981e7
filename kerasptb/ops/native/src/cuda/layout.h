// What the kernels and their launchers on the host have to agree on: how the work is cut, and the shared memory it
// takes. Plain C++, compiled on both sides.
#pragma once

#include <cstdint>

namespace kerasptb {
namespace cuda {

// The recurrence. A cluster of H / kBlockUnits thread blocks computes kClusterRows rows of the batch for all steps;
// each of its blocks owns kBlockUnits units, that is kBlockColumns columns of the recurrent kernel. A float4 holds a
// number for each row.
constexpr int kBlockUnits = 32;
constexpr int kBlockColumns = 4 * kBlockUnits;
constexpr int kClusterRows = 4;
constexpr int kLstmThreads = 256;

// Rows of the recurrent kernel that pass through shared memory at once on their way into registers.
constexpr int kStagedRows = 64;
// Floats between staged rows: chosen so that the 32 lanes of a warp, which take their weights in another order than
// memory has them, meet few equal banks. Forward a lane steps through rows by 1, backward by 2.
constexpr int kForwardStride = kBlockColumns + 4;
constexpr int kBackwardStride = kBlockColumns + 1;

constexpr int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
constexpr int lstm_cluster_blocks(int units) { return units / kBlockUnits; }
// The stage, and later in its place: forward two buffers of h; backward dz of the block's columns, and two buffers of
// the partial dh from each block of the cluster.
constexpr int64_t lstm_forward_shared_bytes(int units) {
  return larger(4 * kStagedRows * kForwardStride, 2 * 16 * units);
}
constexpr int64_t lstm_backward_shared_bytes(int units) {
  return larger(4 * kStagedRows * kBackwardStride, 16 * (kBlockColumns + 2 * lstm_cluster_blocks(units) * kBlockUnits));
}

// The recurrence with products in bfloat16, which the tensor cores make of eight rows of the batch at a time: twice the
// rows, and as many registers for twice the units.
constexpr int kBfloat16ClusterRows = 8;
// Floats between staged rows: see above.
constexpr int kBfloat16StageStride = kBlockColumns + 1;
// Numbers left free between the rows of an operand in shared memory, whose size is a multiple of 64. Eight lanes that
// read 16 bytes each, four of them in either of two rows, then meet every bank once.
constexpr int kOperandPadding = 32;
// Floats between the rows of a part of dh.
constexpr int kPartStride = kBlockUnits + 8;
constexpr int kPart = kBfloat16ClusterRows * kPartStride;

constexpr int64_t lstm_forward_bfloat16_shared_bytes(int units) {
  return larger(4 * kStagedRows * kBfloat16StageStride, 2 * 2 * kBfloat16ClusterRows * (units + kOperandPadding));
}
constexpr int64_t lstm_backward_bfloat16_shared_bytes(int units) {
  return larger(4 * kStagedRows * kBfloat16StageStride, 2 * kBfloat16ClusterRows * (kBlockColumns + kOperandPadding) +
                                                            2 * 4 * lstm_cluster_blocks(units) * kPart);
}

// Softmax cross-entropy: a block a row. The first floats of its shared memory are for sums and maxima over the block,
// two for each warp; the row comes after them.
constexpr int kSoftmaxThreads = 512;
constexpr int kSoftmaxFewThreads = 128;  // for rows up to kSoftmaxFewColumns
constexpr int64_t kSoftmaxFewColumns = 2048;
constexpr int kSoftmaxScratch = 32;
constexpr int64_t softmax_shared_bytes(int64_t cached_columns) { return 4 * (kSoftmaxScratch + cached_columns); }

// Column sums: a block for kSumColumns columns, in which kSumGroups warps share the rows.
constexpr int kSumColumns = 32;
constexpr int kSumGroups = 32;
constexpr int64_t kSumSharedBytes = 4 * kSumColumns * kSumGroups;

struct ColumnSums {
  int64_t rows, columns;
  const float* in;  // [rows, columns]
  float* out;       // [columns]
};

}  // namespace cuda
}  // namespace kerasptb
