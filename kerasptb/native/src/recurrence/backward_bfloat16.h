// The backward pass of a layer in bfloat16. Shape letters: layer.h; a cell's gradients: cells/; which thread does what:
// layout_bfloat16.h.
//
// The transpose of [W; U] is packed once. The recurrence, from the last step to the first, computes dz(t) from the
// saved gates and dh(t-1) = dz(t) U^T. Then all steps together: dx = dz W^T, and [dW; dU] = (x | h)^T dz, some rows at
// a time.
//
// The columns of dz are in the order unit / 32, gate, unit % 32: so a tile of a product has columns of one gate, and if
// each gate has operands of its own, the products of each are made apart and its masks are applied to them.
#include "recurrence/layout_bfloat16.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

// Rows r whose products are summed into dW in one pass over it.
constexpr int64_t kRowsAtOnce = 2048;
// Blocks of 32 columns of dW that use a transposed block of inputs while it is in the L2 cache.
constexpr int64_t kColumnsAtOnce = 4;
// Bytes of weights that each block of rows of dx is multiplied with before the next block of rows: they stay in L2.
constexpr int64_t kWeightsAtOnce = 1 << 20;

template <class C, int kParts>
struct Backward {
  typedef GateType<kParts> Gate;

  const LayerBackward& io;
  const LayerSizes& sizes = io.sizes;
  const Layout layout;
  const int64_t units = sizes.units, padded_units = sizes.padded_units(), columns = kBlocks * padded_units;
  const int64_t row_size = sizes.row_size(), row_stride = sizes.row_stride(), padded_features = row_size - padded_units;
  const int64_t num_rows = sizes.steps * sizes.batch, dz_stride = spread(columns);
  const int64_t max_rows = smaller(round_up(num_rows, kTileDepth), kRowsAtOnce);
  const int64_t packed_part_stride = row_size * columns, dz_part_stride = (num_rows + kBlock) * dz_stride;
  const int64_t inputs_part_stride = max_rows * row_size, dh_stride = round_up(sizes.batch, kBlock) * padded_units;
  const int64_t packed_dz_part_stride = kColumnsAtOnce * kBlock * max_rows;
  bfloat16* const packed;             // [K / 16][4H' / 32][paired tile]: the transpose of [W; U], as B
  bfloat16* const dz;                 // [T B + 32][4H']
  bfloat16* const inputs_transposed;  // [K / 16][rows / 32][16 k][32 rows]: as A of dW
  float *const dh, *const carried;    // [B rounded up to 32][H']; `carried` as in backward_float32.h
  float* const dh_skipped;            // [B][H']: dh of rows that skip a step; null if no step is special
  float* const d_bias;                // [groups][4H'], packed columns
  bfloat16* const packed_dz;  // [threads][kColumnsAtOnce 32 / 16][rows / 32][paired tile]: columns of dz, as B of dW

  Backward(const LayerBackward& io, Workers& workers)
      : io(io),
        layout(choose_layout(sizes, kParts, workers.count())),
        packed(workers.scratch<bfloat16>(kParts * packed_part_stride)),
        dz(workers.scratch<bfloat16>(kParts * dz_part_stride)),
        inputs_transposed(workers.scratch<bfloat16>(sizes.operands * kParts * inputs_part_stride)),
        dh(workers.scratch<float>(sizes.operands * dh_stride)),
        carried(workers.scratch<float>(dh_stride)),
        dh_skipped(io.special.any() ? workers.scratch<float>(sizes.batch * padded_units) : nullptr),
        d_bias(workers.scratch<float>(layout.groups * columns)),
        packed_dz(workers.scratch<bfloat16>(workers.count() * kParts * packed_dz_part_stride)) {}

  void pack_weights(Range k_tiles) const {
    const Weights<C> weights{io.kernel, io.recurrent_kernel, sizes.features, padded_features, units};
    for (int64_t k_tile = k_tiles.begin; k_tile < k_tiles.end; ++k_tile)
      for (int64_t block = 0; block < columns / kBlock; ++block) {
        const int64_t tile = block / kBlocks * 2, gate = block % kBlocks;
        __m512i rows[kParts][kTileRows];
        for (int64_t i = 0; i < kTileRows; ++i) {
          const int64_t k = k_tile * kTileRows + i;
          const Parts<kParts> parts =
              split_in_parts<kParts>(weights.load16(k, gate, tile), weights.load16(k, gate, tile + 1));
          for (int part = 0; part < kParts; ++part) rows[part][i] = parts.part[part];
        }
        bfloat16* to = packed + (k_tile * (columns / kBlock) + block) * kTileSize;
        for (int part = 0; part < kParts; ++part) {
          transpose(rows[part]);
          for (int64_t i = 0; i < kTileRows; ++i) store(to + part * packed_part_stride + i * kTileDepth, rows[part][i]);
        }
      }
  }

