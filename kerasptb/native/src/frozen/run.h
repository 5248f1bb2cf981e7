// What frozen_float32.cc and frozen_bfloat16.cc compile: products (precisions.h), the recurrences of our cells on
// them, and the nodes of ops.c.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cells/capped_lstm.h"
#include "cells/cifg.h"
#include "cells/gru.h"
#include "cells/lstm.h"
#include "common/threads.h"
#include "frozen/frozen.h"
#include "frozen/precisions.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

constexpr int kVectors = 4;                          // of columns in a panel
constexpr int kMostRows = kRegisters >= 32 ? 6 : 2;  // that are multiplied together: with them, all registers

template <int R>
struct Size {
  static constexpr int kValue = R;
};

// Calls function(first row, number as a constant) for tiles of rows.
template <int R, class Function>
KERASPTB_INLINE void for_rest(int64_t row, int64_t rest, const Function& function) {
  if constexpr (R > 1)
    if (rest < R) return for_rest<R - 1>(row, rest, function);
  function(row, Size<R>());
}
// The number of rows is the constant's but in tiles of AMX's.
template <class F, class Function>
KERASPTB_INLINE void for_each_tile(int64_t rows, const Function& function) {
  if constexpr (F::kTile > 0)
    if (rows > kMostRows) {
      for (int64_t row = 0; row < rows; row += F::kTile) function(row, Size<F::kTile>(), smaller(F::kTile, rows - row));
      return;
    }
  // Of nearly equal size, so that none is of a single row.
  const int64_t tiles = ceil_div(rows, kMostRows);
  for (int64_t i = 0; i < tiles; ++i) {
    const Range some = split(rows, tiles, i);
    for_rest<kMostRows>(some.begin, some.size(),
                        [&](int64_t row, auto size) { function(row, size, decltype(size)::kValue); });
  }
}

// What a product computes: y = x M + bias, or y += x M, of some inputs.
struct Product {
  const fz_matrix& m;
  Range inputs;
  float* y;
  int64_t stride;
  bool accumulate;
};

template <class F, int R, int V>
KERASPTB_NOINLINE void product_tile(const Product& p, const Rows<typename F::Value>& rows, int64_t row, int64_t number,
                                    int64_t column) {
  const fz_matrix& m = p.m;
  const int64_t panel = column * round_up(m.inputs, F::kDepth);
  Float sums[R][V] = {};
  const auto* w = static_cast<const typename F::Weight*>(m.weights) + panel + p.inputs.begin * V * kLanes;
  multiply<F>(rows.from(row), p.inputs.size(), w, sums);
  for (int v = 0; v < V; ++v) {
    const int64_t at = column + v * kLanes, lanes = lanes_before(at, m.outputs);
    const Float bias = m.bias != nullptr && !p.accumulate ? load(m.bias + at, lanes) : Float{};
    const Float scale = m.scales != nullptr ? load(m.scales + at, lanes) : splat(1.0f);
    for (int r = 0; r < (R == F::kTile ? number : R); ++r) {
      float* y = p.y + (row + r) * p.stride + at;
      store(y, multiply_add(sums[r][v], scale, p.accumulate ? load(y, lanes) : bias), lanes);
    }
  }
}

template <class F, int R>
KERASPTB_INLINE void product_vectors(const Product& p, const Rows<typename F::Value>& rows, int64_t row, int64_t number,
                                     int64_t column) {
  const int64_t vectors = ceil_div(p.m.outputs - column, kLanes);
  if (vectors >= 4) return product_tile<F, R, 4>(p, rows, row, number, column);
  if (vectors == 3) return product_tile<F, R, 3>(p, rows, row, number, column);
  if (vectors == 2) return product_tile<F, R, 2>(p, rows, row, number, column);
  product_tile<F, R, 1>(p, rows, row, number, column);
}

template <class F>
KERASPTB_INLINE void product_of(const Product& p, const Rows<typename F::Value>& rows, int64_t number) {
  for (int64_t column = 0; column < p.m.outputs; column += kVectors * kLanes)
    for_each_tile<F>(number, [&](int64_t row, auto size, int64_t of_tile) {
      product_vectors<F, decltype(size)::kValue>(p, rows, row, of_tile, column);
    });
}

