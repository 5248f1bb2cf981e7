// What both passes of the LSTM layer in bfloat16 share: who works on what, and access to weights and gates.
//
// Threads form groups: a group owns some rows of the batch for all steps, its members some slices each, of 32 units. A
// group of one never waits; larger ones meet at a barrier once a step. A group's rows are multiplied in blocks of 32,
// or of 16 where that is enough.
//
// Packed columns: 4H' columns in the order unit / 16, gate, unit % 16. Row r = t B + b throughout.
#pragma once

#include "lstm_bfloat16.h"
#include "threads.h"
#include "tiles_bfloat16.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

constexpr int kGates = 4;
constexpr int64_t kUnitTile = 16;  // units whose gates are computed together
constexpr int64_t kTileColumns = kGates * kUnitTile;
constexpr int64_t kCachedWeights = 3 << 19;  // bytes of weights that stay in a core's L2 cache from step to step
constexpr double kLargeWeights = 24 << 20;   // bytes that every cache level feels
constexpr double kBarrierCycles = 3000;

// ---- who does what ----

struct Layout {
  int groups = 1, members = 1;
  int64_t block_rows = 32;
};

// Rough cycles of a forward step for the busiest thread: its tile products, and its reading of weights, from L2 for
// every block of rows or, if they do not stay there, from beyond it once.
struct StepCost {
  double arithmetic, memory;
  bool weights_stay;
};

static StepCost step_cost(const LstmBfloat16Sizes& sizes, int parts, const Layout& layout) {
  const int64_t my_rows = ceil_div(ceil_div(sizes.batch, kRowsTogether), layout.groups) * kRowsTogether;
  const int64_t my_blocks = ceil_div(my_rows, layout.block_rows);
  const int64_t slices = sizes.padded_units() / kBlock;
  const int64_t my_slices = ceil_div(slices, layout.members);
  const double slice_bytes = double(kBlock) * kGates * sizes.row_size() * 2 * parts;
  const double my_bytes = my_slices * slice_bytes;
  const double products = double(my_rows) / kTileRows * my_slices * (kBlock * kGates / kTileRows) *
                          (sizes.row_size() / kTileDepth) * (parts == 2 ? 3 : 1);
  StepCost cost;
  cost.arithmetic = products * kTileProductCycles;
  cost.weights_stay = my_bytes < kCachedWeights;
  const double bytes_per_cycle = slices * slice_bytes > kLargeWeights ? 8 : 16;
  cost.memory = cost.weights_stay ? my_blocks * my_bytes / 32 : my_bytes / bytes_per_cycle;
  return cost;
}

static Layout choose_layout(const LstmBfloat16Sizes& sizes, int parts, int threads) {
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

// What one thread does in the loop over the steps.
struct Share {
  bool idle;
  int group;
  Range rows, slices;  // of the batch, and of 32 units
};

static Share share_of(const LstmBfloat16Sizes& sizes, const Layout& layout, int thread) {
  Share share;
  share.group = thread / layout.members;
  share.idle = share.group >= layout.groups;
  const int member = thread % layout.members;
  const Range rows = split(ceil_div(sizes.batch, kRowsTogether), layout.groups, share.group);
  share.rows = {rows.begin * kRowsTogether, smaller(rows.end * kRowsTogether, sizes.batch)};
  share.slices = split(sizes.padded_units() / kBlock, layout.members, member);
  return share;
}

// Packing walks along more rows of W at once than the processor foresees.
constexpr int64_t kTilesAhead = 2;

// 16 weights of a gate: row k of [W; U], from unit 16 tile; 0 in the padding.
struct Weights {
  const float *kernel, *recurrent_kernel;
  int64_t features, padded_features, units;

  KERASPTB_INLINE_METHOD Float load16(int64_t k, int64_t gate, int64_t tile) const {
    const float* row = k < features ? kernel + k * kGates * units
                       : k >= padded_features && k < padded_features + units
                           ? recurrent_kernel + (k - padded_features) * kGates * units
                           : nullptr;
    if (row == nullptr) return Float{};
    const float* from = row + gate * units + tile * kUnitTile;
    prefetch(from + kTilesAhead * kUnitTile);
    return load(from, lanes_before(tile * kUnitTile, units));
  }
};

// How gates, which are within ±1, are kept for the backward pass. In one part it is fixed point of 16 bits: bfloat16
// has steps of 1/256 below 1, so that of a gate that is nearly open 1 - gate would be lost, and with it the gradient.
template <int kParts>
struct GateType;
template <>
struct GateType<1> {
  typedef int16_t Type;
  static constexpr float kOne = 32767.0f;
  static constexpr int kNaN = -32768;  // what the conversions make of one

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

template <int kParts>
KERASPTB_INLINE void store16_in_parts(bfloat16* p, int64_t part_stride, Float x) {
  const Parts<kParts> parts = split_in_parts<kParts>(x, x);
  for (int part = 0; part < kParts; ++part) store(p + part * part_stride, first_half(parts.part[part]));
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
