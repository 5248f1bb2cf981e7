// The backward pass of a cell's recurrence in float32. Shape letters: recurrence.h; a cell's gradients: cells/. In all,
//
//   dh = dh_seq[t] + dz[t+1] U^T, dz being the gradient of h U    (at the last step dh_T in place of the product)
//
// and what a cell carries from step to step besides: the gradient of c, or without a c that of h[t-1] by the other way.
//
// The work is split as in the forward pass. The product dz U^T of a step is in gradient_product.h: with many uses of U
// it is transposed once.
#pragma once

#include <type_traits>

#include "common/product_float32.h"
#include "recurrence/gradient_product.h"
#include "recurrence/layout_float32.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

// The number of uses of U, in tiles of rows, from which transposing it pays.
constexpr int64_t kUsesThatPayTransposing = 16;

// The bias gradients of so many rows are summed before that sum is added to the total: rounding errors of one long sum
// would grow with the number of rows.
constexpr int64_t kSumRows = 24;

// One step's arrays. Row b of the batch is at b times the stride; it has H elements, or GH.
struct BackwardStep {
  KERASPTB_INLINE_METHOD explicit BackwardStep(const SavedOrder& order) : order(order) {}

  SavedOrder order;          // the order of gates and of what the cell keeps
  int64_t units;             // H
  const float* gates;        // columns, order.gates_row
  const float* kept;         // H, order.c_row
  const float* previous;     // H, previous_stride: c[t-1], or without a c h[t-1]
  const float* dh_seq;       // H, seq_stride
  float *dz, *dz_recurrent;  // of the sums of x W and of those of h U, the second only if they are apart, in gate_at
  int64_t rows, first_row;
  float* dz_local;  // GH, local_stride: a copy of the gradient of h U for the product
  float* dh;        // H, h_stride: dz[t+1] U^T
  float* carried;   // H, h_stride: from step t + 1, which becomes that to step t - 1
  StepKinds kinds;
  float* dh_skipped;  // H, h_stride: dh of rows that skip the step; null if none does anything special
  int64_t seq_stride, previous_stride, local_stride, h_stride;

  // Where the vector of a gate that begins at `unit` is in row b of dz: columns, order.gates_row; or, with steps first,
  // `Panels` [rows, GH in packed columns], of which it is row first_row + b.
  KERASPTB_INLINE_METHOD float* gate_at(float* of, int64_t b, int64_t gate, int64_t unit) const {
    const int64_t column = order.at(gate, unit);
    return order.steps_first ? Panels{rows, order.columns, of}.at(column / kPanel, first_row + b) + column % kPanel
                             : of + b * order.gates_row + column;
  }

  // Stores the gradient of a gate's sums, the same of x W and of h U, and adds it to dbias.
  template <bool kTail>
  KERASPTB_INLINE_METHOD void put_gradient(int64_t b, int64_t gate, int64_t u, Float d, float* dbias) const {
    const int64_t lanes = units - u;
    const auto put = [&](float* p, Float x) { kTail ? store(p, x, lanes) : store(p, x); };
    if (order.steps_first)
      store(gate_at(dz, b, gate, u), d);  // whole vectors in panels: past the last unit dz is zero
    else
      put(gate_at(dz, b, gate, u), d);
    put(dz_local + b * local_stride + gate * units + u, d);
    float* total = dbias + gate * units + u;
    put(total, (kTail ? load(total, lanes) : load(total)) + d);
  }
};

