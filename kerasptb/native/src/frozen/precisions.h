// Products of some rows and a panel of weights, in registers, in each precision of a frozen model.
//
// A panel of weights is four vectors of columns, [inputs][4 kLanes], the last as many as are left; in bfloat16
// [inputs / 2][4 kLanes][2], with zeros up to a multiple of 32 inputs, so that each of its vectors is tiles of AMX's.
// Of a recurrence a panel has the gates of kLanes units beside each other.
#pragma once

#include <string.h>

#include "common/simd.h"
#if defined(__AVX512BF16__)
#include "common/tiles_bfloat16.h"
#endif

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

// Rows that are multiplied, of float or what a precision makes of them.
template <class Value>
struct Rows {
  const Value* x;
  int64_t stride;

  KERASPTB_INLINE_METHOD Rows from(int64_t row) const { return {x + row * stride, stride}; }
};

// A precision: what rows and weights are, and `step`, which adds to sums what kInputs inputs from k on give.

struct Float32 {
  typedef float Weight;
  typedef float Value;
  static constexpr int64_t kDepth = 1, kInputs = 1;  // inputs are padded to a multiple of kDepth
  static constexpr int kTile = 0;                    // rows of a tile of AMX's; 0: without

  static KERASPTB_INLINE_METHOD Rows<float> rows(const float* x, int64_t stride, int64_t, int64_t, float*) {
    return {x, stride};
  }

  template <int R, int V>
  static KERASPTB_INLINE_METHOD void step(const Rows<float>& rows, int64_t k, const float* w, Float (&sums)[R][V]) {
    Float columns[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) columns[v] = load(w + (k * V + v) * kLanes);
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const Float value = splat(rows.x[r * rows.stride + k]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[r][v] = multiply_add(value, columns[v], sums[r][v]);
    }
  }
};

struct Int8 : Float32 {
  typedef int8_t Weight;

  static KERASPTB_INLINE_METHOD Float widened(const int8_t* p) {
#if defined(__AVX512F__)
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif defined(__AVX2__) && defined(__FMA__)
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#else
    Float x;
    for (int i = 0; i < kLanes; ++i) x[i] = p[i];
    return x;
#endif
  }

  template <int R, int V>
  static KERASPTB_INLINE_METHOD void step(const Rows<float>& rows, int64_t k, const int8_t* w, Float (&sums)[R][V]) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const Float columns = widened(w + (k * V + v) * kLanes);
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) sums[r][v] = multiply_add(splat(rows.x[r * rows.stride + k]), columns, sums[r][v]);
    }
  }
};

#if defined(__AVX512BF16__)
struct Bfloat16 {
  typedef uint16_t Weight;
  typedef uint16_t Value;
  static constexpr int64_t kDepth = kTileDepth, kInputs = 2;
#if defined(__AMX_BF16__)
  static constexpr int kTile = kTileRows;
#else
  static constexpr int kTile = 0;
#endif

  // Rounds rows to `to`, with zeros up to a multiple of kDepth inputs.
  static KERASPTB_INLINE_METHOD Rows<uint16_t> rows(const float* x, int64_t stride, int64_t number, int64_t inputs,
                                                    uint16_t* to) {
    const int64_t size = round_up(inputs, kDepth);
    for (int64_t row = 0; row < number; ++row)
      for (int64_t k = 0; k < size; k += kTileDepth) {
        const float* from = x + row * stride + k;
        const Float first = load(from, lanes_before(k, inputs));
        const Float second = load(from + kLanes, lanes_before(k + kLanes, inputs));
        store(to + row * size + k, round_to_bfloat16(first, second));
      }
    return {to, size};
  }

  template <int R, int V>
  static KERASPTB_INLINE_METHOD void step(const Rows<uint16_t>& rows, int64_t k, const uint16_t* w,
                                          Float (&sums)[R][V]) {
    __m512bh columns[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) memcpy(&columns[v], w + (k * V + v * 2) * kLanes, sizeof columns[v]);
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      int32_t pair;
      memcpy(&pair, rows.x + r * rows.stride + k, sizeof pair);
      const __m512bh value = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], columns[v], value);
    }
  }

  // Rows past the last are of no interest.
  template <int R, int V>
  static KERASPTB_INLINE_METHOD void tile(const Rows<uint16_t>& rows, int64_t inputs, const uint16_t* w,
                                          Float (&sums)[R][V]) {
    const Operand a = rows_operand(rows.x, rows.stride, 0);
    const Operand b{w, kTileDepth, V * 64, kTileDepth / 2 * V * kTileDepth, 0};
    SumTiles to{{}, V * kLanes};
    for (int v = 0; v < V; ++v) to.tile[v] = reinterpret_cast<float*>(&sums[0][v]);
    multiply_16_rows<1, V>(ceil_div(inputs, kTileDepth), R, a, b, nullptr, to);
  }
};
#endif

// Adds the products of R rows and V vectors of columns to sums.
template <class F, int R, int V>
KERASPTB_INLINE void multiply(const Rows<typename F::Value>& rows, int64_t inputs, const typename F::Weight* w,
                              Float (&sums)[R][V]) {
  if constexpr (R == F::kTile) {
    F::tile(rows, inputs, w, sums);
  } else {
    int64_t k = 0;
    if constexpr (R * V < 8) {  // more sums, since each waits for the one before it; and weights come from far
      constexpr int64_t kBytes = 2 * F::kInputs * V * kLanes * sizeof(typename F::Weight), kAhead = 4096;
      Float others[R][V] = {};
      for (; k + 2 * F::kInputs <= inputs; k += 2 * F::kInputs) {
        const char* ahead = reinterpret_cast<const char*>(w + k * V * kLanes) + kAhead;
#pragma GCC unroll 8
        for (int64_t i = 0; i < kBytes; i += 64) prefetch(reinterpret_cast<const float*>(ahead + i));
        F::step(rows, k, w, sums);
        F::step(rows, k + F::kInputs, w, others);
      }
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) sums[r][v] += others[r][v];
    }
    for (; k < inputs; k += F::kInputs) F::step(rows, k, w, sums);
  }
}

}  // namespace
}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
