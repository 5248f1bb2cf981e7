// The backward pass of the LSTM's recurrence in float32. Equations and shape letters: recurrence.h; with g the
// candidate (Keras' c gate):
//
//   dh        = dh_seq[t] + dz[t+1] U^T                 (at the last step dh_T in place of the product)
//   dc        = dc[t+1] f[t+1] + dh o (1 - tanh(c)^2)   (at the last step dc_T in place of the first term)
//   dz_i      = dc g i (1 - i)          dz_f = dc c[t-1] f (1 - f)
//   dz_g      = dc i (1 - g^2)          dz_o = dh tanh(c) o (1 - o)
//
// The work is split as in the forward pass. The product dz U^T of a step is computed in one of two ways: with many uses
// of U it is transposed once and multiplied by register tiles (packed_tile); with few, each element of dh is a dot
// product of a row of dz and a row of U in place (dot_tile).
#include "lstm/recurrence_float32.h"
#include "common/product_float32.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

// The number of uses of U, in tiles of rows, from which transposing it pays.
constexpr int64_t kUsesThatPayTransposing = 16;

// The bias gradients of so many rows are summed before that sum is added to the total: rounding errors of one long sum
// would grow with the number of rows.
constexpr int64_t kSumRows = 24;

// One step's arrays. Row b of the batch is at b times the stride; it has H elements, or 4H (i, f, g, o).
struct BackwardStep {
  SavedOrder order;         // the order of gates and c
  int64_t units;            // H
  const float* gates;       // columns, order.gates_row
  const float* c;           // H, order.c_row
  const float* c_previous;  // H, c_previous_stride
  const float* dh_seq;      // H, seq_stride
  float* dz;                // columns, order.gates_row; or null, and then:
  Panels dz_panels;         // [B T, 4H in packed columns]: row b of the batch is row first_row + b
  int64_t first_row;
  float* dz_local;  // 4H, local_stride: a copy of dz for the product
  float* dh;        // H, h_stride: dz[t+1] U^T
  float* dc;        // H, h_stride: dc[t+1] f[t+1], which becomes dc f
  StepKinds kinds;
  float* dh_skipped;  // H, h_stride: dh of rows that skip the step; null if none does anything special
  int64_t seq_stride, c_previous_stride, local_stride, h_stride;

  KERASPTB_INLINE_METHOD float* dz_of(int64_t b, int64_t gate, int64_t unit) const {
    const int64_t column = order.at(gate, unit);
    return dz != nullptr ? dz + b * order.gates_row + column
                         : dz_panels.at(column / kPanel, first_row + b) + column % kPanel;
  }
};

// dz and dc of one vector of units of row b; adds dz to dbias [4H]. kTail: fewer than kLanes units are left.
template <bool kTail>
KERASPTB_INLINE void gate_gradients(const BackwardStep& s, int64_t b, int64_t u, float* dbias) {
  const int64_t H = s.units, lanes = H - u;
  const auto get = [&](const float* p) { return kTail ? load(p, lanes) : load(p); };
  const auto put = [&](float* p, Float x) { kTail ? store(p, x, lanes) : store(p, x); };
  const float* gates = s.gates + b * s.order.gates_row;
  float* local = s.dz_local + b * s.local_stride + u;
  float* dc_row = s.dc + b * s.h_stride + u;

  // The next row is too far away for the hardware to prefetch it.
  for (int j = 0; j < 4; ++j) prefetch(gates + s.order.gates_row + s.order.at(j, u));
  prefetch(s.c + (b + 1) * s.order.c_row + u);
  prefetch(s.dh_seq + (b + 1) * s.seq_stride + u);
  prefetch(s.c_previous + (b + 1) * s.c_previous_stride + u);
  for (int j = 0; j < 4; ++j) prefetch_to_write(s.dz_of(b + 1, j, u));

  const auto gate = [&](int j) __attribute__((always_inline)) { return get(gates + s.order.at(j, u)); };
  const Float i = gate(0), f = gate(1), g = gate(2), o = gate(3);
  const Float dh = get(s.dh_seq + b * s.seq_stride + u) + get(s.dh + b * s.h_stride + u);
  const Float tanh_c = tanh(get(s.c + b * s.order.c_row + u));
  const bool reset = s.kinds.reset(b), skipped = s.kinds.skipped(b);
  const Float c_previous = reset ? Float{} : get(s.c_previous + b * s.c_previous_stride + u);
  const Float dc_next = get(dc_row), dc = dc_next + dh * o * (1.0f - tanh_c * tanh_c);
  Float d[4] = {
      dc * g * i * (1.0f - i),
      dc * c_previous * f * (1.0f - f),
      dc * i * (1.0f - g * g),
      dh * tanh_c * o * (1.0f - o),
  };
  if (skipped) {
    for (int j = 0; j < 4; ++j) d[j] = Float{};
    put(s.dh_skipped + b * s.h_stride + u, dh);
  }
  put(dc_row, reset ? Float{} : skipped ? dc_next : dc * f);
  for (int j = 0; j < 4; ++j) {
    if (s.dz != nullptr)
      put(s.dz_of(b, j, u), d[j]);
    else
      store(s.dz_of(b, j, u), d[j]);  // whole vectors: past the last unit dz is zero
    put(local + j * H, d[j]);
    put(dbias + j * H + u, get(dbias + j * H + u) + d[j]);
  }
}

