// The forward pass of the LSTM's recurrence in float32. Equations and shape letters: recurrence.h.
//
// Each thread computes some rows of the batch and some units (lstm/thread_grid.h) for all steps. The product h[t-1] U
// of a step is computed in one of two ways. With many uses of U (steps times tiles of rows), U is packed into panels
// once, and register tiles hold the sums of all four gates, from which the gates are computed at once (forward_panels).
// With few uses packing does not pay: U is read in place, by rows, and the sums are in memory (forward_long_runs).
// Threads that share rows wait for each other once a step; h has two buffers, so that a thread may write h[t] while
// another still reads h[t-1].
#include "lstm/recurrence_float32.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

// The number of uses of U, in tiles of rows, from which packing it pays: if a thread's L2 cache holds U, and if not.
constexpr int64_t kUsesThatPay = 6, kUsesThatPayBeyondCache = 16;

// Whether a tile of R rows by N vectors of units, of four gates each, fits the registers.
constexpr bool fits(int R, int N) { return N == 1 ? R <= kMaxRows : R * 4 * N + R + 2 <= kRegisters; }

// One step's arrays. Row b of the batch is at b times the stride; it has H elements, or 4H (i, f, g, o).
struct ForwardStep {
  SavedOrder order;     // the order of xz and gates
  int64_t units;        // H
  const float* kernel;  // U [H, 4H]
  const float* packed;  // U as [panel][H][4][kLanes]; or null, and then:
  float* sums;          // 4H, sums_stride: the sums over the latest kSumBlock products
  float* totals;        // 4H, sums_stride: the sums over those before
  int64_t sums_stride;
  const float* bias;  // [4H]
  const float* xz;    // columns, order.gates_row; but if xz_row is not null, row b is the xz_row[b]-th
  const int32_t* xz_row;
  const float* c_previous;  // H, c_previous_stride
  const float* h_previous;  // H, h_stride
  float* h_next;            // H, h_stride
  float* h_seq;             // H, seq_stride
  float* c;                 // H, c_stride
  float* gates;             // columns, order.gates_row; or null
  float* h_T;               // H, dense; null except in the last step
  float* c_T;               // H, dense
  int64_t c_previous_stride, c_stride, h_stride, seq_stride;
  int64_t operand_stride;       // from the operand of a gate to the next, in h_previous and h_next; 0: one for all
  StepKinds kinds, next_kinds;  // of this step and of the next
  const float* h_before;        // h[t-1] itself, where h_previous has the operand of U: H, h_before_stride
  int64_t h_before_stride;

  KERASPTB_INLINE_METHOD const float* xz_of(int64_t b) const {
    return xz + (xz_row != nullptr ? xz_row[b] * order.columns : b * order.gates_row);
  }
};

// Computes and stores gates, c and h of one vector of units from its z. kTail: fewer than kLanes units are left.
template <bool kTail>
KERASPTB_INLINE void finish_units(const ForwardStep& s, int64_t b, int64_t u, const Float (&z)[4]) {
  const int64_t H = s.units, lanes = H - u;
  const auto get = [&](const float* p) { return kTail ? load(p, lanes) : load(p); };
  const auto put = [&](float* p, Float x) { kTail ? store(p, x, lanes) : store(p, x); };
  const Float i = sigmoid(z[0]), f = sigmoid(z[1]), g = tanh(z[2]), o = sigmoid(z[3]);
  const bool reset = s.kinds.reset(b);
  const Float c_previous = reset ? Float{} : get(s.c_previous + b * s.c_previous_stride + u);
  Float c = f * c_previous + i * g;
  Float h = o * tanh(c);
  if (s.kinds.skipped(b)) {
    c = c_previous;
    h = reset ? Float{} : get(s.h_before + b * s.h_before_stride + u);
  }
  if (s.gates != nullptr) {
    float* gates = s.gates + b * s.order.gates_row;
    put(gates + s.order.at(0, u), i);
    put(gates + s.order.at(1, u), f);
    put(gates + s.order.at(2, u), g);
    put(gates + s.order.at(3, u), o);
  }
  put(s.c + b * s.c_stride + u, c);
  put(s.h_seq + b * s.seq_stride + u, h);
  if (s.h_T == nullptr) {
    for (int64_t g = 0; g < s.kinds.special.masks(); ++g)
      put(s.h_next + g * s.operand_stride + b * s.h_stride + u,
          s.next_kinds.operand(h, b, u, smaller(lanes, kLanes), g));
  } else {
    put(s.h_T + b * H + u, h);
    put(s.c_T + b * H + u, c);
  }
}

