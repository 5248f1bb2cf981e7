// What both passes of a layer in bfloat16 share: which thread works on what, and access to weights and gates.
//
// Threads form groups. A group owns some rows of the batch for all steps; each of its members owns some slices, of 32
// units. The members meet at a barrier once per step; a group of one thread needs none. A group multiplies its rows in
// blocks of 32, or of 16 if that takes less time.
//
// Every cell has four blocks of columns of (W | U) and of z, kOfInput and kOfRecurrent saying which of its gates'
// columns of W, and of U, a block has; for -1 it has zeros. So the LSTM's blocks are its gates, and the GRU has the
// candidate's two sums apart. "Packed columns" are these 4H' columns in the order unit / 16, block, unit % 16. Row r of
// x, h, z and dz is r = t B + b throughout.
#pragma once

#include "recurrence/layer.h"
#include "recurrence/steps.h"
#include "common/threads.h"
#include "common/tiles_bfloat16.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

constexpr int kBlocks = LayerSizes::kBlocks;
constexpr int64_t kUnitTile = 16;  // units whose gates are computed together
constexpr int64_t kTileColumns = kBlocks * kUnitTile;
constexpr int64_t kCachedWeights = 3 << 19;  // bytes of weights that stay in a core's L2 cache from step to step
constexpr double kBarrierCycles = 3000;
// Bytes that a core reads per cycle: from L2, from the caches beyond, and of weights of more than kLargeWeights bytes.
constexpr double kL2BytesPerCycle = 32, kBytesPerCycle = 16, kLargeBytesPerCycle = 8;
constexpr double kLargeWeights = 24 << 20;

// ---- who does what ----

struct Layout {
  int groups = 1, members = 1;  // members of each group
  int64_t block_rows = 32;      // 32 or 16
};

// The rough cost, in cycles, of a forward step for the busiest thread: of its tile products, and of reading weights.
// Those are read from L2 for every block of rows or, if they do not stay there, from beyond it once.
struct StepCost {
  double arithmetic, memory;
  bool weights_stay;
};

static StepCost step_cost(const LayerSizes& sizes, int parts, const Layout& layout) {
  const int64_t my_rows = ceil_div(ceil_div(sizes.batch, kRowsTogether), layout.groups) * kRowsTogether;
  const int64_t my_blocks = ceil_div(my_rows, layout.block_rows);
  const int64_t slices = sizes.padded_units() / kBlock;
  const int64_t my_slices = ceil_div(slices, layout.members);
  const double slice_bytes = double(kBlock) * kBlocks * sizes.row_size() * sizeof(bfloat16) * parts;
  const double my_bytes = my_slices * slice_bytes;
  const double products = double(my_rows) / kTileRows * my_slices * (kBlock * kBlocks / kTileRows) *
                          (sizes.row_size() / kTileDepth) * (parts == 2 ? 3 : 1);
  StepCost cost;
  cost.arithmetic = products * kTileProductCycles;
  cost.weights_stay = my_bytes < kCachedWeights;
  const double bytes_per_cycle = slices * slice_bytes > kLargeWeights ? kLargeBytesPerCycle : kBytesPerCycle;
  cost.memory = cost.weights_stay ? my_blocks * my_bytes / kL2BytesPerCycle : my_bytes / bytes_per_cycle;
  return cost;
}

// The layout that takes the least time by this model.
static Layout choose_layout(const LayerSizes& sizes, int parts, int threads) {
  Layout best;
  double best_cycles = 0;
  for (int64_t block_rows = kBlock; block_rows >= kTileRows; block_rows -= kTileRows)
    for (int64_t groups = smaller(threads, ceil_div(sizes.batch, kTileRows)); groups >= 1; --groups) {
      Layout layout;
      layout.block_rows = block_rows;
      layout.groups = static_cast<int>(groups);
      layout.members = static_cast<int>(smaller(threads / groups, sizes.padded_units() / kBlock));
      const StepCost cost = step_cost(sizes, parts, layout);
      const double cycles =
          (cost.arithmetic > cost.memory ? cost.arithmetic : cost.memory) + (layout.members > 1 ? kBarrierCycles : 0);
      if (best_cycles == 0 || cycles < best_cycles) {
        best = layout;
        best_cycles = cycles;
      }
    }
  return best;
}

