// The forward pass of a cell's recurrence in float32. Shape letters: recurrence.h; a cell's equations: cells/.
//
// Each thread computes some rows of the batch and some units (thread_grid.h) for all steps. The product h[t-1] U of a
// step is computed in one of two ways. With many uses of U (steps times tiles of rows), U is packed into panels once,
// and register tiles hold the sums of all gates, from which the gates are computed at once (forward_panels).
// With few uses packing does not pay: U is read in place, by rows, and the sums are in memory (forward_long_runs).
// Threads that share rows wait for each other once a step; h has two buffers, so that a thread may write h[t] while
// another still reads h[t-1].
#pragma once

#include "recurrence/layout_float32.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

// The number of uses of U, in tiles of rows, from which packing it pays: if a thread's L2 cache holds U, and if not.
constexpr int64_t kUsesThatPayPacking = 6, kUsesThatPayBeyondCache = 16;

// Whether a tile of R rows by N vectors of units, with their gates, fits the registers.
constexpr bool fits(int gates, int R, int N) {
  return N == 1 ? R <= tile_rows(gates) : R * gates * N + R + 2 <= kRegisters;
}

// One step's arrays. Row b of the batch is at b times the stride; it has H elements, or GH.
template <int kGates>
struct ForwardStep {
  KERASPTB_INLINE_METHOD explicit ForwardStep(const SavedOrder<kGates>& order) : order(order) {}

  SavedOrder<kGates> order;  // the order of xz and gates
  int64_t units;             // H
  const float* kernel;       // U [H, GH]
  const float* packed;       // U as [panel][H][G][kLanes]; or null, and then:
  float* sums;               // GH, sums_stride: the sums over the latest kSumBlock products
  float* totals;             // GH, sums_stride: the sums over those before
  int64_t sums_stride;
  const float* bias;  // [GH], or [2, GH]
  const float* xz;    // columns, order.gates_row; but if xz_row is not null, row b is the xz_row[b]-th
  const int32_t* xz_row;
  const float* c_previous;  // H, c_previous_stride
  const float* h_previous;  // H, h_previous_stride: the operand of U
  float* h_next;            // H, h_stride
  float* h_seq;             // H, seq_stride
  float* kept;              // H, kept_stride: c[t], or what else the cell keeps; or null
  float* gates;             // columns, order.gates_row; or null
  float* h_T;               // H, dense; null except in the last step
  float* c_T;               // H, dense
  int64_t c_previous_stride, kept_stride, h_previous_stride, h_stride, seq_stride;
  int64_t operand_stride, next_operand_stride;  // from the operand of a gate to the next, of h_previous and of h_next
  StepKinds kinds, next_kinds;                  // of this step and of the next
  const float* h_before;  // h[t-1] itself, where h_previous has the operand of U: H, h_before_stride
  int64_t h_before_stride;

  KERASPTB_INLINE_METHOD const float* xz_of(int64_t b) const {
    return xz + (xz_row != nullptr ? xz_row[b] * order.columns : b * order.gates_row);
  }
};

// Stores h[t] of one vector of units, as output and as the operands of the next step. kTail: fewer than kLanes units
// are left.
template <bool kTail, int kGates>
KERASPTB_INLINE void put_h(const ForwardStep<kGates>& s, int64_t b, int64_t u, Float h) {
  const int64_t lanes = s.units - u;
  const auto put = [&](float* p, Float x) { kTail ? store(p, x, lanes) : store(p, x); };
  put(s.h_seq + b * s.seq_stride + u, h);
  if (s.h_T != nullptr) return put(s.h_T + b * s.units + u, h);
  for (int64_t g = 0; g < s.kinds.special.masks(kGates); ++g)
    put(s.h_next + g * s.next_operand_stride + b * s.h_stride + u,
        s.next_kinds.operand(h, b, u, smaller(lanes, kLanes), g));
}