#if defined(__AVX512BF16__)
// Rounds some rows and inputs at a time, as many as stay in the cache.
KERASPTB_NOINLINE void product_of_rounded(const fz_matrix& m, const float* x, int64_t x_stride, int64_t rows, float* y,
                                          int64_t y_stride, bool accumulate) {
  constexpr int64_t kInputs = 256;
  alignas(64) uint16_t rounded[kBlockRows * kInputs];
  for (int64_t row = 0; row < rows; row += kBlockRows) {
    const int64_t number = smaller(kBlockRows, rows - row);
    for (int64_t k = 0; k < m.inputs; k += kInputs) {
      const Range inputs{k, smaller(k + kInputs, m.inputs)};
      const auto operand = Bfloat16::rows(x + row * x_stride + k, x_stride, number, inputs.size(), rounded);
      product_of<Bfloat16>({m, inputs, y + row * y_stride, y_stride, accumulate || k > 0}, operand, number);
    }
  }
}
#endif

KERASPTB_NOINLINE void product(const fz_matrix* m, const float* x, int64_t x_stride, int64_t rows, float* y,
                               int64_t y_stride, int accumulate) {
#if defined(__AVX512BF16__)
  if (m->is_bfloat16) return product_of_rounded(*m, x, x_stride, rows, y, y_stride, accumulate != 0);
#endif
  const Product p{*m, {0, m->inputs}, y, y_stride, accumulate != 0};
  if (m->scales != nullptr) return product_of<Int8>(p, {x, x_stride}, rows);
  product_of<Float32>(p, {x, x_stride}, rows);
}

void recurrent_node(const fz_node* n, float* const* t, float* scratch, int64_t rows);

#define FZ_PRODUCT product
#define FZ_RECURRENT_NODE recurrent_node
#include "frozen/ops.c"

// A recurrence of one of our cells, with its own activations; arrays of H units have rows of whole vectors.
template <class C, class F>
struct Recurrence {
  static constexpr int kGates = C::kCell.gates;

  const fz_node& n;
  const int64_t T = n.sizes[0], D = n.sizes[1], H = n.sizes[2], row_size = round_up(H, kLanes);
  const int64_t columns = kGates * row_size, rows;
  const bool at_once = rows <= kFewRows;  // the products of all steps' inputs
  const float* x;
  const float* mask;
  float *y, *xz, *h, *h_next, *c;
  typename F::Value* rounded;  // h

  Recurrence(const fz_node& n, float* const* t, float* scratch, int64_t rows)
      : n(n),
        rows(rows),
        x(t[n.inputs[0]]),
        mask(n.inputs[1] < 0 ? nullptr : t[n.inputs[1]]),
        y(t[n.outputs[0]]),
        xz(scratch),
        h(scratch + rows * columns * (at_once ? T : 1)),
        h_next(h + rows * row_size),
        c(h_next + rows * row_size),
        rounded(reinterpret_cast<typename F::Value*>(c + rows * row_size)) {}

  template <int R>
  KERASPTB_INLINE_METHOD void tile(const Rows<typename F::Value>& of_h, int64_t row, int64_t number, int64_t vector,
                                   int64_t step, int64_t at) const {
    const fz_matrix& m = n.matrices[1];
    const int64_t u = vector * kLanes, panel = vector * round_up(H, F::kDepth) * kGates * kLanes;
    Float sums[R][kGates] = {};
    multiply<F>(of_h.from(row), H, static_cast<const typename F::Weight*>(m.weights) + panel, sums);
    const int64_t lanes = lanes_before(u, H), first = vector * kGates * kLanes;
    const bool sequences = n.sizes[3] & FZ_SEQUENCES;
    for (int64_t b = row; b < row + (R == F::kTile ? number : R); ++b) {
      const float* z = xz + (at_once ? b * T + at : b) * columns + first;
      Float input[kGates], recurrent[kGates], gates[kGates], kept, after;
      for (int g = 0; g < kGates; ++g) {
        input[g] = load(z + g * kLanes);
        recurrent[g] = m.scales ? sums[b - row][g] * load(m.scales + first + g * kLanes) : sums[b - row][g];
        if (C::kCell.apart()) recurrent[g] += load(m.bias + first + g * kLanes);
      }
      const Float before = load(h + b * row_size + u), c_before = load(c + b * row_size + u);
      C::forward(input, recurrent, before, c_before, gates, kept, after);
      const bool skipped = mask != nullptr && mask[b * T + at] == 0.0f;
      store(h_next + b * row_size + u, skipped ? before : after);
      if (C::kCell.has_c) store(c + b * row_size + u, skipped ? c_before : kept);
      float* to = y + (sequences ? (b * T + step) * H : b * H) + u;
      if (skipped) {
        const bool is_zero = (n.sizes[3] & FZ_ZERO_OUTPUT) || (step == 0 && !(n.sizes[3] & FZ_STEP));
        if (!sequences && !is_zero && step > 0) continue;
        after = is_zero ? Float{} : step == 0 ? before : load(to - H, lanes);
      }
      if (sequences || step == T - 1 || mask != nullptr) store(to, after, lanes);
    }
  }