// dz and what is carried on, of one vector of units of row b; adds dz to dbias. kTail: fewer than kLanes units are
// left.
template <class C, bool kTail>
KERASPTB_INLINE void gate_gradients(const BackwardStep& s, int64_t b, int64_t u, float* dbias) {
  constexpr int kGates = C::kCell.gates;
  const int64_t H = s.units, lanes = H - u;
  const auto get = [&](const float* p) { return kTail ? load(p, lanes) : load(p); };
  const auto put = [&](float* p, Float x) { kTail ? store(p, x, lanes) : store(p, x); };
  const float* gates_row = s.gates + b * s.order.gates_row;
  float* local = s.dz_local + b * s.local_stride + u;
  float* carried_row = s.carried + b * s.h_stride + u;

  // The next row is too far away for the hardware to prefetch it.
  for (int j = 0; j < kGates; ++j) prefetch(gates_row + s.order.gates_row + s.order.at(j, u));
  prefetch(s.kept + (b + 1) * s.order.c_row + u);
  prefetch(s.dh_seq + (b + 1) * s.seq_stride + u);
  prefetch(s.previous + (b + 1) * s.previous_stride + u);
  for (int j = 0; j < kGates; ++j) prefetch_to_write(s.gate_at(s.dz, b + 1, j, u));

  Float gates[kGates], d[kGates], d_recurrent[kGates];
  for (int j = 0; j < kGates; ++j) gates[j] = get(gates_row + s.order.at(j, u));
  const bool reset = s.kinds.reset(b), skipped = s.kinds.skipped(b);
  Float dh = get(s.dh_seq + b * s.seq_stride + u) + get(s.dh + b * s.h_stride + u);
  const Float kept = get(s.kept + b * s.order.c_row + u);
  const Float previous = reset ? Float{} : get(s.previous + b * s.previous_stride + u);
  const Float carried_here = get(carried_row);
  if (!C::kCell.has_c) dh += carried_here;
  Float carried = carried_here;
  C::backward(gates, kept, previous, dh, carried, d, d_recurrent);
  if (skipped) {
    for (int j = 0; j < kGates; ++j) d[j] = d_recurrent[j] = Float{};
    carried = C::kCell.has_c ? carried_here : Float{};
    put(s.dh_skipped + b * s.h_stride + u, dh);
  }
  put(carried_row, reset ? Float{} : carried);
  const auto put_gradient = [&](float* p, Float x) __attribute__((always_inline)) {
    s.order.steps_first ? store(p, x) : put(p, x);  // whole vectors in panels: past the last unit dz is zero
  };
  for (int j = 0; j < kGates; ++j) {
    const Float of_product = C::kCell.apart() ? d_recurrent[j] : d[j];
    put_gradient(s.gate_at(s.dz, b, j, u), d[j]);
    if (C::kCell.apart()) put_gradient(s.gate_at(s.dz_recurrent, b, j, u), of_product);
    put(local + j * H, of_product);
    for (int i = 0; i < C::kCell.biases; ++i) {
      float* total = dbias + (i * kGates + j) * H + u;
      put(total, get(total) + (i == 0 ? d[j] : d_recurrent[j]));
    }
  }
}

template <class C>
KERASPTB_NOINLINE void gate_gradients(const BackwardStep& s, Range rows, Range units, float* dbias) {
  for (int64_t b = rows.begin; b < rows.end; ++b) {
    int64_t u = units.begin;
    for (; u + kLanes <= units.end; u += kLanes) gate_gradients<C, false>(s, b, u, dbias);
    if (u < units.end) gate_gradients<C, true>(s, b, u, dbias);
  }
}

// Of a cell of two products: dz of the second, and of the gates of the first that need no gradient of its operand.
template <class C, bool kTail>
KERASPTB_INLINE void second_gradients(const BackwardStep& s, int64_t b, int64_t u, float* dbias) {
  constexpr int kLast = C::kCell.gates - 1;
  const int64_t lanes = s.units - u;
  const auto get = [&](const float* p) { return kTail ? load(p, lanes) : load(p); };
  const auto put = [&](float* p, Float x) { kTail ? store(p, x, lanes) : store(p, x); };
  const float* gates_row = s.gates + b * s.order.gates_row;
  float* carried = s.carried + b * s.h_stride + u;
  const bool reset = s.kinds.reset(b), skipped = s.kinds.skipped(b);
  const Float z = get(gates_row + s.order.at(0, u)), g = get(gates_row + s.order.at(kLast, u));
  const Float h_previous = reset ? Float{} : get(s.previous + b * s.previous_stride + u);
  const Float dh = get(s.dh_seq + b * s.seq_stride + u) + get(s.dh + b * s.h_stride + u) + get(carried);
  Float d_z = Float{}, d_g = Float{};
  if (skipped)
    put(s.dh_skipped + b * s.h_stride + u, dh);
  else
    C::Second::backward(z, g, h_previous, dh, d_z, d_g);
  put(carried, reset || skipped ? Float{} : dh * z);
  s.put_gradient<kTail>(b, 0, u, d_z, dbias);
  s.put_gradient<kTail>(b, kLast, u, d_g, dbias);
}