KERASPTB_NOINLINE void gate_gradients(const BackwardStep& s, Range rows, Range units, float* dbias) {
  for (int64_t b = rows.begin; b < rows.end; ++b) {
    int64_t u = units.begin;
    for (; u + kLanes <= units.end; u += kLanes) gate_gradients<false>(s, b, u, dbias);
    if (u < units.end) gate_gradients<true>(s, b, u, dbias);
  }
}

// dh[t-1] in the place of the gradient of the operand of U. Those of the gates, if each has its own, lie one after the
// other, mask_stride apart.
KERASPTB_NOINLINE void state_gradients(const BackwardStep& s, Range rows, Range units, int64_t mask_stride) {
  for (int64_t b = rows.begin; b < rows.end; ++b)
    for (int64_t u = units.begin; u < units.end; u += kLanes) {
      const int64_t lanes = lanes_before(u, units.end);
      float* dh = s.dh + b * s.h_stride + u;
      Float by_operands = Float{};
      for (int64_t g = 0; g < s.kinds.special.masks(); ++g)
        by_operands += s.kinds.masked(load(dh + g * mask_stride, lanes), b, u, lanes, g);
      store(dh, s.kinds.gradient(by_operands, load(s.dh_skipped + b * s.h_stride + u, lanes), b), lanes);
    }
}

// The product of a step: dh[b, u] = sum over k of dz[b, k] U[u, k], in blocks of k.
struct ProductStep {
  const float* dz;      // row b at b * dz_stride
  const float* kernel;  // U [H, 4H], dense
  const float* packed;  // U^T: vector v of units as [k][lane] at v * (size + 1) * kLanes; null: use `kernel`
  float* dh;            // row b at b * dh_stride
  int64_t size;         // 4H
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
          dot_units<height>(s, rows.begin + row, block, s.size / 4);
      });
    }
  }
}

// packed[v][k][lane] = U[v kLanes + lane, k], zero past the last unit. A vector of padding follows each [4H][kLanes],
// lest all begin at multiples of 4 KB.
void transpose_kernel(const float* kernel, float* packed, int64_t units, Range vectors) {
  const int64_t size = 4 * units;
  for (int64_t v = vectors.begin; v < vectors.end; ++v)
    pack_transposed<kLanes>(kernel + v * kLanes * size, size, units - v * kLanes, size,
                            packed + v * (size + 1) * kLanes);
}

}  // namespace

void lstm_recurrence_backward(const LstmRecurrenceBackward& a) {
  Workers workers;
  lstm_recurrence_backward(a, workers);
}

