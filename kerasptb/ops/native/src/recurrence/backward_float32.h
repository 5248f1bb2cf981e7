// The backward pass of a cell's recurrence in float32. Shape letters: recurrence.h; a cell's gradients: cells/. In all,
//
//   dh = dh_seq[t] + dz[t+1] U^T, dz being the gradient of h U    (at the last step dh_T in place of the product)
//
// and what a cell carries from step to step besides: the gradient of c, or without a c that of h[t-1] by the other way.
//
// The work is split as in the forward pass. The product dz U^T of a step is computed in one of two ways: with many uses
// of U it is transposed once and multiplied by register tiles (packed_tile); with few, each element of dh is a dot
// product of a row of dz and a row of U in place (dot_tile).
#pragma once

#include <type_traits>

#include "common/product_float32.h"
#include "recurrence/layout_float32.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

// The number of uses of U, in tiles of rows, from which transposing it pays.
constexpr int64_t kUsesThatPayTransposing = 16;

// The bias gradients of so many rows are summed before that sum is added to the total: rounding errors of one long sum
// would grow with the number of rows.
constexpr int64_t kSumRows = 24;

// One step's arrays. Row b of the batch is at b times the stride; it has H elements, or GH.
template <int kGates>
struct BackwardStep {
  KERASPTB_INLINE_METHOD explicit BackwardStep(const SavedOrder<kGates>& order) : order(order) {}

