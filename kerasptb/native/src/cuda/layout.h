// What the kernels and their launchers on the host have to agree on: how the work is split over blocks, and the shared
// memory that a block needs. Plain C++, compiled on both sides. Sizes are in bytes where a name ends in `bytes`: 4 for
// a float, 16 for a float4, 2 for a bfloat16.
#pragma once

#include <cstdint>

namespace kerasptb {
namespace cuda {

// The recurrence. A cluster of H / kBlockUnits thread blocks computes kClusterRows rows of the batch for all steps;
// each of its blocks owns kBlockUnits units, that is kBlockColumns columns of the recurrent kernel. A float4 holds one
// number for each of the rows.
constexpr int kBlockUnits = 32;
constexpr int kBlockColumns = 4 * kBlockUnits;
constexpr int kClusterRows = 4;
constexpr int kLstmThreads = 256;  // of a block
static_assert(kClusterRows == 4, "a float4");
static_assert(kLstmThreads == 8 * kBlockUnits, "forward: eight lanes for a unit");
static_assert(kLstmThreads >= kClusterRows * kBlockUnits, "backward: a thread for a unit and row");

// Rows of the recurrent kernel that are staged in shared memory at a time, on their way into registers.
constexpr int kStagedRows = 64;
static_assert(kStagedRows % (kLstmThreads / kBlockColumns) == 0, "threads copy whole rows");
// Floats between staged rows: chosen so that few of the 32 lanes of a warp, which read their weights in another
// order than they lie in memory, read from the same bank at once. Forward a lane steps through rows by 1, backward
// by 2.
constexpr int kForwardStride = kBlockColumns + 4;
constexpr int kBackwardStride = kBlockColumns + 1;

constexpr int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
constexpr int lstm_cluster_blocks(int units) { return units / kBlockUnits; }
// Shared memory holds the staged rows first. Later, in their place, it holds forward: two buffers of h [H] in float4;
// backward: dz of the block's columns in float4, and two buffers of the parts of dh [blocks of the
// cluster][kBlockUnits].
constexpr int64_t lstm_forward_shared_bytes(int units) {
  return larger(4 * kStagedRows * kForwardStride, 2 * 16 * units);
}
constexpr int64_t lstm_backward_shared_bytes(int units) {
  return larger(4 * kStagedRows * kBackwardStride, 16 * (kBlockColumns + 2 * lstm_cluster_blocks(units) * kBlockUnits));
}

// The recurrence with products in bfloat16. The tensor cores multiply eight rows of the batch at a time, so a cluster
// has eight; and two weights share a register, so the same registers serve twice the units.
constexpr int kBfloat16ClusterRows = 8;
static_assert(kLstmThreads == 32 * kBfloat16ClusterRows && kBlockUnits == 32,
              "backward: a warp for a row, a lane for a unit");
// Floats between staged rows: see above.
constexpr int kBfloat16StageStride = kBlockColumns + 1;
// Padding, in bfloat16, after each row of an operand in shared memory, whose size is a multiple of 64. With it eight
// lanes that read 16 bytes each, four from one row and four from the next, read from every bank once.
constexpr int kOperandPadding = 32;
// Floats between the rows of a part of dh, and of the whole part.
constexpr int kPartStride = kBlockUnits + 8;
constexpr int kPart = kBfloat16ClusterRows * kPartStride;

constexpr int64_t lstm_forward_bfloat16_shared_bytes(int units) {
  return larger(4 * kStagedRows * kBfloat16StageStride, 2 * 2 * kBfloat16ClusterRows * (units + kOperandPadding));
}
constexpr int64_t lstm_backward_bfloat16_shared_bytes(int units) {
  return larger(4 * kStagedRows * kBfloat16StageStride, 2 * kBfloat16ClusterRows * (kBlockColumns + kOperandPadding) +
                                                            2 * 4 * lstm_cluster_blocks(units) * kPart);
}

// Softmax cross-entropy: one block for each row. Its shared memory begins with kSoftmaxScratch floats for sums and
// maxima over the block, two for each warp; the row follows.
constexpr int kSoftmaxThreads = 512;
constexpr int kSoftmaxFewThreads = 128;  // for rows up to kSoftmaxFewColumns
constexpr int64_t kSoftmaxFewColumns = 2048;
constexpr int kSoftmaxScratch = 32;
static_assert(kSoftmaxScratch >= 2 * kSoftmaxThreads / 32);
constexpr int64_t softmax_shared_bytes(int64_t cached_columns) { return 4 * (kSoftmaxScratch + cached_columns); }

// Column sums: one block for every kSumColumns columns, in which kSumGroups warps share the rows.
constexpr int kSumColumns = 32;
constexpr int kSumGroups = 32;
static_assert(kSumColumns * kSumGroups <= 1024, "the most threads of a block");
constexpr int64_t kSumSharedBytes = 4 * kSumColumns * kSumGroups;

struct ColumnSums {
  int64_t rows, columns;
  const float* in;  // [rows, columns]
  float* out;       // [columns]
};

}  // namespace cuda
}  // namespace kerasptb