  void start(const Share& share) const {
    for (int64_t b = share.rows.begin; b < share.rows.end; ++b)
      for (int64_t u = share.slices.begin * kBlock; u < share.slices.end * kBlock; u += kLanes) {
        const int64_t lanes = lanes_before(u, units);
        store(dh + b * padded_units + u, load(io.dh_T + b * units + u, lanes));
        store(carried + b * padded_units + u, C::kCell.has_c ? load(io.dc_T + b * units + u, lanes) : Float{});
      }
    for (int64_t j = share.slices.begin * kBlock * kBlocks; j < share.slices.end * kBlock * kBlocks; j += kLanes)
      store(d_bias + share.group * columns + j, Float{});
  }

  // dz(t) and what is carried on for some rows of the batch and some tiles of units; adds dz to the group's db.
  void gates(int64_t t, Range batch, Range some, float* d_bias_of_group) const {
    for (int64_t b = batch.begin; b < batch.end; ++b)
      for (int64_t tile = some.begin; tile < some.end; ++tile) gates_of_tile(t, b, tile, d_bias_of_group);
  }

  KERASPTB_INLINE_METHOD void gates_of_tile(int64_t t, int64_t b, int64_t tile, float* d_bias_of_group) const {
    const int64_t u = tile * kUnitTile, lanes = lanes_before(u, units), r = t * sizes.batch + b;
    const float* upstream_row = io.dh_seq + (b * sizes.steps + t) * units + u;
    prefetch(upstream_row + sizes.steps * units);  // the next b: too far away for the hardware to prefetch it
    const auto* saved = static_cast<const typename Gate::Type*>(io.gates) + r * columns + tile * kTileColumns;
    constexpr int kGates = C::kCell.gates;
    Float gates[kGates], of_input[kGates], of_recurrent[kGates];
    for (int gate = 0; gate < kGates; ++gate) gates[gate] = Gate::load16(saved + gate * kLanes);
    const StepKinds kinds{io.special, sizes.steps, units, t};
    const bool reset = kinds.reset(b), skipped = kinds.skipped(b);
    const float* cell = io.cells + r * padded_units + u;
    Float previous = Float{};
    if (!reset) previous = C::kCell.has_c ? load(cell) : lanes == 0 ? Float{} : load(h_before(t, b) + u, lanes);
    const Float kept = load(cell + sizes.batch * padded_units);
    float* carried_row = carried + b * padded_units + u;
    const Float upstream = lanes == 0 ? Float{} : load(upstream_row, lanes), carried_here = load(carried_row);
    Float dh_t = upstream + load(dh + b * padded_units + u), carried_on = carried_here;
    if (!C::kCell.has_c) dh_t += carried_here;
    C::backward(gates, kept, previous, dh_t, carried_on, of_input, of_recurrent);
    Float d[kBlocks];
    for (int block = 0; block < kBlocks; ++block)
      d[block] = C::kOfInput[block] >= 0       ? of_input[C::kOfInput[block]]
                 : C::kOfRecurrent[block] >= 0 ? of_recurrent[C::kOfRecurrent[block]]
                                               : Float{};
    if (skipped) {
      for (Float& gradient : d) gradient = Float{};
      carried_on = C::kCell.has_c ? carried_here : Float{};
      store(dh_skipped + b * padded_units + u, dh_t);
    }
    store(carried_row, reset ? Float{} : carried_on);
    bfloat16* dz_of_tile = dz + r * dz_stride + tile / 2 * kBlocks * kBlock + tile % 2 * kUnitTile;
    for (int gate = 0; gate < kBlocks; ++gate)
      store16_in_parts<kParts>(dz_of_tile + gate * kBlock, dz_part_stride, d[gate]);
    float* d_bias_of_tile = d_bias_of_group + tile * kTileColumns;
    for (int gate = 0; gate < kBlocks; ++gate)
      store(d_bias_of_tile + gate * kLanes, load(d_bias_of_tile + gate * kLanes) + d[gate]);
  }