  SavedOrder<kGates> order;  // the order of gates and of what the cell keeps
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
KERASPTB_INLINE void gate_gradients(const BackwardStep<C::kCell.gates>& s, int64_t b, int64_t u, float* dbias) {
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
KERASPTB_NOINLINE void gate_gradients(const BackwardStep<C::kCell.gates>& s, Range rows, Range units, float* dbias) {
  for (int64_t b = rows.begin; b < rows.end; ++b) {
    int64_t u = units.begin;
    for (; u + kLanes <= units.end; u += kLanes) gate_gradients<C, false>(s, b, u, dbias);
    if (u < units.end) gate_gradients<C, true>(s, b, u, dbias);
  }
}

// Of a cell of two products: dz of the second, and of the gates of the first that need no gradient of its operand.
template <class C, bool kTail>
KERASPTB_INLINE void second_gradients(const BackwardStep<C::kCell.gates>& s, int64_t b, int64_t u, float* dbias) {
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
  s.template put_gradient<kTail>(b, 0, u, d_z, dbias);
  s.template put_gradient<kTail>(b, kLast, u, d_g, dbias);
}

// And then, dh being the gradient of the second product's operand, dz of the gate that makes it.
template <class C, bool kTail>
KERASPTB_INLINE void first_gradients(const BackwardStep<C::kCell.gates>& s, int64_t b, int64_t u, float* dbias) {
  const int64_t lanes = s.units - u;
  const auto get = [&](const float* p) { return kTail ? load(p, lanes) : load(p); };
  const auto put = [&](float* p, Float x) { kTail ? store(p, x, lanes) : store(p, x); };
  const auto masked = [&](Float x) { return s.kinds.masked(x, b, u, smaller(lanes, kLanes), C::kCell.gates - 1); };
  float* carried = s.carried + b * s.h_stride + u;
  const Float r = get(s.gates + b * s.order.gates_row + s.order.at(1, u)), dq = get(s.dh + b * s.h_stride + u);
  const bool reset = s.kinds.reset(b);
  const Float operand = reset ? Float{} : masked(get(s.previous + b * s.previous_stride + u));
  if (!reset) put(carried, get(carried) + masked(dq * r));
  s.template put_gradient<kTail>(b, 1, u, C::First::backward(r, operand, dq), dbias);
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
template <int kGates>
KERASPTB_NOINLINE void state_gradients(const BackwardStep<kGates>& s, Range rows, Range units, int64_t masks,
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

// The product of a step: dh[b, u] = sum over k of dz[b, k] U[u, k], in blocks of k.
struct ProductStep {
  const float* dz;      // row b at b * dz_stride
  const float* kernel;  // U [H, GH], dense
  const float* packed;  // U^T: vector v of units as [k][lane] at v * (size + 1) * kLanes; null: use `kernel`
  float* dh;            // row b at b * dh_stride
  int64_t units, size;  // H, GH
  int64_t dz_stride, dh_stride;
  Range columns;  // those of U to multiply with
  Range k;        // the block of them
};

// With U^T packed: R rows of the batch by N vectors of units. With each k, kLanes floats of `ahead` are prefetched.
template <int R, int N>
KERASPTB_NOINLINE void packed_tile(const ProductStep& s, int64_t row, int64_t vector, const float* ahead) {
  const int64_t vector_stride = (s.size + 1) * kLanes;
  const float* z = s.dz + row * s.dz_stride;
  const float* w = s.packed + vector * vector_stride + s.k.begin * kLanes;
  float* out = s.dh + row * s.dh_stride + vector * kLanes;
  for (int64_t begin = s.k.begin; begin < s.k.end; begin += kSumBlock) {
    const int64_t end = begin + kSumBlock < s.k.end ? begin + kSumBlock : s.k.end;
    Float acc[R][N] = {};
    for (int64_t k = begin; k < end; ++k) {
      Float x[R];
      for (int r = 0; r < R; ++r) x[r] = splat(z[r * s.dz_stride + k]);
      prefetch_into_l2(ahead + k * kLanes);
#pragma GCC unroll 16
      for (int n = 0; n < N; ++n) {
        const Float b = load(w + n * vector_stride);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) acc[r][n] += x[r] * b;
      }
      w += kLanes;
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
      for (int n = 0; n < N; ++n) {
        float* p = out + r * s.dh_stride + n * kLanes;
        store(p, begin == s.columns.begin ? acc[r][n] : load(p) + acc[r][n]);
      }
  }
}

template <int R>
KERASPTB_INLINE void packed_vectors(const ProductStep& s, int64_t tile, int64_t row, Range vectors) {
  const auto next = [&](int64_t v) { return s.packed + (v + 4 + tile % 4) * (s.size + 1) * kLanes; };
  int64_t v = vectors.begin;
  for (; v + 4 <= vectors.end; v += 4) packed_tile<R, 4>(s, row, v, next(v));
  switch (vectors.end - v) {
    case 3: return packed_tile<R, 3>(s, row, v, next(v));
    case 2: return packed_tile<R, 2>(s, row, v, next(v));
    case 1: return packed_tile<R, 1>(s, row, v, next(v));
  }
}

// With U in place: R rows of the batch by N units, each a dot product with a row of U.
template <int R, int N>
KERASPTB_NOINLINE void dot_tile(const ProductStep& s, int64_t row, int64_t unit) {
  static_assert(N == 1 || N == 4);
  const float* z = s.dz + row * s.dz_stride;
  const float* w = s.kernel + unit * s.size;
  Float acc[R][4] = {};
  int64_t k = s.k.begin;
  const auto step = [&](const auto& get) __attribute__((always_inline)) {
    Float x[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) x[r] = get(z + r * s.dz_stride + k);
#pragma GCC unroll 16
    for (int n = 0; n < N; ++n) {
      const Float b = get(w + n * s.size + k);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) acc[r][n] += x[r] * b;
    }
  };
  for (; k + kLanes <= s.k.end; k += kLanes)
    step([](const float* p) __attribute__((always_inline)) { return load(p); });
  if (const int64_t lanes = s.k.end - k; lanes > 0)
    step([lanes](const float* p) __attribute__((always_inline)) { return load(p, lanes); });
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    float total[4];
    sums(acc[r], total);
    float* out = s.dh + (row + r) * s.dh_stride + unit;
#pragma GCC unroll 16
    for (int n = 0; n < N; ++n) out[n] = s.k.begin == s.columns.begin ? total[n] : out[n] + total[n];
  }
}

template <int R>
KERASPTB_INLINE void dot_units(const ProductStep& s, int64_t row, Range vectors, int64_t units) {
  const int64_t end = vectors.end * kLanes < units ? vectors.end * kLanes : units;
  int64_t u = vectors.begin * kLanes;
  for (; u + 4 <= end; u += 4) dot_tile<R, 4>(s, row, u);
  for (; u < end; ++u) dot_tile<R, 1>(s, row, u);
}

// The product in blocks of k and of units: 256 KB of U, which stay in the L2 cache for all tiles of rows.
KERASPTB_NOINLINE void recurrent_gradient(ProductStep s, Range rows, Range vectors) {
  constexpr int kMaxRows = tile_rows(4);
  constexpr int64_t kBlockDepth = 1024, kBlockUnits = 64;
  static_assert(kBlockDepth % kSumBlock == 0 && kBlockUnits % kLanes == 0);
  for (int64_t begin = s.columns.begin; begin < s.columns.end; begin += kBlockDepth) {
    s.k = {begin, smaller(begin + kBlockDepth, s.columns.end)};
    for (int64_t first = vectors.begin; first < vectors.end; first += kBlockUnits / kLanes) {
      const int64_t end = first + kBlockUnits / kLanes;
      const Range block{first, end < vectors.end ? end : vectors.end};
      for_each_tile<kMaxRows>(rows.size(), [&](auto height, int64_t tile, int64_t row) {
        if (s.packed != nullptr)
          packed_vectors<height>(s, tile, rows.begin + row, block);
        else
          dot_units<height>(s, rows.begin + row, block, s.units);
      });
    }
  }
}

// packed[v][k][lane] = U[v kLanes + lane, k], zero past the last unit. A vector of padding follows each [GH][kLanes],
// lest all begin at multiples of 4 KB.
KERASPTB_NOINLINE void transpose_kernel(const float* kernel, float* packed, int64_t units, int64_t size,
                                        Range vectors) {
  for (int64_t v = vectors.begin; v < vectors.end; ++v)
    pack_transposed<kLanes>(kernel + v * kLanes * size, size, units - v * kLanes, size,
                            packed + v * (size + 1) * kLanes);
}

// By the threads of the caller. Its scratch memory stays taken.
template <class C>
KERASPTB_NOINLINE void recurrence_backward(const RecurrenceBackward& a, Workers& workers) {
  constexpr int kGates = C::kCell.gates, kBiasRows = C::kCell.biases * kGates;
  const int64_t B = a.batch, T = a.steps, H = a.units, columns = kGates * H;
  const int64_t h_stride = padded(H), local_stride = padded(columns);
  const SavedOrder<kGates> order(a.steps_first, B, T, H);
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
      BackwardStep<kGates> step(order);
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
      if constexpr (C::kTwoProducts) {
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