// A thread's share of the work in the loop over the steps.
struct Share {
  bool idle;
  int group;
  Range rows;    // of the batch
  Range slices;  // of 32 units each
};

static Share share_of(const LayerSizes& sizes, const Layout& layout, int thread) {
  Share share;
  share.group = thread / layout.members;
  share.idle = share.group >= layout.groups;
  const int member = thread % layout.members;
  const Range rows = split(ceil_div(sizes.batch, kRowsTogether), layout.groups, share.group);
  share.rows = {rows.begin * kRowsTogether, smaller(rows.end * kRowsTogether, sizes.batch)};
  share.slices = split(sizes.padded_units() / kBlock, layout.members, member);
  return share;
}

// How many tiles ahead weights are prefetched: packing reads more rows of W at once than the hardware prefetches.
constexpr int64_t kTilesAhead = 2;

// The gate whose masks the operands of a block have.
constexpr int mask_of(int gate) { return gate < 0 ? 0 : gate; }

// [W; U] with its padding: row k < K is row k of W, or row k - padded_features of U, or zero.
template <class C>
struct Weights {
  const float *kernel, *recurrent_kernel;
  int64_t features, padded_features, units;

  // Row k, 16 units of one block: from unit 16 tile on.
  KERASPTB_INLINE_METHOD Float load16(int64_t k, int64_t block, int64_t tile) const {
    const int gate = k < features ? C::kOfInput[block] : C::kOfRecurrent[block];
    if (gate < 0) return Float{};
    const float* row = k < features ? kernel + k * C::kCell.gates * units
                       : k >= padded_features && k < padded_features + units
                           ? recurrent_kernel + (k - padded_features) * C::kCell.gates * units
                           : nullptr;
    if (row == nullptr) return Float{};
    const float* from = row + gate * units + tile * kUnitTile;
    prefetch(from + kTilesAhead * kUnitTile);
    return load(from, lanes_before(tile * kUnitTile, units));
  }
};

// How gates, which are within ±1, are saved for the backward pass. With one part it is 16-bit fixed point: bfloat16 has
// steps of 1/256 just below 1, so 1 - gate, and with it the gradient, would be lost for a gate that is nearly open.
template <int kParts>
struct GateType;
template <>
struct GateType<1> {
  typedef int16_t Type;
  static constexpr float kOne = 32767.0f;
  static constexpr int kNaN = -32768;  // the result of converting a NaN

  static KERASPTB_INLINE_METHOD Float load16(const Type* p) {
    const __m512i x = _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    const Float gates = reinterpret_cast<Float>(_mm512_cvtepi32_ps(x)) * (1.0f / kOne);
    return _mm512_mask_mov_ps(gates, _mm512_cmpeq_epi32_mask(x, _mm512_set1_epi32(kNaN)), splat(__builtin_nanf("")));
  }
  static KERASPTB_INLINE_METHOD void store32(Type* p, Float first, Float second) {
    store16(p, first);
    store16(p + kLanes, second);
  }

 private:
  static KERASPTB_INLINE_METHOD void store16(Type* p, Float gates) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(gates * kOne)));
  }
};
template <>
struct GateType<2> {
  typedef float Type;
  static KERASPTB_INLINE_METHOD Float load16(const Type* p) { return load(p); }
  static KERASPTB_INLINE_METHOD void store32(Type* p, Float first, Float second) {
    store(p, first);
    store(p + kLanes, second);
  }
};

// Stores the parts of 16 numbers.
template <int kParts>
KERASPTB_INLINE void store16_in_parts(bfloat16* p, int64_t part_stride, Float x) {
  const Parts<kParts> parts = split_in_parts<kParts>(x, x);
  for (int part = 0; part < kParts; ++part) store(p + part * part_stride, first_half(parts.part[part]));
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb

// Defines what KERASPTB_DECLARE_CELL declares for bfloat16 (cells/cells.h), of a cell and its struct.
#define KERASPTB_DEFINE_CELL_BFLOAT16(cell, C)                                                                       \
  namespace kerasptb {                                                                                               \
  namespace KERASPTB_LEVEL {                                                                                         \
  void cell##_forward(int parts, const LayerForward& io) { parts == 1 ? forward<C, 1>(io) : forward<C, 2>(io); }     \
  void cell##_backward(int parts, const LayerBackward& io) { parts == 1 ? backward<C, 1>(io) : backward<C, 2>(io); } \
  }                                                                                                                  \
  }