  // c [32][32], with a row stride, = dz of the rows from r on, times the transpose of rows 32 k_block .. 32 k_block +
  // 31 of [W; U]; if each gate has its own operands, of one gate. The first `wanted` rows are wanted.
  void products(int64_t r, int64_t wanted, int64_t k_block, int64_t gate, float* c, int64_t c_row_stride) const {
    Operand rows = rows_operand(dz + r * dz_stride + gate * kTileDepth, dz_stride, dz_part_stride);
    Operand weights =
        paired_operand(packed + k_block * kBlock * columns + gate * kTileSize, columns, packed_part_stride);
    const int64_t gates_apart = sizes.operands == 1 ? 1 : kBlocks;
    rows.depth_stride *= gates_apart;
    weights.depth_stride *= gates_apart;
    const int64_t steps = columns / kTileDepth / gates_apart;
    const SumTiles sums = sums_32x32(c, c_row_stride);
    if (wanted <= kTileRows)
      multiply_16_rows<kParts, 2>(steps, wanted, rows, weights, nullptr, sums);
    else
      multiply_32x32<kParts>(steps, wanted, rows, weights, nullptr, sums);
  }

  void recurrence(const Share& share, Barrier* barrier) const {
    for (int64_t t = sizes.steps - 1; t >= 0; --t) {
      gates(t, share.rows, {2 * share.slices.begin, 2 * share.slices.end}, d_bias + share.group * columns);
      if (layout.members > 1) barrier->wait();
      for (int64_t slice = share.slices.begin; slice < share.slices.end; ++slice)
        for (int64_t b = share.rows.begin; b < share.rows.end; b += layout.block_rows)
          for (int64_t gate = 0; gate < sizes.operands; ++gate)
            products(t * sizes.batch + b, smaller(layout.block_rows, share.rows.end - b),
                     padded_features / kBlock + slice, gate, dh + gate * dh_stride + b * padded_units + slice * kBlock,
                     padded_units);
      if (dh_skipped != nullptr) state_gradients(t, share);
    }
  }

  // dh(t-1) in the place of the gradient of the operand of U.
  void state_gradients(int64_t t, const Share& share) const {
    const StepKinds kinds{io.special, sizes.steps, units, t};
    for (int64_t b = share.rows.begin; b < share.rows.end; ++b)
      for (int64_t u = share.slices.begin * kBlock; u < smaller(share.slices.end * kBlock, units); u += kLanes) {
        float* dh_row = dh + b * padded_units + u;
        Float by_operands = Float{};
        for (int64_t operand = 0; operand < sizes.operands; ++operand)
          by_operands += kinds.masked(load(dh_row + operand * dh_stride), b, u, lanes_before(u, units),
                                      mask_of(C::kOfRecurrent[operand]));
        store(dh_row, kinds.gradient(by_operands, load(dh_skipped + b * padded_units + u), b));
      }
  }

  // dx = dz W^T of all steps: for each group of kWeightsAtOnce bytes of weights, all blocks of 32 rows.
  void input_gradients(int thread, int threads) const {
    const int64_t k_blocks = padded_features / kBlock;
    const int64_t group_size =
        larger(1, smaller(k_blocks, kWeightsAtOnce / (kBlock * columns * int64_t{sizeof(bfloat16)} * kParts)));
    const int64_t groups = ceil_div(k_blocks, group_size), row_blocks = ceil_div(num_rows, kBlock);
    const Range items = split(groups * row_blocks, threads, thread);
    for (int64_t item = items.begin; item < items.end; ++item) {
      const int64_t first = item / row_blocks * group_size, r = item % row_blocks * kBlock;
      for (int64_t k_block = first; k_block < smaller(first + group_size, k_blocks); ++k_block) {
        alignas(64) float product[kBlocks * kBlock * kBlock];
        for (int64_t gate = 0; gate < sizes.operands; ++gate)
          products(r, num_rows - r, k_block, gate, product + gate * kBlock * kBlock, kBlock);
        store_dx({r, smaller(r + kBlock, num_rows)}, k_block, product);
      }
    }
  }

