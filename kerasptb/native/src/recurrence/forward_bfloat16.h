// The forward pass of a layer in bfloat16. Shape letters: layer.h; a cell's equations: cells/; which thread does what:
// layout_bfloat16.h.
//
// [W; U] is packed once. Each step multiplies the rows (x(t) | h(t-1)) by it, tile by tile of 16 units, and computes
// the gates of a tile from its sums. If reading the weights takes most of a step's time, x W is computed for all steps
// ahead of the recurrence. In inference there is one c, and no gates are stored.
#pragma once

#include "recurrence/layout_bfloat16.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

constexpr int64_t kSumsOfTile = kBlocks * 2 * kTileRows * kUnitTile;  // of 32 rows and the gates of a tile of units

template <class C, int kParts>
struct Forward {
  typedef GateType<kParts> Gate;

  const LayerForward& io;
  const LayerSizes& sizes = io.sizes;
  const bool saves = io.gates != nullptr;
  const Layout layout;
  const int64_t units = sizes.units, padded_units = sizes.padded_units();
  const int64_t row_size = sizes.row_size(), row_stride = sizes.row_stride(), padded_features = row_size - padded_units;
  const int64_t tiles = sizes.unit_tiles();
  const int64_t weights_part_stride = row_size * kBlocks * padded_units,
                rows_part_stride = sizes.num_rows() * row_stride;
  const int64_t operand_stride = kParts * rows_part_stride;  // from the rows of a gate to those of the next
  // Operands of each gate are multiplied with 32 units of it, so with padding.
  const int64_t packed_tiles = sizes.operands == 1 ? tiles : padded_units / kUnitTile;
  bfloat16* const packed;  // [H' / 16][K / 32][gate][paired tile]: [W; U], as B
  bfloat16* const rows;    // as `rows` of layer.h
  float* const cells;      // [B, H'], at cells_of_step from a step to the next
  const int64_t cells_of_step = saves ? sizes.batch * padded_units : 0;
  float* const input_sums;  // [T B + 32][4H'], packed columns: x W if it is computed ahead, else null

  Forward(const LayerForward& io, Workers& workers)
      : io(io),
        layout(choose_layout(sizes, kParts, workers.count())),
        packed(workers.scratch<bfloat16>(kParts * weights_part_stride)),
        rows(saves ? io.rows : workers.scratch<bfloat16>(sizes.operands * operand_stride)),
        cells(saves ? io.cells : workers.scratch<float>(sizes.batch * padded_units)),
        input_sums(inputs_ahead()
                       ? workers.scratch<float>((sizes.steps * sizes.batch + kBlock) * kBlocks * padded_units)
                       : nullptr) {}

  // Whether reading weights takes longer than multiplying: x W is then computed ahead, so that each step reads U alone.
  bool inputs_ahead() const {
    const StepCost cost = step_cost(sizes, kParts, layout);
    return sizes.steps > 1 && sizes.operands == 1 && !cost.weights_stay && cost.memory > cost.arithmetic;
  }

  void pack_weights(Range some) const {
    const Weights<C> weights{io.kernel, io.recurrent_kernel, sizes.features, padded_features, units};
    // The outer loop is over k, to read along the rows of W: the elements of a column are pages apart.
    for (int64_t k_tile = 0; k_tile < row_size / kTileDepth; ++k_tile)
      for (int64_t tile = some.begin; tile < some.end; ++tile)
        for (int64_t pair = 0; pair < kTileDepth / 2; ++pair)
          for (int64_t gate = 0; gate < kBlocks; ++gate) {
            const int64_t k = k_tile * kTileDepth + 2 * pair;
            const Parts<kParts> parts =
                split_in_parts<kParts>(weights.load16(k, gate, tile), weights.load16(k + 1, gate, tile));
            bfloat16* to =
                packed + ((tile * (row_size / kTileDepth) + k_tile) * kBlocks + gate) * kTileSize + pair * 32;
            for (int part = 0; part < kParts; ++part)
              store(to + part * weights_part_stride, pair_rows(parts.part[part]));
          }
  }

  void copy_inputs(Range some) const {
    for (int64_t r = some.begin; r < some.end; ++r) {
      if (tiles * kUnitTile < padded_units) clear_padding(r);
      const int64_t t = r / sizes.batch, b = r % sizes.batch;
      const float* x = io.x + (b * sizes.steps + t) * sizes.features;
      for (int64_t operand = 0; operand < sizes.operands; ++operand)
        for (int64_t d = 0; d < padded_features; d += kLanes) {
          const int64_t lanes = lanes_before(d, sizes.features);
          const float* mask = input_mask(operand, b);
          store16_in_parts<kParts>(rows + operand * operand_stride + r * row_stride + d, rows_part_stride,
                                   mask == nullptr ? load(x + d, lanes) : load(x + d, lanes) * load(mask + d, lanes));
        }
    }
  }

