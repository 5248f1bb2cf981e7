// With many uses of U it is transposed once and multiplied by register tiles (packed_tile); with few, each element of
// dh is a dot product of a row of dz and a row of U in place (dot_tile).
#include "recurrence/gradient_product.h"

#include "common/product_float32.h"
#include "recurrence/layout_float32.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

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

}  // namespace

void recurrent_gradient(ProductStep s, Range rows, Range vectors) {
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

void transpose_kernel(const float* kernel, float* packed, int64_t units, int64_t size, Range vectors) {
  for (int64_t v = vectors.begin; v < vectors.end; ++v)
    pack_transposed<kLanes>(kernel + v * kLanes * size, size, units - v * kLanes, size,
                            packed + v * (size + 1) * kLanes);
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
