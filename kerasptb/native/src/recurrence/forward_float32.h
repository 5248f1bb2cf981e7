// The forward pass of a cell's recurrence in float32. Shape letters: recurrence.h; a cell's equations: cells/.
//
// Each thread computes some rows of the batch and some units (thread_grid.h) for all steps: of each step the product
// h[t-1] U (recurrent_product.h), and then from its sums the gates, the states and h. With many uses of U (steps times
// tiles of rows), U is packed once. Threads that share rows wait for each other once a step; h has two buffers, so that
// a thread may write h[t] while another still reads h[t-1].
#pragma once

#include "recurrence/layout_float32.h"
#include "recurrence/recurrent_product.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

// The number of uses of U, in tiles of rows, from which packing it pays: if a thread's L2 cache holds U, and if not.
constexpr int64_t kUsesThatPayPacking = 6, kUsesThatPayBeyondCache = 16;

// One step's arrays. Row b of the batch is at b times the stride; it has H elements, or GH.
struct ForwardStep {
  KERASPTB_INLINE_METHOD explicit ForwardStep(const SavedOrder& order) : order(order) {}

  SavedOrder order;   // the order of xz and gates
  int64_t units;      // H
  const float* bias;  // [GH], or [2, GH]
  const float* xz;    // columns, order.gates_row; but if xz_row is not null, row b is the xz_row[b]-th
  const int32_t* xz_row;
  const float* c_previous;  // H, c_previous_stride
  float* h_next;            // H, h_stride
  float* h_seq;             // H, seq_stride
  float* kept;              // H, kept_stride: c[t], or what else the cell keeps; or null
  float* gates;             // columns, order.gates_row; or null
  float* h_T;               // H, dense; null except in the last step
  float* c_T;               // H, dense
  int64_t c_previous_stride, kept_stride, h_stride, seq_stride;
  int64_t operand_stride;       // from the operand of a gate to the next, of h_next; 0: one for all
  StepKinds kinds, next_kinds;  // of this step and of the next
  const float* h_before;        // h[t-1] itself: H, h_before_stride
  int64_t h_before_stride;

  KERASPTB_INLINE_METHOD const float* xz_of(int64_t b) const {
    return xz + (xz_row != nullptr ? xz_row[b] * order.columns : b * order.gates_row);
  }
};

// Stores h[t] of one vector of units, as output and as the operands of the next step. kTail: fewer than kLanes units
// are left.
template <bool kTail>
KERASPTB_INLINE void put_h(const ForwardStep& s, int64_t b, int64_t u, Float h) {
  const int64_t lanes = s.units - u;
  const auto put = [&](float* p, Float x) { kTail ? store(p, x, lanes) : store(p, x); };
  put(s.h_seq + b * s.seq_stride + u, h);
  if (s.h_T != nullptr) return put(s.h_T + b * s.units + u, h);
  for (int64_t g = 0; g < s.kinds.special.masks(s.order.packed.gates); ++g)
    put(s.h_next + g * s.operand_stride + b * s.h_stride + u, s.next_kinds.operand(h, b, u, smaller(lanes, kLanes), g));
}