// And then, dh being the gradient of the second product's operand, dz of the gate that makes it.
template <class C, bool kTail>
KERASPTB_INLINE void first_gradients(const BackwardStep& s, int64_t b, int64_t u, float* dbias) {
  const int64_t lanes = s.units - u;
  const auto get = [&](const float* p) { return kTail ? load(p, lanes) : load(p); };
  const auto put = [&](float* p, Float x) { kTail ? store(p, x, lanes) : store(p, x); };
  const auto masked = [&](Float x) { return s.kinds.masked(x, b, u, smaller(lanes, kLanes), C::kCell.gates - 1); };
  float* carried = s.carried + b * s.h_stride + u;
  const Float r = get(s.gates + b * s.order.gates_row + s.order.at(1, u)), dq = get(s.dh + b * s.h_stride + u);
  const bool reset = s.kinds.reset(b);
  const Float operand = reset ? Float{} : masked(get(s.previous + b * s.previous_stride + u));
  if (!reset) put(carried, get(carried) + masked(dq * r));
  s.put_gradient<kTail>(b, 1, u, C::First::backward(r, operand, dq), dbias);
}

// Calls function(row, unit, whether fewer than kLanes units are left) for each vector of a part.
template <class Function>
KERASPTB_INLINE void for_each_vector(Range rows, Range units, const Function& function) {
  for (int64_t b = rows.begin; b < rows.end; ++b) {
    int64_t u = units.begin;
    for (; u + kLanes <= units.end; u += kLanes) function(b, u, std::false_type());
    if (u < units.end) function(b, u, std::true_type());
  }
}

// dh[t-1] in the place of the gradient of the operand of U. Those of the gates, if each has its own, lie one after the
// other, mask_stride apart.
KERASPTB_NOINLINE void state_gradients(const BackwardStep& s, Range rows, Range units, int64_t masks,
                                       int64_t mask_stride) {
  for (int64_t b = rows.begin; b < rows.end; ++b)
    for (int64_t u = units.begin; u < units.end; u += kLanes) {
      const int64_t lanes = lanes_before(u, units.end);
      float* dh = s.dh + b * s.h_stride + u;
      Float by_operands = Float{};
      for (int64_t g = 0; g < masks; ++g)
        by_operands += s.kinds.masked(load(dh + g * mask_stride, lanes), b, u, lanes, g);
      store(dh, s.kinds.gradient(by_operands, load(s.dh_skipped + b * s.h_stride + u, lanes), b), lanes);
    }
}