  const float* input_mask(int64_t operand, int64_t b) const {
    const float* masks = io.special.input_mask;
    return masks == nullptr ? nullptr : masks + (mask_of(C::kOfInput[operand]) * sizes.batch + b) * sizes.features;
  }

  // Stores h(t), of 16 units of row b, as the operands of step t + 1. r: the row of step t.
  KERASPTB_INLINE_METHOD void store_operands(const StepKinds& next, int64_t r, int64_t b, int64_t u, Float h) const {
    for (int64_t operand = 0; operand < sizes.operands; ++operand)
      store16_in_parts<kParts>(rows + operand * operand_stride + (r + sizes.batch) * row_stride + padded_features + u,
                               rows_part_stride,
                               next.operand(h, b, u, lanes_before(u, units), mask_of(C::kOfRecurrent[operand])));
  }

  // Where the gates of row r and the 16 units of a tile are saved.
  typename Gate::Type* gates_at(int64_t r, int64_t tile) const {
    return static_cast<typename Gate::Type*>(io.gates) + r * kBlocks * padded_units + tile * kTileColumns;
  }

  StepKinds kinds(int64_t t) const { return {io.special, sizes.steps, units, t}; }

  // Where h(t - 1) of row b is.
  const float* h_before(int64_t t, int64_t b) const {
    return t == 0 ? io.h0 + b * units : io.h_seq + (b * sizes.steps + t - 1) * units;
  }

  // Where c(t - 1) of row b is; or, of step t - 1, what else the cell keeps.
  float* cells_at(int64_t t, int64_t b) const { return cells + t * cells_of_step + b * padded_units; }

  // Zeroes the last 16 of the padded units in h, c and gates that row r gives: no product computes them.
  void clear_padding(int64_t r) const {
    const int64_t u = tiles * kUnitTile;
    store_operands({{}, sizes.steps, units, 0}, r, 0, u, Float{});
    if (!saves) return;
    store(cells + (r + sizes.batch) * padded_units + u, Float{});
    typename Gate::Type* saved = gates_at(r, tiles);
    for (int gate = 0; gate < kBlocks; gate += 2) Gate::store32(saved + gate * kLanes, Float{}, Float{});
  }

  void copy_initial_state(Range batch) const {
    for (int64_t b = batch.begin; b < batch.end; ++b)
      for (int64_t u = 0; u < padded_units; u += kLanes) {
        const int64_t lanes = lanes_before(u, units);
        store_operands(kinds(0), b - sizes.batch, b, u, load(io.h0 + b * units + u, lanes));
        if (C::kCell.has_c) store(cells_at(0, b) + u, load(io.c0 + b * units + u, lanes));
      }
  }

  // Where the sums of the four gates are, for some rows and the 16 units of a tile.
  struct Sums {
    float* data;
    int64_t row_size, gate_size;  // elements to the next row, to the next gate

    float* at(int64_t row, int64_t gate) const { return data + row * row_size + gate * gate_size; }
    SumTiles of_16_rows() const { return {{at(0, 0), at(0, 1), at(0, 2), at(0, 3)}, row_size}; }
    SumTiles of_two_gates(int64_t gate) const {
      return {{at(0, gate), at(0, gate + 1), at(kTileRows, gate), at(kTileRows, gate + 1)}, row_size};
    }
  };
  Sums input_sums_of(int64_t r, int64_t tile) const {
    if (input_sums == nullptr) return {nullptr, 0, 0};  // x W was not computed ahead
    return {input_sums + r * kBlocks * padded_units + tile * kTileColumns, kBlocks * padded_units, kUnitTile};
  }

  // to = from (0 if null) + (x | h) [W; U] for the rows from r on and the 16 units of a tile, over a range of tiles of
  // k.
  void products(int64_t r, int64_t num_rows, int64_t tile, Range depth, const Sums* from, const Sums& to) const {
    const Operand inputs = rows_operand(rows + r * row_stride + depth.begin * kTileDepth, row_stride, rows_part_stride);
    const Operand columns{packed + (tile * (row_size / kTileDepth) + depth.begin) * kBlocks * kTileSize, kTileSize, 64,
                          kBlocks * kTileSize, weights_part_stride};
    if (num_rows <= kTileRows) {
      const SumTiles before = from == nullptr ? SumTiles{} : from->of_16_rows();
      multiply_16_rows<kParts, 4>(depth.size(), num_rows, inputs, columns, from == nullptr ? nullptr : &before,
                                  to.of_16_rows());
      return;
    }
    for (int64_t gate = 0; gate < kBlocks; gate += 2) {
      Operand two_gates = columns;
      two_gates.data += gate * kTileSize;
      const SumTiles before = from == nullptr ? SumTiles{} : from->of_two_gates(gate);
      multiply_32x32<kParts>(depth.size(), num_rows, inputs, two_gates, from == nullptr ? nullptr : &before,
                             to.of_two_gates(gate));
    }
  }