// Computes and stores gates, states and h of one vector of units from its sums.
template <class C, bool kTail>
KERASPTB_INLINE void finish_units(const ForwardStep& s, int64_t b, int64_t u, const Float (&input)[C::kCount],
                                  const Float (&recurrent)[C::kCount]) {
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

// The same from the sums of h U of a vector of units, a gate's after the other's.
template <class C, bool kTail>
KERASPTB_INLINE void finish_sums(const ForwardStep& s, int64_t b, int64_t u, const float* sums, int64_t gate_stride) {
  constexpr int kGates = C::kCell.gates;
  const auto get = [&](const float* p) { return kTail ? load(p, s.units - u) : load(p); };
  Float input[C::kCount], recurrent[C::kCount];
#pragma GCC unroll 4
  for (int i = 0; i < C::kCount; ++i) {
    const int g = C::kFirst + i;
    const Float sum = load(sums + i * gate_stride);
    input[i] = get(s.xz_of(b) + s.order.at(g, u)) + get(s.bias + g * s.units + u);
    recurrent[i] = C::kCell.apart() ? sum + get(s.bias + (kGates + g) * s.units + u) : sum;
  }
  finish_units<C, kTail>(s, b, u, input, recurrent);
}

// Prefetches what is read and written of a vector of units of a row once its sums are done.
template <class C>
KERASPTB_INLINE void prefetch_row(const ForwardStep& s, int64_t b, int64_t u) {
  for (int g = C::kFirst; g < C::kFirst + C::kCount; ++g) {
    prefetch(s.xz_of(b) + s.order.at(g, u));
    if (s.xz_row != nullptr && s.gates != nullptr)
      prefetch_to_write(s.gates + b * s.order.gates_row + s.order.at(g, u));
  }
  if (C::kCell.has_c) prefetch(s.c_previous + b * s.c_previous_stride + u);
  if (C::kCell.has_c || s.kept != nullptr) prefetch_to_write(s.kept + b * s.kept_stride + u);
  prefetch_to_write(s.h_seq + b * s.seq_stride + u);
}

// Floats of the sums that a thread makes before it uses them: they, and what is prefetched meanwhile, stay in its L1
// cache.
constexpr int64_t kSumsAtOnce = 2048;

// A product of a step, and what follows from its sums. With U in place it is read in long runs: of all units at once.
template <class C>
KERASPTB_NOINLINE void do_step(const ForwardStep& s, RecurrentProduct product, const Part& part) {
  const bool packed = product.packed != nullptr;
  constexpr int64_t kRowsAtOnce = 2 * tile_rows(C::kCount);
  const int64_t blocks = packed ? ceil_div(part.rows.size(), kRowsAtOnce) : 1,
                most_rows = ceil_div(part.rows.size(), blocks);
  const int64_t at_once = packed ? larger(1, kSumsAtOnce / (C::kCount * kLanes * most_rows)) : part.panels.size();
  for (int64_t first = part.panels.begin; first < part.panels.end; first += at_once)
    for (int64_t block = 0; block < blocks; ++block) {
      const Range some = split(part.rows.size(), blocks, block);
      const Range rows{part.rows.begin + some.begin, part.rows.begin + some.end};
      const Range vectors{first, smaller(first + at_once, part.panels.end)};
      product.gate_stride = vectors.size() * kLanes;
      product.sums_stride = C::kCount * product.gate_stride;
      const int64_t begin = first * kLanes, end = smaller(vectors.end * kLanes, s.units);
      for (int64_t b = rows.begin; b < rows.end; ++b)
        for (int64_t u = begin; u < end; u += kLanes) prefetch_row<C>(s, b, u);
      recurrent_product(product, rows, vectors);
      for (int64_t b = rows.begin; b < rows.end; ++b) {
        const float* sums = product.sums + (b - rows.begin) * product.sums_stride;
        int64_t u = begin;
        for (; u + kLanes <= end; u += kLanes) finish_sums<C, false>(s, b, u, sums + u - begin, product.gate_stride);
        if (u < end) finish_sums<C, true>(s, b, u, sums + u - begin, product.gate_stride);
      }
    }
}

// By the threads of the caller. Its scratch memory stays taken.
template <class C>
KERASPTB_NOINLINE void recurrence_forward(const RecurrenceForward& a, Workers& workers) {
  constexpr int kGates = C::kCell.gates;
  constexpr bool kTwoProducts = C::kCell.second_gates > 0;
  const int64_t B = a.batch, T = a.steps, H = a.units, h_stride = padded(H);
  const SavedOrder order(kGates, a.steps_first, B, T, H);
  const ThreadGrid grid = choose_thread_grid(workers.count(), B, H, kGates, kLanes, tile_rows(kGates));
  const int threads = grid.row_parts * grid.unit_parts;

  const int64_t panels = ceil_div(H, kLanes), num_sums = B * kGates * panels * kLanes;
  float *packed = nullptr, *partial = nullptr, *sums = workers.scratch<float>(num_sums);
  const bool in_cache = kGates * H * H * int64_t{sizeof(float)} <= kBytesInCache;
  if (T * tiles_of(B, grid, tile_rows(kGates)) >= (in_cache ? kUsesThatPayPacking : kUsesThatPayBeyondCache)) {
    packed = workers.scratch<float>(panels * kGates * kLanes * H);
  } else {
    partial = workers.scratch<float>(num_sums);
  }
  const int64_t masks = a.special.masks(kGates), operand_stride = masks > 1 ? B * h_stride : 0;
  float* h[2] = {workers.scratch<float>(masks * B * h_stride), workers.scratch<float>(masks * B * h_stride)};
  const bool saves = a.gates != nullptr;
  float* c_local = nullptr;
  if (!saves && (C::kCell.has_c || kTwoProducts)) c_local = workers.scratch<float>(B * h_stride);
  // What the first product gives is needed after the second.
  float* local_gates = nullptr;
  if (!saves && kTwoProducts) local_gates = workers.scratch<float>(B * order.gates_row);
  const Range first_gates{0, C::First::kCount}, second_gates{C::First::kCount, kGates};
  float* packed_second = packed == nullptr ? nullptr : packed + first_gates.size() * panels * kLanes * H;
  Barrier all(threads);
  Barrier* step_barriers = workers.barriers(grid.row_parts, grid.unit_parts);

  workers.run([&](int thread) {
    if (thread >= threads) return;
    const Part part(grid, thread, B, H);
    const int64_t my_sums = kGates * kLanes * (part.rows.begin * panels + part.rows.size() * part.panels.begin);
    if (packed != nullptr) {
      const Range some = split(panels, threads, thread);
      pack_recurrent_kernel(a.recurrent_kernel, packed, H, kGates, first_gates, some);
      if (kTwoProducts) pack_recurrent_kernel(a.recurrent_kernel, packed_second, H, kGates, second_gates, some);
    }
    for (int64_t g = 0; g < masks; ++g)
      copy_operands(h[0] + g * operand_stride, h_stride, a.h0, H, part.rows, part.units, {a.special, T, H, 0}, g);
    all.wait();
    for (int64_t t = 0; t < T; ++t) {
      const bool last = t == T - 1;
      ForwardStep step(order);
      step.units = H;
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
      step.h_next = h[(t + 1) & 1];
      step.h_stride = h_stride;
      step.operand_stride = operand_stride;
      step.h_seq = a.h_seq + t * H;
      step.seq_stride = T * H;
      step.gates = saves ? a.gates + t * order.gates_of_step : local_gates;
      step.h_T = last ? a.h_T : nullptr;
      step.c_T = a.c_T;
      RecurrentProduct product;
      product.h = h[t & 1];
      product.kernel = a.recurrent_kernel;
      product.packed = packed;
      product.sums = sums + my_sums;
      product.partial = partial == nullptr ? nullptr : partial + my_sums;
      product.units = H;
      product.num_gates = kGates;
      product.gates = first_gates;
      product.h_stride = h_stride;
      product.operand_stride = operand_stride;
      do_step<typename C::First>(step, product, part);
      if constexpr (kTwoProducts) {
        if (grid.unit_parts > 1) step_barriers[part.row_part].wait();
        product.h = step.kept;
        product.packed = packed_second;
        product.gates = second_gates;
        product.h_stride = step.kept_stride;
        product.operand_stride = 0;
        do_step<typename C::Second>(step, product, part);
      }
      if (grid.unit_parts > 1 && !last) step_barriers[part.row_part].wait();
    }
  });
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
