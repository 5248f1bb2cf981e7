// With U packed, register tiles hold the sums of some rows and all gates (packed_tile). With U in place, it is read by
// rows and the sums are in memory (add_rows).
#include "recurrence/recurrent_product.h"

#include "recurrence/layout_float32.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

// Whether a tile of R rows by N vectors of units, with their gates, fits the registers.
constexpr bool fits(int gates, int R, int N) {
  return N == 1 ? R <= tile_rows(gates) : R * gates * N + R + 2 <= kRegisters;
}

// R rows of the batch by N vectors of units. With each k, kLanes floats of `ahead` are prefetched, so that a U that
// does not fit the L2 cache arrives during other products.
template <int kGates, int R, int N, bool kEachGate>
KERASPTB_NOINLINE void packed_tile(const RecurrentProduct& s, int64_t row, int64_t vector, float* sums,
                                   const float* ahead) {
  const int64_t H = s.units, vector_size = kGates * kLanes * H;
  Float total[R][kGates][N];
  const float* h = s.h + row * s.h_stride;
  const float* w = s.packed + vector * vector_size;
  for (int64_t begin = 0; begin < H; begin += kSumBlock) {
    const int64_t end = begin + kSumBlock < H ? begin + kSumBlock : H;
    Float acc[R][kGates][N] = {};
    for (int64_t k = begin; k < end; ++k) {
      Float x[R];
      for (int r = 0; r < R; ++r) x[r] = splat(h[r * s.h_stride + k]);
      prefetch_into_l2(ahead + k * kLanes);
#pragma GCC unroll 16
      for (int g = 0; g < kGates; ++g) {
        if (kEachGate && g > 0)
          for (int r = 0; r < R; ++r) x[r] = splat(h[g * s.operand_stride + r * s.h_stride + k]);
#pragma GCC unroll 16
        for (int n = 0; n < N; ++n) {
          const Float b = load(w + g * kLanes + n * vector_size);
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
    for (int g = 0; g < kGates; ++g)
      for (int n = 0; n < N; ++n) store(sums + r * s.sums_stride + g * s.gate_stride + n * kLanes, total[r][g][n]);
}

template <int kGates, int N, bool kEachGate>
KERASPTB_INLINE void packed_rows(const RecurrentProduct& s, Range rows, int64_t vector, float* sums) {
  const float* next = s.packed + (vector + N) * kGates * kLanes * s.units;
  for_each_tile<tile_rows(kGates)>(rows.size(), [&](auto height, int64_t tile, int64_t row) {
    if constexpr (fits(kGates, height, N))
      packed_tile<kGates, height, N, kEachGate>(s, rows.begin + row, vector, sums + row * s.sums_stride,
                                                next + tile % kGates * kLanes * s.units);
  });
}

template <int kGates, bool kEachGate>
KERASPTB_NOINLINE void packed_vectors(const RecurrentProduct& s, Range rows, Range vectors) {
  const int64_t tiles = ceil_div(rows.size(), tile_rows(kGates)), height = ceil_div(rows.size(), tiles);
  int64_t v = vectors.begin;
  // Tiles of few rows have registers to spare, and take several vectors at once.
  if constexpr (fits(kGates, 1, 4))
    if (height == 1)
      for (; v + 4 <= vectors.end; v += 4)
        packed_rows<kGates, 4, kEachGate>(s, rows, v, s.sums + (v - vectors.begin) * kLanes);
  if (fits(kGates, static_cast<int>(height), 2))
    for (; v + 2 <= vectors.end; v += 2)
      packed_rows<kGates, 2, kEachGate>(s, rows, v, s.sums + (v - vectors.begin) * kLanes);
  for (; v < vectors.end; ++v) packed_rows<kGates, 1, kEachGate>(s, rows, v, s.sums + (v - vectors.begin) * kLanes);
}

template <int kGates>
KERASPTB_INLINE void packed_product(const RecurrentProduct& s, Range rows, Range vectors) {
  if (kGates > 1 && s.operand_stride > 0) return packed_vectors<kGates, (kGates > 1)>(s, rows, vectors);
  packed_vectors<kGates, false>(s, rows, vectors);
}

// With U in place: adds the products of R rows of h and rows k of U, kDeep of these at a time, to the partial sums of
// a gate. U is read in long runs along its rows.
template <int R>
KERASPTB_NOINLINE void add_rows(const RecurrentProduct& s, const float* h, float* partial, Range k, int64_t gate,
                                Range units) {
  constexpr int kDeep = 4;
  for (int64_t first = k.begin; first < k.end; first += kDeep) {
    const float* w[kDeep];
    Float x[R][kDeep];
#pragma GCC unroll 16
    for (int d = 0; d < kDeep; ++d) {
      const bool there = first + d < k.end;
      w[d] = s.kernel + ((there ? first + d : first) * s.num_gates + gate) * s.units;
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) x[r][d] = splat(there ? h[r * s.h_stride + first + d] : 0.0f);
    }
    const auto add = [&](const auto& get, int64_t u) __attribute__((always_inline)) {
      Float b[kDeep];
#pragma GCC unroll 16
      for (int d = 0; d < kDeep; ++d) b[d] = get(w[d] + u);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        float* p = partial + r * s.sums_stride + u - units.begin;
        Float total = load(p);
#pragma GCC unroll 16
        for (int d = 0; d < kDeep; ++d) total += x[r][d] * b[d];
        store(p, total);
      }
    };
    int64_t u = units.begin;
    for (; u + kLanes <= units.end; u += kLanes)
      add([](const float* p) __attribute__((always_inline)) { return load(p); }, u);
    if (const int64_t lanes = units.end - u; lanes > 0)
      add([lanes](const float* p) __attribute__((always_inline)) { return load(p, lanes); }, u);
  }
}

void product_in_place(const RecurrentProduct& s, Range rows, Range vectors) {
  const Range units{vectors.begin * kLanes, smaller(vectors.end * kLanes, s.units)};
  const int64_t size = rows.size() * s.sums_stride;
  memset(s.sums, 0, size * sizeof(float));
  memset(s.partial, 0, size * sizeof(float));
  for (int64_t begin = 0; begin < s.units; begin += kSumBlock) {
    const Range k{begin, smaller(begin + kSumBlock, s.units)};
    for (int64_t i = 0; i < s.gates.size(); ++i) {
      const float* h = s.h + i * s.operand_stride + rows.begin * s.h_stride;
      float* partial = s.partial + i * s.gate_stride;
      int64_t row = 0;
      for (; row + 3 <= rows.size(); row += 3)
        add_rows<3>(s, h + row * s.h_stride, partial + row * s.sums_stride, k, s.gates.begin + i, units);
      for (; row < rows.size(); ++row)
        add_rows<1>(s, h + row * s.h_stride, partial + row * s.sums_stride, k, s.gates.begin + i, units);
    }
    add_and_clear(s.sums, s.partial, size);
  }
}

}  // namespace

void recurrent_product(const RecurrentProduct& s, Range rows, Range vectors) {
  if (s.packed == nullptr) return product_in_place(s, rows, vectors);
  switch (s.gates.size()) {
    case 1: return packed_product<1>(s, rows, vectors);
    case 2: return packed_product<2>(s, rows, vectors);
    case 3: return packed_product<3>(s, rows, vectors);
    case 4: return packed_product<4>(s, rows, vectors);
  }
}

void pack_recurrent_kernel(const float* kernel, float* packed, int64_t units, int64_t num_gates, Range gates,
                           Range vectors) {
  for (int64_t v = vectors.begin; v < vectors.end; ++v) {
    const int64_t unit = v * kLanes, lanes = units - unit;
    float* out = packed + v * gates.size() * kLanes * units;
    for (int64_t k = 0; k < units; ++k)
      for (int64_t g = gates.begin; g < gates.end; ++g, out += kLanes) {
        const float* in = kernel + (k * num_gates + g) * units + unit;
        store(out, lanes < kLanes ? load(in, lanes) : load(in));
      }
  }
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