  // x W of all steps.
  void input_products(Range some) const {
    const int64_t num_rows = sizes.steps * sizes.batch;
    for (int64_t tile = some.begin; tile < some.end; ++tile)
      for (int64_t r = 0; r < num_rows; r += kBlock)
        products(r, smaller(kBlock, num_rows - r), tile, {0, padded_features / kTileDepth}, nullptr,
                 input_sums_of(r, tile));
  }

  // Prefetches where `gates` will store its results, to arrive during the products: each is a cache line or two of a
  // row far away from the next.
  void prefetch_results(int64_t t, int64_t b, int64_t num_rows, int64_t tile) const {
    const int64_t u = tile * kUnitTile;
    constexpr int64_t kGatesOfLine = 64 / sizeof(typename Gate::Type);
    for (int64_t row = 0; row < num_rows; ++row) {
      const int64_t r = t * sizes.batch + b + row;
      prefetch_to_write(cells_at(t + 1, b + row) + u);
      prefetch_to_write(io.h_seq + ((b + row) * sizes.steps + t) * units + u);
      prefetch_to_write(rows + (r + sizes.batch) * row_stride + padded_features + u);
      if (!saves) continue;
      const typename Gate::Type* saved = gates_at(r, tile);
      for (int64_t i = 0; i < kTileColumns; i += kGatesOfLine) prefetch_to_write(saved + i);
    }
  }

  // Gates, c(t) and h(t) of the rows b .. b + num_rows - 1 of step t.
  void gates(int64_t t, int64_t b, int64_t num_rows, int64_t tile, const float* z) const {
    const int64_t u = tile * kUnitTile, lanes = lanes_before(u, units);
    constexpr int kGates = C::kCell.gates;
    Float bias[C::kCell.biases][kGates];
    for (int64_t i = 0; i < C::kCell.biases; ++i)
      for (int64_t gate = 0; gate < kGates; ++gate)
        bias[i][gate] = load(io.bias + (i * kGates + gate) * units + u, lanes);
    const StepKinds kinds_now = kinds(t), kinds_next = kinds(t + 1);
    for (int64_t row = 0; row < num_rows; ++row) {
      const int64_t r = t * sizes.batch + b + row;
      const float* sums = z + row * kUnitTile;
      constexpr int64_t kBlockSize = 2 * kTileRows * kUnitTile;
      Float input[kGates], recurrent[kGates], values[kBlocks] = {}, of_gates[kGates], kept, h;
      for (int gate = 0; gate < kGates; ++gate) {
        input[gate] = load(sums + gate * kBlockSize);
        recurrent[gate] = bias[0][gate];
      }
      if constexpr (C::kCell.apart()) {
        for (int gate = 0; gate < kGates; ++gate) recurrent[gate] += bias[1][gate];
        input[kGates - 1] += bias[0][kGates - 1];
        recurrent[kGates - 1] = load(sums + (kBlocks - 1) * kBlockSize) + bias[1][kGates - 1];
      }
      const bool reset = kinds_now.reset(b + row), skipped = kinds_now.skipped(b + row);
      Float h_previous = Float{}, c_previous = Float{};
      if ((!C::kCell.has_c || skipped) && !reset) h_previous = load(h_before(t, b + row) + u, lanes);
      if (C::kCell.has_c && !reset) c_previous = load(cells_at(t, b + row) + u);
      C::forward(input, recurrent, h_previous, c_previous, of_gates, kept, h);
      if (skipped) {
        h = h_previous;
        if (C::kCell.has_c) kept = c_previous;
      }
      // Zero in the units of padding: their weights are zero, but times an infinite input that would be NaN.
      for (int gate = 0; gate < kGates; ++gate) values[gate] = first_lanes(of_gates[gate], lanes);
      kept = first_lanes(kept, lanes);
      h = first_lanes(h, lanes);
      if (C::kCell.has_c || saves) store(cells_at(t + 1, b + row) + u, kept);
      store_operands(kinds_next, r, b + row, u, h);
      if (saves) {
        typename Gate::Type* saved = gates_at(r, tile);
        Gate::store32(saved, values[0], values[1]);
        Gate::store32(saved + 2 * kLanes, values[2], values[3]);
      }
      if (lanes == 0) continue;
      store(io.h_seq + ((b + row) * sizes.steps + t) * units + u, h, lanes);
      if (t == sizes.steps - 1) {
        store(io.h_T + (b + row) * units + u, h, lanes);
        if (C::kCell.has_c) store(io.c_T + (b + row) * units + u, kept, lanes);
      }
    }
  }

