// Row r = t B + b of x, h, z and dz is step t of row b of the batch, and z and dz have packed columns. The product x W
// is made for the distinct rows of x alone, and so is dW = x^T dz, after rows of dz that belong to equal rows of x have
// been added up.
#include "recurrence/layer_float32.h"

#include "common/product_float32.h"
#include "recurrence/distinct_rows.h"
#include "recurrence/layout_float32.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

// The rows of x to multiply: all of them, unless so many repeat that this saves more time than it costs. Comparing rows
// of x, and adding up rows of dz, take about as long as so many of the D products of each row.
KERASPTB_NOINLINE DistinctRows rows_to_multiply(const float* x, int64_t batch, int64_t steps, int64_t features,
                                                Workers& workers) {
  constexpr int64_t kProductsOfRepeat = 64;
  return DistinctRows(x, batch, steps, features, ceil_div(kProductsOfRepeat * batch * steps, features), workers);
}

// Adds up the rows, of a part of the panels, that are the same distinct row. The sums become the panels' first rows.
KERASPTB_NOINLINE void add_up_equal_rows(const Panels& panels, Range some, const DistinctRows& distinct) {
  const int32_t* of_row = distinct.of_row();
  for (int64_t panel = some.begin; panel < some.end; ++panel) {
    int64_t seen = 0;
    for (int64_t row = 0; row < panels.rows; ++row) {
      const bool first = of_row[row] == seen;
      seen += first;
      const float* from = panels.at(panel, row);
      float* to = panels.at(panel, of_row[row]);  // not after `from`, so nothing is overwritten that is still to come
      for (int64_t j = 0; j < kPanel; j += kLanes)
        store(to + j, first ? load(from + j) : load(to + j) + load(from + j));
    }
  }
}

}  // namespace

void layer_forward(const Cell& cell, const LayerForward& a, ForwardRecurrence recurrence) {
  const int64_t B = a.sizes.batch, T = a.sizes.steps, D = a.sizes.features, H = a.sizes.units;
  float* saved_gates = static_cast<float*>(a.gates);
  const PackedColumns gates{cell.gates, H};
  const int64_t columns = gates.count();
  Workers workers(a.sizes.operations(cell.gates));
  const int threads = workers.count();
  const DistinctRows distinct = rows_to_multiply(a.x, B, T, D, workers);
  // xz is written where the gates will be, if these are saved and it has a row for each of theirs.
  const bool in_place = saved_gates != nullptr && !distinct.any_repeats();
  float* xz = in_place ? saved_gates : workers.scratch<float>(distinct.count() * columns);
  const int64_t deepest = block_depth(D);
  const Panels kernel{deepest, columns, workers.scratch<float>(Panels::floats(deepest, columns))};
  float* tiles = workers.scratch<float>(threads * kTileFloats);
  Barrier& all = *workers.barriers(1, threads);
  workers.run([&](int thread) {
    const auto x_row = [&](int64_t i) {
      const int64_t row = distinct.first(i);
      return a.x + (row % B * T + row / B) * D;
    };
    for_each_block(D, [&](Range k, bool first) {
      if (!first) all.wait();
      kernel.pack_rows(a.kernel + k.begin * cell.gates * H, cell.gates * H, gates, k.size(), thread, threads);
      all.wait();
      const auto pack = [&](Range some, float* to) { pack_tiles_of_rows(x_row, distinct.count(), some, k, to); };
      multiply<TileForm::kRows>(
          distinct.count(), pack, kernel, 0, k.size(), first, [&](int64_t i) { return xz + i * columns; },
          PlainColumns{columns}, tiles + thread * kTileFloats, thread, threads);
    });
  });
  RecurrenceForward r = {};
  r.batch = B;
  r.steps = T;
  r.units = H;
  r.xz = xz;
  r.xz_row = distinct.of_row();
  r.recurrent_kernel = a.recurrent_kernel;
  r.bias = a.bias;
  r.h0 = a.h0;
  r.c0 = a.c0;
  r.h_seq = a.h_seq;
  r.h_T = a.h_T;
  r.c_T = a.c_T;
  r.gates = saved_gates;
  r.c_seq = a.cells;
  r.steps_first = true;
  r.special = a.special;
  recurrence(r, workers);
}