// Computes and stores gates, states and h of one vector of units from its sums.
template <class C, bool kTail>
KERASPTB_INLINE void finish_units(const ForwardStep<C::kCell.gates>& s, int64_t b, int64_t u,
                                  const Float (&input)[C::kCount], const Float (&recurrent)[C::kCount]) {
  constexpr int kGates = C::kCell.gates;
  const int64_t lanes = s.units - u;
  const auto get = [&](const float* p) { return kTail ? load(p, lanes) : load(p); };
  const auto put = [&](float* p, Float x) { kTail ? store(p, x, lanes) : store(p, x); };
  const auto gate_at = [&](int g) { return s.gates + b * s.order.gates_row + s.order.at(g, u); };
  const bool reset = s.kinds.reset(b), skipped = s.kinds.skipped(b);
  Float h_previous = Float{}, c_previous = Float{}, gates[kGates], kept, h;
  if ((!C::kCell.has_c || skipped) && !reset) h_previous = get(s.h_before + b * s.h_before_stride + u);
  if constexpr (C::kFirst > 0) {  // the second product
    C::forward(input, recurrent, h_previous, get(gate_at(0)), gates[C::kFirst], h);
    put(gate_at(C::kFirst), gates[C::kFirst]);
    return put_h<kTail>(s, b, u, skipped ? h_previous : h);
  } else if constexpr (C::kCount < kGates) {  // the first of two
    const Float operand = s.kinds.operand(h_previous, b, u, smaller(lanes, kLanes), kGates - 1);
    C::forward(input, recurrent, operand, gates, kept);
    for (int g = 0; g < C::kCount; ++g) put(gate_at(g), gates[g]);
    return put(s.kept + b * s.kept_stride + u, kept);
  } else {
    if (C::kCell.has_c && !reset) c_previous = get(s.c_previous + b * s.c_previous_stride + u);
    C::forward(input, recurrent, h_previous, c_previous, gates, kept, h);
    if (skipped) {
      h = h_previous;
      if (C::kCell.has_c) kept = c_previous;
    }
    if (s.gates != nullptr)
      for (int g = 0; g < kGates; ++g) put(gate_at(g), gates[g]);
    if (C::kCell.has_c || s.kept != nullptr) put(s.kept + b * s.kept_stride + u, kept);
    if (C::kCell.has_c && s.h_T != nullptr) put(s.c_T + b * s.units + u, kept);
    put_h<kTail>(s, b, u, h);
  }
}

// The same from the sums of h U, sum(i) being that of the product's i-th gate.
template <class C, bool kTail, class Sum>
KERASPTB_INLINE void finish_sums(const ForwardStep<C::kCell.gates>& s, int64_t b, int64_t u, const Sum& sum) {
  constexpr int kGates = C::kCell.gates;
  const auto get = [&](const float* p) { return kTail ? load(p, s.units - u) : load(p); };
  Float input[C::kCount], recurrent[C::kCount];
#pragma GCC unroll 4
  for (int i = 0; i < C::kCount; ++i) {
    const int g = C::kFirst + i;
    input[i] = get(s.xz_of(b) + s.order.at(g, u)) + get(s.bias + g * s.units + u);
    recurrent[i] = C::kCell.apart() ? sum(i) + get(s.bias + (kGates + g) * s.units + u) : sum(i);
  }
  finish_units<C, kTail>(s, b, u, input, recurrent);
}

// With U packed into panels of kLanes units, [panel][k][gate][lane]: R rows of the batch by N panels. With each k,
// kLanes floats of `ahead` are prefetched, so that a U that does not fit the L2 cache arrives during other products.
template <class C, int R, int N, bool kTail, bool kEachGate>
KERASPTB_NOINLINE void forward_tile(const ForwardStep<C::kCell.gates>& s, int64_t row, int64_t panel,
                                    const float* ahead) {
  constexpr int kGates = C::kCount;
  const int64_t H = s.units, unit = panel * kLanes, panel_size = kGates * kLanes * H;

  // Prefetches what is read and written once the sums are done.
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n) {
      const int64_t b = row + r, u = unit + n * kLanes;
      for (int g = C::kFirst; g < C::kFirst + kGates; ++g) prefetch(s.xz_of(b) + s.order.at(g, u));
      if (s.xz_row != nullptr && s.gates != nullptr)
        for (int g = 0; g < kGates; ++g) prefetch_to_write(s.gates + b * s.order.gates_row + s.order.at(g, u));
      if (C::kCell.has_c) prefetch(s.c_previous + b * s.c_previous_stride + u);
      if (C::kCell.has_c || s.kept != nullptr) prefetch_to_write(s.kept + b * s.kept_stride + u);
      prefetch_to_write(s.h_seq + b * s.seq_stride + u);
    }

  Float total[R][kGates][N];
  const float* h = s.h_previous + row * s.h_previous_stride;
  const float* w = s.packed + panel * panel_size;
  for (int64_t begin = 0; begin < H; begin += kSumBlock) {
    const int64_t end = begin + kSumBlock < H ? begin + kSumBlock : H;
    Float acc[R][kGates][N] = {};
    for (int64_t k = begin; k < end; ++k) {
      Float x[R];
      for (int r = 0; r < R; ++r) x[r] = splat(h[r * s.h_previous_stride + k]);
      prefetch_into_l2(ahead + k * kLanes);
#pragma GCC unroll 16
      for (int g = 0; g < kGates; ++g) {
        if (kEachGate && g > 0)
          for (int r = 0; r < R; ++r) x[r] = splat(h[g * s.operand_stride + r * s.h_previous_stride + k]);
#pragma GCC unroll 16
        for (int n = 0; n < N; ++n) {
          const Float b = load(w + g * kLanes + n * panel_size);
#pragma GCC unroll 16
          for (int r = 0; r < R; ++r) acc[r][g][n] += x[r] * b;
        }
      }
      w += kGates * kLanes;
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
      for (int g = 0; g < kGates; ++g)
        for (int n = 0; n < N; ++n) total[r][g][n] = begin == 0 ? acc[r][g][n] : total[r][g][n] + acc[r][g][n];
  }

#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n)
      finish_sums<C, kTail>(s, row + r, unit + n * kLanes,
                            [&](int g) __attribute__((always_inline)) { return total[r][g][n]; });
}