// By the threads of the caller. Its scratch memory stays taken.
template <class C>
KERASPTB_NOINLINE void recurrence_backward(const RecurrenceBackward& a, Workers& workers) {
  constexpr int kGates = C::kCell.gates, kBiasRows = C::kCell.biases * kGates;
  const int64_t B = a.batch, T = a.steps, H = a.units, columns = kGates * H;
  const int64_t h_stride = padded(H), local_stride = padded(columns);
  const SavedOrder order(kGates, a.steps_first, B, T, H);
  const ThreadGrid grid = choose_thread_grid(workers.count(), B, H, kGates, kLanes, tile_rows(kGates));
  const int threads = grid.row_parts * grid.unit_parts;

  const int64_t masks = a.special.masks(C::First::kCount), mask_stride = B * h_stride;
  float* dh = workers.scratch<float>(masks * mask_stride);
  float* carried = workers.scratch<float>(B * h_stride);
  float* local[2] = {workers.scratch<float>(B * local_stride), workers.scratch<float>(B * local_stride)};
  float* dh_skipped = a.special.any() ? workers.scratch<float>(B * h_stride) : nullptr;
  float* dbias = workers.scratch<float>(2 * grid.row_parts * kBiasRows * H);
  const int64_t vectors = ceil_div(H, kLanes);
  float* packed = nullptr;
  if ((a.dh0 != nullptr ? T : T - 1) * tiles_of(B, grid, tile_rows(4)) >= kUsesThatPayTransposing)
    packed = workers.scratch<float>(vectors * (columns + 1) * kLanes);
  Barrier all(threads);
  Barrier* step_barriers = workers.barriers(grid.row_parts, grid.unit_parts);

  workers.run([&](int thread) {
    if (thread >= threads) return;
    const Part part(grid, thread, B, H);
    float* my_dbias = dbias + part.row_part * kBiasRows * H;
    float* recent_dbias = my_dbias + grid.row_parts * kBiasRows * H;
    for (int g = 0; g < kBiasRows; ++g) {
      memset(my_dbias + g * H + part.units.begin, 0, part.units.size() * sizeof(float));
      memset(recent_dbias + g * H + part.units.begin, 0, part.units.size() * sizeof(float));
    }
    int64_t num_recent = 0;
    if (packed != nullptr) {
      transpose_kernel(a.recurrent_kernel, packed, H, columns, split(vectors, threads, thread));
      all.wait();
    }
    copy_rows(dh, h_stride, a.dh_T, H, part.rows, part.units);
    if (C::kCell.has_c)
      copy_rows(carried, h_stride, a.dc_T, H, part.rows, part.units);
    else
      for (int64_t b = part.rows.begin; b < part.rows.end; ++b)
        memset(carried + b * h_stride + part.units.begin, 0, part.units.size() * sizeof(float));
    for (int64_t t = T - 1; t >= 0; --t) {
      BackwardStep step(order);
      step.units = H;
      step.gates = a.gates + t * order.gates_of_step;
      step.kept = a.c_seq + t * order.c_of_step;
      if (C::kCell.has_c) {
        step.previous = t == 0 ? a.c0 : a.c_seq + (t - 1) * order.c_of_step;
        step.previous_stride = t == 0 ? H : order.c_row;
      } else {
        step.previous = t == 0 ? a.h0 : a.h_seq + (t - 1) * H;
        step.previous_stride = t == 0 ? H : T * H;
      }
      step.dh_seq = a.dh_seq + t * H;
      step.seq_stride = T * H;
      const int64_t of_step = a.steps_first ? 0 : t * order.gates_of_step;
      step.dz = a.dz + of_step;
      if (C::kCell.apart()) step.dz_recurrent = a.dz_recurrent + of_step;
      step.rows = B * T;
      step.first_row = t * B;
      step.dz_local = local[t & 1];
      step.local_stride = local_stride;
      step.dh = dh;
      step.carried = carried;
      step.h_stride = h_stride;
      step.kinds = {a.special, T, H, t};
      step.dh_skipped = dh_skipped;
      ProductStep product;
      product.dz = local[t & 1];
      product.dz_stride = local_stride;
      product.kernel = a.recurrent_kernel;
      product.packed = packed;
      product.units = H;
      product.size = columns;
      product.dh_stride = h_stride;
      if constexpr (C::kCell.second_gates > 0) {
        for_each_vector(part.rows, part.units, [&](int64_t b, int64_t u, auto tail) {
          second_gradients<C, decltype(tail)::value>(step, b, u, recent_dbias);
        });
        if (grid.unit_parts > 1) step_barriers[part.row_part].wait();
        product.dh = dh;
        product.columns = {C::Second::kFirst * H, columns};
        recurrent_gradient(product, part.rows, part.panels);
        for_each_vector(part.rows, part.units, [&](int64_t b, int64_t u, auto tail) {
          first_gradients<C, decltype(tail)::value>(step, b, u, recent_dbias);
        });
      } else {
        gate_gradients<C>(step, part.rows, part.units, recent_dbias);
      }
      num_recent += part.rows.size();
      if (t == 0 || num_recent >= kSumRows) {
        for (int g = 0; g < kBiasRows; ++g) {
          const int64_t j = g * H + part.units.begin;
          add_and_clear(my_dbias + j, recent_dbias + j, part.units.size());
        }
        num_recent = 0;
      }
      if (t == 0 && a.dh0 == nullptr) break;
      if (grid.unit_parts > 1) step_barriers[part.row_part].wait();
      for (int64_t i = 0; i < masks; ++i) {
        product.dh = dh + i * mask_stride;
        product.columns = split(C::First::kCount * H, masks, i);
        recurrent_gradient(product, part.rows, part.panels);
      }
      if (dh_skipped != nullptr) state_gradients(step, part.rows, part.units, masks, mask_stride);
    }
    if (C::kCell.has_c)
      copy_rows(a.dc0, H, carried, h_stride, part.rows, part.units);
    else
      for (int64_t b = part.rows.begin; b < part.rows.end; ++b)
        for (int64_t u = part.units.begin; u < part.units.end; ++u) dh[b * h_stride + u] += carried[b * h_stride + u];
    if (a.dh0 != nullptr) copy_rows(a.dh0, H, dh, h_stride, part.rows, part.units);
    all.wait();
    const Range biases = split(kBiasRows * H, threads, thread);
    for (int64_t j = biases.begin; j < biases.end; ++j) {
      float total = 0;
      for (int i = 0; i < grid.row_parts; ++i) total += dbias[i * kBiasRows * H + j];
      a.dbias[j] = total;
    }
  });
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