// With U packed into panels of kLanes units, [panel][k][gate][lane]: R rows of the batch by N panels. With each k,
// kLanes floats of `ahead` are prefetched, so that a U that does not fit the L2 cache arrives during other products.
template <int R, int N, bool kTail, bool kEachGate>
KERASPTB_NOINLINE void forward_tile(const ForwardStep& s, int64_t row, int64_t panel, const float* ahead) {
  const int64_t H = s.units, unit = panel * kLanes, panel_size = 4 * kLanes * H;
  const auto get = [&](const float* p) { return kTail ? load(p, H - unit) : load(p); };

  // Prefetches what is read and written once the sums are done.
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n) {
      const int64_t b = row + r, u = unit + n * kLanes;
      for (int g = 0; g < 4; ++g) prefetch(s.xz_of(b) + s.order.at(g, u));
      if (s.xz_row != nullptr && s.gates != nullptr)
        for (int g = 0; g < 4; ++g) prefetch_to_write(s.gates + b * s.order.gates_row + s.order.at(g, u));
      prefetch(s.c_previous + b * s.c_previous_stride + u);
      prefetch_to_write(s.c + b * s.c_stride + u);
      prefetch_to_write(s.h_seq + b * s.seq_stride + u);
    }

  Float total[R][4][N];
  const float* h = s.h_previous + row * s.h_stride;
  const float* w = s.packed + panel * panel_size;
  for (int64_t begin = 0; begin < H; begin += kSumBlock) {
    const int64_t end = begin + kSumBlock < H ? begin + kSumBlock : H;
    Float acc[R][4][N] = {};
    for (int64_t k = begin; k < end; ++k) {
      Float x[R];
      for (int r = 0; r < R; ++r) x[r] = splat(h[r * s.h_stride + k]);
      prefetch_into_l2(ahead + k * kLanes);
#pragma GCC unroll 16
      for (int g = 0; g < 4; ++g) {
        if (kEachGate && g > 0)
          for (int r = 0; r < R; ++r) x[r] = splat(h[g * s.operand_stride + r * s.h_stride + k]);
#pragma GCC unroll 16
        for (int n = 0; n < N; ++n) {
          const Float b = load(w + g * kLanes + n * panel_size);
#pragma GCC unroll 16
          for (int r = 0; r < R; ++r) acc[r][g][n] += x[r] * b;
        }
      }
      w += 4 * kLanes;
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
      for (int g = 0; g < 4; ++g)
        for (int n = 0; n < N; ++n) total[r][g][n] = begin == 0 ? acc[r][g][n] : total[r][g][n] + acc[r][g][n];
  }

#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n) {
      Float z[4];
      for (int g = 0; g < 4; ++g) {
        const int64_t u = unit + n * kLanes;
        z[g] = get(s.xz_of(row + r) + s.order.at(g, u)) + get(s.bias + g * H + u) + total[r][g][n];
      }
      finish_units<kTail>(s, row + r, unit + n * kLanes, z);
    }
}

template <int N, bool kTail, bool kEachGate>
KERASPTB_INLINE void forward_rows(const ForwardStep& s, Range rows, int64_t panel) {
  const float* next = s.packed + (panel + N) * 4 * kLanes * s.units;
  for_each_tile<kMaxRows>(rows.size(), [&](auto height, int64_t tile, int64_t row) {
    if constexpr (fits(height, N))
      forward_tile<height, N, kTail, kEachGate>(s, rows.begin + row, panel, next + tile % 4 * kLanes * s.units);
  });
}

template <bool kEachGate>
KERASPTB_NOINLINE void forward_panels(const ForwardStep& s, Range rows, Range panels) {
  const int64_t full = s.units / kLanes, end = panels.end < full ? panels.end : full;
  const int64_t tiles = ceil_div(rows.size(), kMaxRows), height = ceil_div(rows.size(), tiles);
  int64_t p = panels.begin;
  // Tiles of few rows have registers to spare, and take several panels at once.
  if constexpr (fits(1, 4))
    if (height == 1)
      for (; p + 4 <= end; p += 4) forward_rows<4, false, kEachGate>(s, rows, p);
  if (fits(static_cast<int>(height), 2))
    for (; p + 2 <= end; p += 2) forward_rows<2, false, kEachGate>(s, rows, p);
  for (; p < end; ++p) forward_rows<1, false, kEachGate>(s, rows, p);
  if (p < panels.end) forward_rows<1, true, kEachGate>(s, rows, p);
}

// packed[panel][k][gate][lane] = U[k, gate, panel kLanes + lane]; zero past the last unit.
void pack(const float* kernel, float* packed, int64_t units, Range panels) {
  for (int64_t p = panels.begin; p < panels.end; ++p) {
    const int64_t unit = p * kLanes, lanes = units - unit;
    float* out = packed + p * 4 * kLanes * units;
    for (int64_t k = 0; k < units; ++k)
      for (int g = 0; g < 4; ++g, out += kLanes) {
        const float* in = kernel + (k * 4 + g) * units + unit;
        store(out, lanes < kLanes ? load(in, lanes) : load(in));
      }
  }
}