  // z[tile of the slice][gate][row][unit] of one gate and the 32 units of a slice, from the gate's own operand.
  void products_of_gate(int64_t r, int64_t num_rows, int64_t slice, int64_t gate, float* z) const {
    const int64_t tile_stride = row_size / kTileDepth * kBlocks * kTileSize;
    const Operand inputs = rows_operand(rows + gate * operand_stride + r * row_stride, row_stride, rows_part_stride);
    const Operand columns{packed + 2 * slice * tile_stride + gate * kTileSize, tile_stride, 64, kBlocks * kTileSize,
                          weights_part_stride};
    float *first = z + gate * 2 * kTileRows * kUnitTile, *second = first + kSumsOfTile;
    const SumTiles sums{{first, second, first + kTileRows * kUnitTile, second + kTileRows * kUnitTile}, kUnitTile};
    if (num_rows <= kTileRows)
      multiply_16_rows<kParts, 2>(row_size / kTileDepth, num_rows, inputs, columns, nullptr, sums);
    else
      multiply_32x32<kParts>(row_size / kTileDepth, num_rows, inputs, columns, nullptr, sums);
  }

  void recurrence_of_gates(const Share& share, Barrier* barrier) const {
    alignas(64) float z[2 * kSumsOfTile];
    for (int64_t t = 0; t < sizes.steps; ++t) {
      for (int64_t slice = share.slices.begin; slice < share.slices.end; ++slice)
        for (int64_t b = share.rows.begin; b < share.rows.end; b += layout.block_rows) {
          const int64_t num_rows = smaller(layout.block_rows, share.rows.end - b);
          for (int64_t gate = 0; gate < kBlocks; ++gate)
            products_of_gate(t * sizes.batch + b, num_rows, slice, gate, z);
          for (int64_t tile = 2 * slice; tile < smaller(2 * slice + 2, tiles); ++tile)
            gates(t, b, num_rows, tile, z + tile % 2 * kSumsOfTile);
        }
      if (layout.members > 1) barrier->wait();
    }
  }

  void recurrence(const Share& share, Barrier* barrier) const {
    if (sizes.operands > 1) return recurrence_of_gates(share, barrier);
    alignas(64) float z[kSumsOfTile];
    const Sums sums{z, kUnitTile, 2 * kTileRows * kUnitTile};
    const Range depth{input_sums == nullptr ? 0 : padded_features / kTileDepth, row_size / kTileDepth};
    for (int64_t t = 0; t < sizes.steps; ++t) {
      for (int64_t tile = 2 * share.slices.begin; tile < smaller(2 * share.slices.end, tiles); ++tile)
        for (int64_t b = share.rows.begin; b < share.rows.end; b += layout.block_rows) {
          const int64_t r = t * sizes.batch + b, num_rows = smaller(layout.block_rows, share.rows.end - b);
          const Sums inputs = input_sums_of(r, tile);
          prefetch_results(t, b, num_rows, tile);
          products(r, num_rows, tile, depth, input_sums == nullptr ? nullptr : &inputs, sums);
          gates(t, b, num_rows, tile, z);
        }
      if (layout.members > 1) barrier->wait();
    }
  }
};

template <class C, int kParts>
void forward(const LayerForward& io) {
  Workers workers(io.sizes.operations(LayerSizes::kBlocks));
  const Forward<C, kParts> task(io, workers);
  const LayerSizes& sizes = io.sizes;
  Barrier& all = *workers.barriers(1, workers.count());
  Barrier* barriers = workers.barriers(task.layout.groups, task.layout.members);
  workers.run([&](int thread) {
    const int count = workers.count();
    const Tiles tiles;
    task.pack_weights(split(task.packed_tiles, count, thread));
    task.copy_inputs(split(sizes.steps * sizes.batch, count, thread));
    task.copy_initial_state(split(sizes.batch, count, thread));
    all.wait();
    if (task.input_sums != nullptr) {
      task.input_products(split(task.tiles, count, thread));
      all.wait();
    }
    const Share share = share_of(sizes, task.layout, thread);
    if (!share.idle) task.recurrence(share, &barriers[share.group]);
  });
}

}  // namespace
}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