  void store_dx(Range rows, int64_t k_block, const float* product) const {
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      const int64_t t = r / sizes.batch, b = r % sizes.batch;
      for (int64_t d = k_block * kBlock; d < smaller((k_block + 1) * kBlock, sizes.features); d += kLanes) {
        const int64_t lanes = lanes_before(d, sizes.features);
        const float* from = product + (r - rows.begin) * kBlock + d - k_block * kBlock;
        Float sum = Float{};
        for (int64_t operand = 0; operand < sizes.operands; ++operand) {
          const Float dx = load(from + operand * kBlock * kBlock);
          const float* masks = io.special.input_mask;
          sum += masks == nullptr
                     ? dx
                     : dx * load(masks + (mask_of(C::kOfInput[operand]) * sizes.batch + b) * sizes.features + d, lanes);
        }
        store(io.dx + (b * sizes.steps + t) * sizes.features + d, sum, lanes);
      }
    }
  }

  void finish(const Share& share) const {
    for (int64_t b = share.rows.begin; b < share.rows.end; ++b)
      for (int64_t u = share.slices.begin * kBlock; u < smaller(share.slices.end * kBlock, units); u += kLanes) {
        const int64_t lanes = lanes_before(u, units);
        const Float of_h = load(dh + b * padded_units + u), besides = load(carried + b * padded_units + u);
        store(io.dh0 + b * units + u, C::kCell.has_c ? of_h : of_h + besides, lanes);
        if (C::kCell.has_c) store(io.dc0 + b * units + u, besides, lanes);
      }
  }

  // ---- dW = inputs^T dz, over some rows at a time ----

  // Two rows of 16 elements as pairs; rows at or past the end are zero.
  static KERASPTB_INLINE_METHOD Bfloat16x32 row_pair(const bfloat16* p, int64_t row_size, int64_t r, int64_t end) {
    if (r + 1 < end) return pair_rows(join(load_bfloat16x16(p), load_bfloat16x16(p + row_size)));
    return r < end ? pair_rows(join(load_bfloat16x16(p), _mm256_setzero_si256())) : _mm512_setzero_si512();
  }

  void transpose_inputs(Range rows, Range k_tiles) const {
    const int64_t row_blocks = ceil_div(rows.size(), kTileDepth);
    for (int64_t k_tile = k_tiles.begin; k_tile < k_tiles.end; ++k_tile)
      for (int64_t part = 0; part < sizes.operands * kParts; ++part)  // of all operands
        for (int64_t block = 0; block < row_blocks; ++block) {
          const bfloat16* from = io.rows + part * sizes.num_rows() * row_stride + k_tile * kTileRows;
          __m512i pairs[16];
          for (int64_t i = 0; i < 16; ++i) {
            const int64_t r = rows.begin + block * kTileDepth + 2 * i;
            pairs[i] = row_pair(from + r * row_stride, row_stride, r, rows.end);
          }
          transpose(pairs);
          bfloat16* to = inputs_transposed + part * inputs_part_stride + (k_tile * row_blocks + block) * kTileSize;
          for (int64_t i = 0; i < kTileRows; ++i) store(to + i * kTileDepth, pairs[i]);
        }
  }

  void pack_dz(Range rows, int64_t column_tile, bfloat16* to) const {
    for (int part = 0; part < kParts; ++part)
      for (int64_t r = rows.begin; r < rows.begin + round_up(rows.size(), kTileDepth); r += 2)
        store(to + part * packed_dz_part_stride + (r - rows.begin) * kTileRows,
              row_pair(dz + part * dz_part_stride + r * dz_stride + column_tile * kTileRows, dz_stride, r, rows.end));
  }

  // For a block of [dW; dU], 32 rows by 32 packed columns, without its padding: calls function(address in dW or dU,
  // offset in the block, lanes) for each run of up to 16 units.
  template <class Function>
  KERASPTB_INLINE_METHOD void for_each_place(int64_t k_block, int64_t column_block, const Function& function) const {
    for (int64_t row = 0; row < kBlock; ++row) {
      const int64_t k = k_block * kBlock + row;
      const int64_t block = column_block % kBlocks;
      const int gate = k < sizes.features ? C::kOfInput[block] : C::kOfRecurrent[block];
      float* to = k < sizes.features ? io.d_kernel + k * C::kCell.gates * units
                  : k >= padded_features && k < padded_features + units
                      ? io.d_recurrent_kernel + (k - padded_features) * C::kCell.gates * units
                      : nullptr;
      if (to == nullptr || gate < 0) continue;
      for (int64_t half = 0; half < 2; ++half) {
        const int64_t tile = column_block / kBlocks * 2 + half;
        const int64_t lanes = lanes_before(tile * kUnitTile, units);
        if (lanes == 0) continue;
        float* place = to + gate * units + tile * kUnitTile;
        function(place, row * kBlock + half * kLanes, lanes);
      }
    }
  }

  // [dW; dU] of some blocks of 32 packed columns, from the products of `rows`.
  void weight_gradients(Range rows, Range column_blocks, int thread) const {
    bfloat16* my_dz = packed_dz + thread * kParts * packed_dz_part_stride;
    alignas(64) float product[kBlock * kBlock];
    const int64_t row_blocks = ceil_div(rows.size(), kTileDepth), padded_rows = row_blocks * kTileDepth;
    for (int64_t first = column_blocks.begin; first < column_blocks.end; first += kColumnsAtOnce) {
      const int64_t last = smaller(first + kColumnsAtOnce, column_blocks.end);
      for (int64_t tile = 2 * first; tile < 2 * last; ++tile)
        pack_dz(rows, tile, my_dz + (tile - 2 * first) * padded_rows * kTileRows);
      for (int64_t k_block = 0; k_block < row_size / kBlock; ++k_block) {
        for (int64_t column_block = first; column_block < last; ++column_block) {
          const int64_t operand = sizes.operands == 1 ? 0 : column_block % kBlocks;
          const Operand inputs{
              inputs_transposed + operand * kParts * inputs_part_stride + k_block * kBlock * padded_rows,
              kTileRows * padded_rows, 64, kTileSize, inputs_part_stride};
          // Prefetches the next block: with few rows, a product takes less time than a read from memory.
          for_each_place(k_block + 1, column_block, [](float* place, int64_t, int64_t) { prefetch_to_write(place); });
          multiply_32x32<kParts>(
              row_blocks, kBlock, inputs,
              paired_operand(my_dz + (column_block - first) * kBlock * padded_rows, padded_rows, packed_dz_part_stride),
              nullptr, sums_32x32(product, kBlock));
          for_each_place(k_block, column_block, [&](float* place, int64_t offset, int64_t lanes) {
            const Float sum = load(product + offset);
            store(place, rows.begin > 0 ? sum + load(place, lanes) : sum, lanes);
          });
        }
      }
    }
  }

  void bias_gradients() const {
    for (int64_t tile = 0; tile < padded_units / kUnitTile; ++tile)
      for (int64_t block = 0; block < kBlocks; ++block) {
        const int64_t lanes = lanes_before(tile * kUnitTile, units);
        if (lanes == 0) continue;
        Float sum = Float{};
        for (int group = 0; group < layout.groups; ++group)
          sum += load(d_bias + group * columns + tile * kTileColumns + block * kLanes);
        const int gates[] = {C::kOfInput[block], C::kOfRecurrent[block]};
        for (int i = 0; i < C::kCell.biases; ++i)
          if (gates[i] >= 0) store(io.d_bias + (i * C::kCell.gates + gates[i]) * units + tile * kUnitTile, sum, lanes);
      }
  }

  // Where h(t - 1) of row b is.
  const float* h_before(int64_t t, int64_t b) const {
    return t == 0 ? io.h0 + b * units : io.h_seq + (b * sizes.steps + t - 1) * units;
  }
};

template <class C, int kParts>
void backward(const LayerBackward& io) {
  Workers workers(2 * io.sizes.operations(LayerSizes::kBlocks));
  const int count = workers.count();
  const Backward<C, kParts> task(io, workers);
  Barrier& all = *workers.barriers(1, count);
  Barrier* barriers = workers.barriers(task.layout.groups, task.layout.members);
  workers.run([&](int thread) {
    const Tiles tiles;
    const Share share = share_of(io.sizes, task.layout, thread);
    task.pack_weights(split(task.row_size / kTileRows, count, thread));
    if (!share.idle) task.start(share);
    all.wait();
    if (!share.idle) {
      task.recurrence(share, &barriers[share.group]);
      task.finish(share);
    }
    all.wait();
    if (thread == 0) task.bias_gradients();
    task.input_gradients(thread, count);
    for (int64_t first = 0; first < task.num_rows; first += kRowsAtOnce) {
      const Range rows{first, smaller(first + kRowsAtOnce, task.num_rows)};
      task.transpose_inputs(rows, split(task.row_size / kTileRows, count, thread));
      all.wait();
      task.weight_gradients(rows, split(task.columns / kBlock, count, thread), thread);
      all.wait();
    }
  });
}

}  // namespace
}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