// With U in place: adds the products of R rows of h[t-1] and rows k of U, kDeep of these at a time, to the sums in
// memory. U is read in long runs along its rows.
template <int R>
KERASPTB_NOINLINE void add_rows(const ForwardStep& s, int64_t row, Range k, int gate, Range columns) {
  constexpr int kDeep = 4;
  const float* h = s.h_previous + gate * s.operand_stride + row * s.h_stride;
  float* sums = s.sums + row * s.sums_stride;
  for (int64_t first = k.begin; first < k.end; first += kDeep) {
    const float* w[kDeep];
    Float x[R][kDeep];
#pragma GCC unroll 16
    for (int d = 0; d < kDeep; ++d) {
      const bool there = first + d < k.end;
      w[d] = s.kernel + (there ? first + d : first) * 4 * s.units;
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) x[r][d] = splat(there ? h[r * s.h_stride + first + d] : 0.0f);
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

template <bool kTail>
KERASPTB_INLINE void finish_sums(const ForwardStep& s, int64_t b, int64_t u) {
  Float z[4];
  for (int g = 0; g < 4; ++g) {
    const auto get = [&](const float* p) { return kTail ? load(p, s.units - u) : load(p); };
    const int64_t j = g * s.units + u;
    z[g] = get(s.xz_of(b) + s.order.at(g, u)) + get(s.bias + j) + get(s.totals + b * s.sums_stride + j);
  }
  finish_units<kTail>(s, b, u, z);
}

KERASPTB_NOINLINE void forward_long_runs(const ForwardStep& s, Range rows, Range units) {
  const int64_t H = s.units;
  for (int64_t b = rows.begin; b < rows.end; ++b)
    for (int g = 0; g < 4; ++g) {
      const int64_t j = b * s.sums_stride + g * H + units.begin;
      memset(s.totals + j, 0, units.size() * sizeof(float));
      memset(s.sums + j, 0, units.size() * sizeof(float));
    }
  for (int64_t begin = 0; begin < H; begin += kSumBlock) {
    const Range k{begin, begin + kSumBlock < H ? begin + kSumBlock : H};
    for (int g = 0; g < 4; ++g) {
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
    int64_t u = units.begin;
    for (; u + kLanes <= units.end; u += kLanes) finish_sums<false>(s, b, u);
    if (u < units.end) finish_sums<true>(s, b, u);
  }
}

}  // namespace

void lstm_recurrence_forward(const LstmRecurrenceForward& a) {
  Workers workers;
  lstm_recurrence_forward(a, workers);
}

void lstm_recurrence_forward(const LstmRecurrenceForward& a, Workers& workers) {
  const int64_t B = a.batch, T = a.steps, H = a.units, h_stride = padded(H);
  const SavedOrder order(a.steps_first, B, T, H);
  const LstmGrid grid = choose_lstm_grid(workers.count(), B, H, kLanes, kMaxRows);
  const int threads = grid.row_parts * grid.unit_parts;

  const int64_t panels = ceil_div(H, kLanes), sums_stride = padded(4 * H);
  float *packed = nullptr, *sums = nullptr, *totals = nullptr;
  if (T * tiles_of(B, grid) >= (16 * H * H <= kBytesInCache ? kUsesThatPay : kUsesThatPayBeyondCache)) {
    packed = workers.scratch<float>(panels * 4 * kLanes * H);
  } else {
    sums = workers.scratch<float>(B * sums_stride);
    totals = workers.scratch<float>(B * sums_stride);
  }
  const int64_t masks = a.special.masks(), operand_stride = masks > 1 ? B * h_stride : 0;
  float* h[2] = {workers.scratch<float>(masks * B * h_stride), workers.scratch<float>(masks * B * h_stride)};
  const bool saves = a.gates != nullptr;
  float* c_local = saves ? nullptr : workers.scratch<float>(B * h_stride);
  Barrier all(threads);
  Barrier* step_barriers = workers.barriers(grid.row_parts, grid.unit_parts);

  workers.run([&](int thread) {
    if (thread >= threads) return;
    const Part part(grid, thread, B, H);
    if (packed != nullptr) pack(a.recurrent_kernel, packed, H, split(panels, threads, thread));
    for (int64_t g = 0; g < masks; ++g)
      copy_operands(h[0] + g * operand_stride, h_stride, a.h0, H, part.rows, part.units, {a.special, T, H, 0}, g);
    all.wait();
    for (int64_t t = 0; t < T; ++t) {
      const bool last = t == T - 1;
      ForwardStep step{order};
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
      step.c = saves ? a.c_seq + t * order.c_of_step : c_local;
      step.c_stride = saves ? order.c_row : h_stride;
      step.kinds = {a.special, T, H, t};
      step.next_kinds = {a.special, T, H, t + 1};
      step.h_before = t == 0 ? a.h0 : a.h_seq + (t - 1) * H;
      step.h_before_stride = t == 0 ? H : T * H;
      step.h_previous = h[t & 1];
      step.h_next = h[(t + 1) & 1];
      step.h_stride = h_stride;
      step.operand_stride = operand_stride;
      step.h_seq = a.h_seq + t * H;
      step.seq_stride = T * H;
      step.gates = saves ? a.gates + t * order.gates_of_step : nullptr;
      step.h_T = last ? a.h_T : nullptr;
      step.c_T = a.c_T;
      if (packed != nullptr && masks > 1)
        forward_panels<true>(step, part.rows, part.panels);
      else if (packed != nullptr)
        forward_panels<false>(step, part.rows, part.panels);
      else
        forward_long_runs(step, part.rows, part.units);
      if (grid.unit_parts > 1 && !last) step_barriers[part.row_part].wait();
    }
  });
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