void lstm_recurrence_backward(const LstmRecurrenceBackward& a, Workers& workers) {
  const int64_t B = a.batch, T = a.steps, H = a.units, h_stride = padded(H), local_stride = padded(4 * H);
  const SavedOrder order(a.steps_first, B, T, H);
  const LstmGrid grid = choose_lstm_grid(workers.count(), B, H, kLanes, kMaxRows);
  const int threads = grid.row_parts * grid.unit_parts;

  const int64_t masks = a.special.masks(), mask_stride = B * h_stride;
  float* dh = workers.scratch<float>(masks * mask_stride);
  float* dc = workers.scratch<float>(B * h_stride);
  float* local[2] = {workers.scratch<float>(B * local_stride), workers.scratch<float>(B * local_stride)};
  float* dh_skipped = a.special.any() ? workers.scratch<float>(B * h_stride) : nullptr;
  float* dbias = workers.scratch<float>(2 * grid.row_parts * 4 * H);
  const int64_t vectors = ceil_div(H, kLanes);
  float* packed = nullptr;
  if ((a.dh0 != nullptr ? T : T - 1) * tiles_of(B, grid) >= kUsesThatPayTransposing)
    packed = workers.scratch<float>(vectors * (4 * H + 1) * kLanes);
  Barrier all(threads);
  Barrier* step_barriers = workers.barriers(grid.row_parts, grid.unit_parts);

  workers.run([&](int thread) {
    if (thread >= threads) return;
    const Part part(grid, thread, B, H);
    float* my_dbias = dbias + part.row_part * 4 * H;
    float* recent_dbias = my_dbias + grid.row_parts * 4 * H;
    for (int g = 0; g < 4; ++g) {
      memset(my_dbias + g * H + part.units.begin, 0, part.units.size() * sizeof(float));
      memset(recent_dbias + g * H + part.units.begin, 0, part.units.size() * sizeof(float));
    }
    int64_t num_recent = 0;
    if (packed != nullptr) {
      transpose_kernel(a.recurrent_kernel, packed, H, split(vectors, threads, thread));
      all.wait();
    }
    copy_rows(dh, h_stride, a.dh_T, H, part.rows, part.units);
    copy_rows(dc, h_stride, a.dc_T, H, part.rows, part.units);
    for (int64_t t = T - 1; t >= 0; --t) {
      BackwardStep step{order};
      step.units = H;
      step.gates = a.gates + t * order.gates_of_step;
      step.c = a.c_seq + t * order.c_of_step;
      step.c_previous = t == 0 ? a.c0 : a.c_seq + (t - 1) * order.c_of_step;
      step.c_previous_stride = t == 0 ? H : order.c_row;
      step.dh_seq = a.dh_seq + t * H;
      step.seq_stride = T * H;
      step.dz = a.steps_first ? nullptr : a.dz + t * order.gates_of_step;
      step.dz_panels = {B * T, order.columns, a.dz};
      step.first_row = t * B;
      step.dz_local = local[t & 1];
      step.local_stride = local_stride;
      step.dh = dh;
      step.dc = dc;
      step.h_stride = h_stride;
      step.kinds = {a.special, T, H, t};
      step.dh_skipped = dh_skipped;
      gate_gradients(step, part.rows, part.units, recent_dbias);
      num_recent += part.rows.size();
      if (t == 0 || num_recent >= kSumRows) {
        for (int g = 0; g < 4; ++g) {
          const int64_t j = g * H + part.units.begin;
          add_and_clear(my_dbias + j, recent_dbias + j, part.units.size());
        }
        num_recent = 0;
      }
      if (t == 0 && a.dh0 == nullptr) break;
      if (grid.unit_parts > 1) step_barriers[part.row_part].wait();
      ProductStep product;
      product.dz = local[t & 1];
      product.dz_stride = local_stride;
      product.kernel = a.recurrent_kernel;
      product.packed = packed;
      product.size = 4 * H;
      product.dh_stride = h_stride;
      for (int64_t i = 0; i < masks; ++i) {
        product.dh = dh + i * mask_stride;
        product.columns = split(4 * H, masks, i);
        recurrent_gradient(product, part.rows, part.panels);
      }
      if (dh_skipped != nullptr) state_gradients(step, part.rows, part.units, mask_stride);
    }
    copy_rows(a.dc0, H, dc, h_stride, part.rows, part.units);
    if (a.dh0 != nullptr) copy_rows(a.dh0, H, dh, h_stride, part.rows, part.units);
    all.wait();
    const Range columns = split(4 * H, threads, thread);
    for (int64_t j = columns.begin; j < columns.end; ++j) {
      float total = 0;
      for (int i = 0; i < grid.row_parts; ++i) total += dbias[i * 4 * H + j];
      a.dbias[j] = total;
    }
  });
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