template <class C, int N, bool kTail, bool kEachGate>
KERASPTB_INLINE void forward_rows(const ForwardStep<C::kCell.gates>& s, Range rows, int64_t panel) {
  constexpr int kGates = C::kCount;
  const float* next = s.packed + (panel + N) * kGates * kLanes * s.units;
  for_each_tile<tile_rows(kGates)>(rows.size(), [&](auto height, int64_t tile, int64_t row) {
    if constexpr (fits(kGates, height, N))
      forward_tile<C, height, N, kTail, kEachGate>(s, rows.begin + row, panel, next + tile % kGates * kLanes * s.units);
  });
}

template <class C, bool kEachGate>
KERASPTB_NOINLINE void forward_panels(const ForwardStep<C::kCell.gates>& s, Range rows, Range panels) {
  constexpr int kGates = C::kCount;
  const int64_t full = s.units / kLanes, end = panels.end < full ? panels.end : full;
  const int64_t tiles = ceil_div(rows.size(), tile_rows(kGates)), height = ceil_div(rows.size(), tiles);
  int64_t p = panels.begin;
  // Tiles of few rows have registers to spare, and take several panels at once.
  if constexpr (fits(kGates, 1, 4))
    if (height == 1)
      for (; p + 4 <= end; p += 4) forward_rows<C, 4, false, kEachGate>(s, rows, p);
  if (fits(kGates, static_cast<int>(height), 2))
    for (; p + 2 <= end; p += 2) forward_rows<C, 2, false, kEachGate>(s, rows, p);
  for (; p < end; ++p) forward_rows<C, 1, false, kEachGate>(s, rows, p);
  if (p < panels.end) forward_rows<C, 1, true, kEachGate>(s, rows, p);
}

// packed[panel][k][gate][lane] = U[k, gate, panel kLanes + lane], of the gates of a product; zero past the last unit.
template <class C>
KERASPTB_NOINLINE void pack_recurrent_kernel(const float* kernel, float* packed, int64_t units, Range panels) {
  for (int64_t p = panels.begin; p < panels.end; ++p) {
    const int64_t unit = p * kLanes, lanes = units - unit;
    float* out = packed + p * C::kCount * kLanes * units;
    for (int64_t k = 0; k < units; ++k)
      for (int g = C::kFirst; g < C::kFirst + C::kCount; ++g, out += kLanes) {
        const float* in = kernel + (k * C::kCell.gates + g) * units + unit;
        store(out, lanes < kLanes ? load(in, lanes) : load(in));
      }
  }
}