void layer_backward(const Cell& cell, const LayerBackward& a, BackwardRecurrence recurrence) {
  const int64_t B = a.sizes.batch, T = a.sizes.steps, D = a.sizes.features, H = a.sizes.units, rows = B * T;
  const PackedColumns gates{cell.gates, H};
  const int64_t columns = gates.count();
  Workers workers(2 * a.sizes.operations(cell.gates));
  const int threads = workers.count();
  const Panels dz{rows, columns, workers.scratch<float>(Panels::floats(rows, columns))};
  Panels dz_recurrent = dz;
  if (cell.apart()) dz_recurrent.data = workers.scratch<float>(Panels::floats(rows, columns));
  RecurrenceBackward r = {};
  r.batch = B;
  r.steps = T;
  r.units = H;
  r.recurrent_kernel = a.recurrent_kernel;
  r.gates = static_cast<const float*>(a.gates);
  r.c_seq = a.cells;
  r.c0 = a.c0;
  r.dh_seq = a.dh_seq;
  r.dh_T = a.dh_T;
  r.dc_T = a.dc_T;
  r.dz = dz.data;
  r.dz_recurrent = dz_recurrent.data;
  r.dbias = a.d_bias;
  r.dc0 = a.dc0;
  r.dh0 = a.dh0;
  r.h0 = a.h0;
  r.h_seq = a.h_seq;
  r.steps_first = true;
  r.special = a.special;
  recurrence(r, workers);

  const DistinctRows distinct = rows_to_multiply(a.x, B, T, D, workers);
  const int64_t deepest = block_depth(columns);
  const Panels kernel{deepest, D, workers.scratch<float>(Panels::floats(deepest, D))};
  float* tiles = workers.scratch<float>(threads * kTileFloats);
  float* operands = a.special.any() ? workers.scratch<float>(rows * H) : nullptr;  // of U, if they are not all h[t-1]
  Barrier& all = *workers.barriers(1, threads);
  workers.run([&](int thread) {
    float* my_tiles = tiles + thread * kTileFloats;
    if (operands != nullptr)  // dU needs them all, which is after a barrier
      for (int64_t t = 0; t < T; ++t)
        copy_operands(operands + t * B * H, H, t == 0 ? a.h0 : a.h_seq + (t - 1) * H, t == 0 ? H : T * H,
                      split(B, threads, thread), {0, H}, {a.special, T, H, t});
    const auto in_batch = [&](int64_t row) { return row % B * T + row / B; };
    // dx = dz W^T
    for_each_block(columns, [&](Range k, bool first) {
      if (!first) all.wait();
      kernel.pack_columns(a.kernel, cell.gates * H, gates, k, thread, threads);
      all.wait();
      multiply_panels(
          dz, k, kernel, [&](int64_t row) { return a.dx + in_batch(row) * D; }, PlainColumns{D}, my_tiles, thread,
          threads);
    });
    // out [m, GH] = A^T dz from the rows k of dz, of which A's are at a_row(row)
    const auto multiply_by = [&](const Panels& dz, int64_t m, const auto& a_row, Range k, bool first, float* out,
                                 const PackedColumns& gates) {
      const auto pack = [&](Range some, float* to) { pack_tiles_of_columns(a_row, m, some, k, to); };
      multiply<TileForm::kColumns>(
          m, pack, dz, k.begin, k.size(), first, [&](int64_t i) { return out + i * cell.gates * H; }, gates, my_tiles,
          thread, threads);
    };
    const auto x_row = [&](int64_t i) { return a.x + in_batch(distinct.first(i)) * D; };
    const auto h_row = [&](int64_t row) {
      if (operands != nullptr) return static_cast<const float*>(operands) + row * H;
      return row < B ? a.h0 + row * H : a.h_seq + in_batch(row - B) * H;
    };
    const auto q_row = [&](int64_t row) { return a.cells + row * H; };  // the operand of a second product
    // dU = h[t-1]^T dz, dW = x^T dz
    for_each_block(rows, [&](Range k, bool first) {
      if (!distinct.any_repeats()) multiply_by(dz, D, x_row, k, first, a.d_kernel, gates);
      if (cell.second_gates > 0) {
        PackedColumns of_first = gates, of_second = gates;
        of_first.last = of_second.first = cell.gates - cell.second_gates;
        multiply_by(dz, H, h_row, k, first, a.d_recurrent_kernel, of_first);
        multiply_by(dz, H, q_row, k, first, a.d_recurrent_kernel, of_second);
      } else {
        multiply_by(dz_recurrent, H, h_row, k, first, a.d_recurrent_kernel, gates);
      }
    });
    if (!distinct.any_repeats()) return;
    all.wait();
    add_up_equal_rows(dz, split(dz.count(), threads, thread), distinct);
    all.wait();
    for_each_block(distinct.count(),
                   [&](Range k, bool first) { multiply_by(dz, D, x_row, k, first, a.d_kernel, gates); });
  });
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