  void run(float* const* t) {
    fz_begin_state(&n, t, 0, h, rows, row_size);
    memset(h_next, 0, rows * row_size * sizeof(float));
    fz_begin_state(&n, t, 1, c, rows, row_size);
    if (at_once) product(&n.matrices[0], x, D, rows * T, xz, columns, 0);
    for (int64_t step = 0; step < T; ++step) {
      const int64_t at = n.sizes[3] & FZ_BACKWARDS ? T - 1 - step : step;
      if (!at_once) product(&n.matrices[0], x + at * D, T * D, rows, xz, columns, 0);
      const auto of_h = F::rows(h, row_size, rows, H, rounded);
      for (int64_t vector = 0; vector < row_size / kLanes; ++vector)
        for_each_tile<F>(rows, [&](int64_t row, auto size, int64_t number) {
          tile<decltype(size)::kValue>(of_h, row, number, vector, step, at);
        });
      float* other = h;
      h = h_next, h_next = other;
    }
    fz_end_states(&n, t, h, c, rows, row_size);
  }
};

template <class F>
KERASPTB_NOINLINE void interleaved(const fz_node& n, float* const* t, float* scratch, int64_t rows) {
  switch (n.kind) {
    case FZ_LSTM: return Recurrence<LstmCell, F>(n, t, scratch, rows).run(t);
    case FZ_GRU: return Recurrence<GruCell, F>(n, t, scratch, rows).run(t);
    case FZ_CIFG: return Recurrence<CifgCell, F>(n, t, scratch, rows).run(t);
    default: return Recurrence<CappedLstmCell, F>(n, t, scratch, rows).run(t);
  }
}

void recurrent_node(const fz_node* n, float* const* t, float* scratch, int64_t rows) {
  if (!(n->sizes[3] & FZ_INTERLEAVED)) return fz_recurrent(n, t, scratch, rows);
#if defined(__AVX512BF16__)
  if (n->matrices[1].is_bfloat16) return interleaved<Bfloat16>(*n, t, scratch, rows);
#endif
  if (n->matrices[1].scales != nullptr) return interleaved<Int8>(*n, t, scratch, rows);
  interleaved<Float32>(*n, t, scratch, rows);
}

// Runs a block of rows, from `first` on.
bool run_block(const FrozenProgram& p, float* const* externals, int64_t first, int64_t rows, float* arena) {
  constexpr int kMostTensors = 64;
  float* few[kMostTensors];
  float** t = p.num_tensors <= kMostTensors ? few : static_cast<float**>(malloc(p.num_tensors * sizeof(float*)));
  for (int64_t i = 0; i < p.num_tensors; ++i) {
    const FrozenPlace& place = p.places[i];
    t[i] =
        place.external < 0 ? arena + place.offset * rows : externals[place.external] + place.offset + first * place.row;
  }
#if defined(__AVX512BF16__)
  const Tiles tiles;
#endif
  const bool is_right = fz_run(p.nodes, static_cast<int32_t>(p.num_nodes), t, arena + p.arena_floats * rows, rows);
  if (t != few) free(t);
  return is_right;
}

}  // namespace

bool frozen_run(const FrozenProgram& p, int64_t rows, float* const* externals, float* arena) {
  if (rows <= kFewRows) return run_block(p, externals, 0, rows, arena);
  Workers workers(rows * p.operations);
  const int64_t threads = workers.count(), blocks = round_up(ceil_div(rows, kBlockRows), threads);
  const int64_t room = round_up(frozen_room(p), 16);
  float* arenas = workers.scratch<float>(threads * room);
  // Whichever thread takes a block, its rows are the same; one that is kept waiting takes fewer.
  int64_t next = 0;
  int32_t wrong = 0;
  workers.run([&](int thread) {
    for (;;) {
      const int64_t block = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED);
      if (block >= blocks) return;
      const Range some = split(rows, blocks, block);
      if (some.size() > 0 && !run_block(p, externals, some.begin, some.size(), arenas + thread * room))
        __atomic_store_n(&wrong, 1, __ATOMIC_RELAXED);
    }
  });
  return wrong == 0;
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