// With U in place: adds the products of R rows of h[t-1] and rows k of U, kDeep of these at a time, to the sums in
// memory. U is read in long runs along its rows.
template <int R, int kGates>
KERASPTB_NOINLINE void add_rows(const ForwardStep<kGates>& s, int64_t row, Range k, int gate, Range columns) {
  constexpr int kDeep = 4;
  const float* h = s.h_previous + gate * s.operand_stride + row * s.h_previous_stride;
  float* sums = s.sums + row * s.sums_stride;
  for (int64_t first = k.begin; first < k.end; first += kDeep) {
    const float* w[kDeep];
    Float x[R][kDeep];
#pragma GCC unroll 16
    for (int d = 0; d < kDeep; ++d) {
      const bool there = first + d < k.end;
      w[d] = s.kernel + (there ? first + d : first) * kGates * s.units;
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) x[r][d] = splat(there ? h[r * s.h_previous_stride + first + d] : 0.0f);
    }
    const auto add = [&](const auto& get, const auto& put, int64_t j) __attribute__((always_inline)) {
      Float b[kDeep];
#pragma GCC unroll 16
      for (int d = 0; d < kDeep; ++d) b[d] = get(w[d] + j);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        float* p = sums + r * s.sums_stride + j;
        Float total = get(p);
#pragma GCC unroll 16
        for (int d = 0; d < kDeep; ++d) total += x[r][d] * b[d];
        put(p, total);
      }
    };
    int64_t j = columns.begin;
    for (; j + kLanes <= columns.end; j += kLanes)
      add([](const float* p) __attribute__((always_inline)) { return load(p); },
          [](float* p, Float v) __attribute__((always_inline)) { store(p, v); }, j);
    if (const int64_t lanes = columns.end - j; lanes > 0)
      add([lanes](const float* p) __attribute__((always_inline)) { return load(p, lanes); },
          [lanes](float* p, Float v) __attribute__((always_inline)) { store(p, v, lanes); }, j);
  }
}

template <class C>
KERASPTB_NOINLINE void forward_long_runs(const ForwardStep<C::kCell.gates>& s, Range rows, Range units) {
  constexpr int kBegin = C::kFirst, kEnd = C::kFirst + C::kCount;
  const int64_t H = s.units;
  for (int64_t b = rows.begin; b < rows.end; ++b)
    for (int g = kBegin; g < kEnd; ++g) {
      const int64_t j = b * s.sums_stride + g * H + units.begin;
      memset(s.totals + j, 0, units.size() * sizeof(float));
      memset(s.sums + j, 0, units.size() * sizeof(float));
    }
  for (int64_t begin = 0; begin < H; begin += kSumBlock) {
    const Range k{begin, begin + kSumBlock < H ? begin + kSumBlock : H};
    for (int g = kBegin; g < kEnd; ++g) {
      const Range columns{g * H + units.begin, g * H + units.end};
      int64_t row = rows.begin;
      for (; row + 3 <= rows.end; row += 3) add_rows<3>(s, row, k, g, columns);
      for (; row < rows.end; ++row) add_rows<1>(s, row, k, g, columns);
      for (int64_t b = rows.begin; b < rows.end; ++b) {
        const int64_t j = b * s.sums_stride + columns.begin;
        add_and_clear(s.totals + j, s.sums + j, columns.size());
      }
    }
  }
  for (int64_t b = rows.begin; b < rows.end; ++b) {
    const auto total = [&](int g, int64_t u) { return s.totals + b * s.sums_stride + (kBegin + g) * H + u; };
    int64_t u = units.begin;
    for (; u + kLanes <= units.end; u += kLanes)
      finish_sums<C, false>(s, b, u, [&](int g) __attribute__((always_inline)) { return load(total(g, u)); });
    if (u < units.end)
      finish_sums<C, true>(s, b, u, [&](int g) __attribute__((always_inline)) { return load(total(g, u), H - u); });
  }
}

// A product of a step, and what follows from its sums.
template <class C>
KERASPTB_INLINE void multiply_step(const ForwardStep<C::kCell.gates>& step, const Part& part) {
  if (step.packed == nullptr) return forward_long_runs<C>(step, part.rows, part.units);
  if constexpr (C::kCount > 1)
    if (step.operand_stride > 0) return forward_panels<C, true>(step, part.rows, part.panels);
  forward_panels<C, false>(step, part.rows, part.panels);
}

// By the threads of the caller. Its scratch memory stays taken.
template <class C>
KERASPTB_NOINLINE void recurrence_forward(const RecurrenceForward& a, Workers& workers) {
  constexpr int kGates = C::kCell.gates;
  const int64_t B = a.batch, T = a.steps, H = a.units, h_stride = padded(H);
  const SavedOrder<kGates> order(a.steps_first, B, T, H);
  const ThreadGrid grid = choose_thread_grid(workers.count(), B, H, kGates, kLanes, tile_rows(kGates));
  const int threads = grid.row_parts * grid.unit_parts;

  const int64_t panels = ceil_div(H, kLanes), sums_stride = padded(kGates * H);
  float *packed = nullptr, *sums = nullptr, *totals = nullptr;
  const bool in_cache = kGates * H * H * int64_t{sizeof(float)} <= kBytesInCache;
  if (T * tiles_of(B, grid, tile_rows(kGates)) >= (in_cache ? kUsesThatPayPacking : kUsesThatPayBeyondCache)) {
    packed = workers.scratch<float>(panels * kGates * kLanes * H);
  } else {
    sums = workers.scratch<float>(B * sums_stride);
    totals = workers.scratch<float>(B * sums_stride);
  }
  const int64_t masks = a.special.masks(kGates), operand_stride = masks > 1 ? B * h_stride : 0;
  float* h[2] = {workers.scratch<float>(masks * B * h_stride), workers.scratch<float>(masks * B * h_stride)};
  const bool saves = a.gates != nullptr;
  float* c_local = nullptr;
  if (!saves && (C::kCell.has_c || C::kTwoProducts)) c_local = workers.scratch<float>(B * h_stride);
  // What the first product gives is needed after the second.
  float* local_gates = nullptr;
  if (!saves && C::kTwoProducts) local_gates = workers.scratch<float>(B * order.gates_row);
  float* packed_second = nullptr;
  if (C::kTwoProducts && packed != nullptr) packed_second = packed + panels * C::First::kCount * kLanes * H;
  Barrier all(threads);
  Barrier* step_barriers = workers.barriers(grid.row_parts, grid.unit_parts);

  workers.run([&](int thread) {
    if (thread >= threads) return;
    const Part part(grid, thread, B, H);
    if (packed != nullptr) {
      const Range some = split(panels, threads, thread);
      pack_recurrent_kernel<typename C::First>(a.recurrent_kernel, packed, H, some);
      if constexpr (C::kTwoProducts)
        pack_recurrent_kernel<typename C::Second>(a.recurrent_kernel, packed_second, H, some);
    }
    for (int64_t g = 0; g < masks; ++g)
      copy_operands(h[0] + g * operand_stride, h_stride, a.h0, H, part.rows, part.units, {a.special, T, H, 0}, g);
    all.wait();
    for (int64_t t = 0; t < T; ++t) {
      const bool last = t == T - 1;
      ForwardStep<kGates> step(order);
      step.units = H;
      step.kernel = a.recurrent_kernel;
      step.packed = packed;
      step.sums = sums;
      step.totals = totals;
      step.sums_stride = sums_stride;
      step.bias = a.bias;
      step.xz = a.xz_row != nullptr ? a.xz : a.xz + t * order.gates_of_step;
      step.xz_row = a.xz_row != nullptr ? a.xz_row + t * B : nullptr;
      step.c_previous = t == 0 ? a.c0 : saves ? a.c_seq + (t - 1) * order.c_of_step : c_local;
      step.c_previous_stride = t == 0 ? H : saves ? order.c_row : h_stride;
      step.kept = saves ? a.c_seq + t * order.c_of_step : c_local;
      step.kept_stride = saves ? order.c_row : h_stride;
      step.kinds = {a.special, T, H, t};
      step.next_kinds = {a.special, T, H, t + 1};
      step.h_before = t == 0 ? a.h0 : a.h_seq + (t - 1) * H;
      step.h_before_stride = t == 0 ? H : T * H;
      step.h_previous = h[t & 1];
      step.h_previous_stride = h_stride;
      step.h_next = h[(t + 1) & 1];
      step.h_stride = h_stride;
      step.operand_stride = step.next_operand_stride = operand_stride;  // 0: one for all
      step.h_seq = a.h_seq + t * H;
      step.seq_stride = T * H;
      step.gates = saves ? a.gates + t * order.gates_of_step : local_gates;
      step.h_T = last ? a.h_T : nullptr;
      step.c_T = a.c_T;
      multiply_step<typename C::First>(step, part);
      if constexpr (C::kTwoProducts) {
        if (grid.unit_parts > 1) step_barriers[part.row_part].wait();
        ForwardStep<kGates> second = step;
        second.packed = packed_second;
        second.h_previous = step.kept;
        second.h_previous_stride = step.kept_stride;
        second.operand_stride = 0;
        multiply_step<typename C::Second>(second, part);
      }
      if (grid.unit_parts > 1 && !last) step_barriers[part.row_part].wait();
    }
  });
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
