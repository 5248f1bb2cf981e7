// Vectors of float32, as wide as the compiler flags of this translation unit allow, and the functions that gates and
// softmax need. A kernel is written once and compiled once for each level (see cpu.h); the build defines KERASPTB_LEVEL
// as the name of the level, which becomes a namespace and keeps the copies apart.
//
// The object file of a kernel must not contain an inline function that other object files contain too, such as an
// instance of std::min: the linker keeps one of the copies, perhaps one with instructions that the processor lacks. So
// kernels use static or always_inline functions, and of the standard library only what is C.
//
// Accuracy, over all float32 (measured in tests/native/test_simd.py): exp and exp2 1.5, tanh 3.5 and sigmoid 3
// units of the last place.
#pragma once

#include <stdint.h>
#include <string.h>

#include "common/cpu.h"
#if KERASPTB_X86
#include <immintrin.h>
#endif

#ifndef KERASPTB_LEVEL
#error "KERASPTB_LEVEL (baseline, avx2, avx512, avx512bf16, amx) is set by the build"
#endif

#define KERASPTB_INLINE static inline __attribute__((always_inline))
#define KERASPTB_INLINE_METHOD inline __attribute__((always_inline))
#define KERASPTB_NOINLINE static __attribute__((noinline))

namespace kerasptb {
namespace KERASPTB_LEVEL {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRegisters = 32;  // float32 in a vector, and vector registers
#elif defined(__AVX2__) && defined(__FMA__)
constexpr int kLanes = 8, kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kRegisters = 32;
#else
constexpr int kLanes = 4, kRegisters = 16;
#endif

typedef float Float __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Bits __attribute__((vector_size(4 * kLanes)));
typedef Float UnalignedFloat __attribute__((aligned(4), may_alias));

// As std::min and std::max, which kernels must not use (see above).
KERASPTB_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
KERASPTB_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
KERASPTB_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
KERASPTB_INLINE int64_t round_up(int64_t x, int64_t multiple) { return ceil_div(x, multiple) * multiple; }
// How many lanes of the vector that begins at `position` lie before `end`: 0 .. kLanes.
KERASPTB_INLINE int64_t lanes_before(int64_t position, int64_t end) {
  return larger(0, smaller(kLanes, end - position));
}

KERASPTB_INLINE Float splat(float x) { return x - Float{}; }  // x - 0 is x, also for -0: no operation is left
KERASPTB_INLINE Float load(const float* p) { return *reinterpret_cast<const UnalignedFloat*>(p); }
KERASPTB_INLINE void store(float* p, Float x) { *reinterpret_cast<UnalignedFloat*>(p) = x; }

// Prefetches the cache line at p, which may lie outside of any array.
KERASPTB_INLINE void prefetch(const float* p) { __builtin_prefetch(p, 0); }
KERASPTB_INLINE void prefetch_into_l2(const float* p) { __builtin_prefetch(p, 0, 2); }
KERASPTB_INLINE void prefetch_to_write(const void* p) { __builtin_prefetch(p, 1); }

#if defined(__AVX512F__)
KERASPTB_INLINE __mmask16 mask_of_first(int64_t count) { return static_cast<__mmask16>((1u << count) - 1); }
#endif
// Loads or stores the first `count` (0 .. kLanes) lanes. The memory of the others is not touched; loaded, they are
// zero.
KERASPTB_INLINE Float load(const float* p, int64_t count) {
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps(mask_of_first(count), p);
#else
  float lanes[kLanes] = {};
  for (int i = 0; i < kLanes; ++i)
    if (i < count) lanes[i] = p[i];
  return load(lanes);
#endif
}
KERASPTB_INLINE void store(float* p, Float x, int64_t count) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, mask_of_first(count), x);
#else
  float lanes[kLanes];
  store(lanes, x);
  for (int i = 0; i < kLanes; ++i)
    if (i < count) p[i] = lanes[i];
#endif
}

// a b + c. Where c is a product too, the compiler could round either of the two before the sum, and not the same one
// wherever a function is inlined.
KERASPTB_INLINE Float multiply_add(Float a, Float b, Float c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__) && defined(__FMA__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

// The lesser, or the greater, of x and the limit. A NaN in x stays a NaN.
KERASPTB_INLINE Float at_most(Float x, Float limit) { return limit < x ? limit : x; }
KERASPTB_INLINE Float at_least(Float x, Float limit) { return limit > x ? limit : x; }

KERASPTB_INLINE float sum(Float x) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(x);
#else
  float total = 0;
  for (int i = 0; i < kLanes; ++i) total += x[i];
  return total;
#endif
}
// out[i] = sum(x[i])
KERASPTB_INLINE void sums(const Float (&x)[4], float* out) {
#if defined(__AVX512F__)
  const __m512 a = _mm512_add_ps(_mm512_unpacklo_ps(x[0], x[1]), _mm512_unpackhi_ps(x[0], x[1]));
  const __m512 b = _mm512_add_ps(_mm512_unpacklo_ps(x[2], x[3]), _mm512_unpackhi_ps(x[2], x[3]));
  const __m512d c = _mm512_castps_pd(a), d = _mm512_castps_pd(b);
  const __m512 e =
      _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(c, d)), _mm512_castpd_ps(_mm512_unpackhi_pd(c, d)));
  const __m256 f = _mm256_add_ps(_mm512_castps512_ps256(e), _mm512_extractf32x8_ps(e, 1));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(f), _mm256_extractf128_ps(f, 1)));
#elif defined(__AVX2__)
  const __m256 a = _mm256_hadd_ps(_mm256_hadd_ps(x[0], x[1]), _mm256_hadd_ps(x[2], x[3]));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)));
#else
  for (int i = 0; i < 4; ++i) out[i] = sum(x[i]);
#endif
}
// out[j * out_stride + i] = in[i * in_stride + j] for i, j < 4
KERASPTB_INLINE void transpose4(const float* in, int64_t in_stride, float* out, int64_t out_stride) {
#if KERASPTB_X86
  __m128 a = _mm_loadu_ps(in), b = _mm_loadu_ps(in + in_stride);
  __m128 c = _mm_loadu_ps(in + 2 * in_stride), d = _mm_loadu_ps(in + 3 * in_stride);
  _MM_TRANSPOSE4_PS(a, b, c, d);
  _mm_storeu_ps(out, a);
  _mm_storeu_ps(out + out_stride, b);
  _mm_storeu_ps(out + 2 * out_stride, c);
  _mm_storeu_ps(out + 3 * out_stride, d);
#else
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) out[j * out_stride + i] = in[i * in_stride + j];
#endif
}
#if defined(__AVX512F__)
// Transposes 16 x 16 elements of 32 bits (which may be pairs of bfloat16).
KERASPTB_INLINE void transpose(__m512i (&rows)[16]) {
  __m512i a[16], b[16];
  for (int i = 0; i < 8; ++i) {
    a[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
    a[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
  }
  for (int i = 0; i < 4; ++i) {
    b[4 * i] = _mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 1] = _mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 2] = _mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
    b[4 * i + 3] = _mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    a[i] = _mm512_shuffle_i32x4(b[i], b[4 + i], 0x88);
    a[4 + i] = _mm512_shuffle_i32x4(b[i], b[4 + i], 0xdd);
    a[8 + i] = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0x88);
    a[12 + i] = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    rows[i] = _mm512_shuffle_i32x4(a[i], a[8 + i], 0x88);
    rows[8 + i] = _mm512_shuffle_i32x4(a[i], a[8 + i], 0xdd);
    rows[4 + i] = _mm512_shuffle_i32x4(a[4 + i], a[12 + i], 0x88);
    rows[12 + i] = _mm512_shuffle_i32x4(a[4 + i], a[12 + i], 0xdd);
  }
}
#endif

// A block of a transposition, kTransposed x kTransposed at most: out[j * out_stride + i] = in[i * in_stride + j] for
// i < rows, j < columns. For rows <= i < kTransposed it is zero.
#if defined(__AVX512F__)
constexpr int64_t kTransposed = 16;
#else
constexpr int64_t kTransposed = 4;
#endif
KERASPTB_INLINE void transpose_block(const float* in, int64_t in_stride, int64_t rows, int64_t columns, float* out,
                                     int64_t out_stride) {
#if defined(__AVX512F__)
  __m512i block[kTransposed] = {};
  for (int64_t i = 0; i < kTransposed; ++i)
    if (i < rows)
      block[i] =
          reinterpret_cast<__m512i>(columns == kLanes ? load(in + i * in_stride) : load(in + i * in_stride, columns));
  transpose(block);
  for (int64_t j = 0; j < kTransposed; ++j)
    if (j < columns) store(out + j * out_stride, reinterpret_cast<Float>(block[j]));
#else
  if (rows >= kTransposed && columns == kTransposed) return transpose4(in, in_stride, out, out_stride);
  for (int64_t j = 0; j < columns; ++j)
    for (int64_t i = 0; i < kTransposed; ++i) out[j * out_stride + i] = i < rows ? in[i * in_stride + j] : 0.0f;
#endif
}
KERASPTB_INLINE float maximum(Float x) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps(x);
#else
  float largest = x[0];
  for (int i = 1; i < kLanes; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
#endif
}

// Whether any lane of x is above the limit. A NaN is not.
KERASPTB_INLINE bool any_above(Float x, float limit) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(x, splat(limit), _CMP_GT_OQ) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_cmp_ps(x, splat(limit), _CMP_GT_OQ)) != 0;
#else
  bool any = false;
  for (int i = 0; i < kLanes; ++i) any |= x[i] > limit;
  return any;
#endif
}

// Rounded correctly, as the standard demands.
KERASPTB_INLINE Float square_root(Float x) {
#if defined(__AVX512F__)
  return _mm512_sqrt_ps(x);
#elif defined(__AVX2__) && defined(__FMA__)
  return _mm256_sqrt_ps(x);
#elif KERASPTB_X86
  return _mm_sqrt_ps(x);
#else
  for (int i = 0; i < kLanes; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

KERASPTB_INLINE Float reciprocal(Float x) {
#if defined(__AVX512F__)
  const Float y = _mm512_rcp14_ps(x);
  return y * (2.0f - x * y);  // one Newton step: 14 bits become 28
#else
  return 1.0f / x;
#endif
}

// Adding this to x, |x| < 2^22, rounds x to the nearest integer, which is then in the low bits of the sum.
constexpr float kRounding = 12582912.0f;  // 1.5 * 2^23

// Argument reduction after Cody and Waite: x = n log(2) + r with |r| <= log(2) / 2. log(2) is given as a sum of two
// constants, the first of so few bits that n times it is exact.
struct Reduced {
  Float r;
  Bits n;  // in its low 9 bits; meaningless where x is out of range
};
KERASPTB_INLINE Reduced reduce(Float x) {
  constexpr float kLog2E = 1.44269504f, kLn2High = 0.693359375f, kMinusLn2Low = 2.12194440e-4f;
  const Float shifted = x * kLog2E + kRounding;
  const Float n = shifted - kRounding;
  Float r = x - n * kLn2High;
  r = r + n * kMinusLn2Low;
  return {r, reinterpret_cast<Bits>(shifted)};
}
// 2^n for n in [-126, 127], from the low bits of n.
KERASPTB_INLINE Float power_of_two(Bits n) { return reinterpret_cast<Float>((n << 23) + 0x3f800000u); }

// exp(r) - 1 for |r| <= log(2) / 2 (polynomial of Cephes' expf, S. Moshier).
KERASPTB_INLINE Float expm1_small(Float r) {
  Float p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return p * (r * r) + r;
}

// exp(x): 0 for x below -87.3, where the result would be denormal; at most 2.4e38, its value at 88.3, above that.
KERASPTB_INLINE Float exp(Float x) {
  const Reduced y = reduce(at_most(x, splat(88.3f)));
  const Float e = (expm1_small(y.r) + 1.0f) * power_of_two(y.n);
  return x < -87.3f ? Float{} : e;
}

// 2^x, in half the operations of exp: its argument reduction needs no multiplication by log(2). 0 or denormal for x
// below -126.
KERASPTB_INLINE Float exp2(Float x) {
#if defined(__AVX512F__)
  // 2^(x - floor(x)): polynomial fitted at Chebyshev nodes over [0, 1), relative error 2e-9.
  const Float fraction = _mm512_reduce_ps(x, 1);
  Float p = fraction * 2.170225516e-04f + 1.243968821e-03f;
  p = p * fraction + 9.678840917e-03f;
  p = p * fraction + 5.548334205e-02f;
  p = p * fraction + 2.402298363e-01f;
  p = p * fraction + 6.931469838e-01f;
  p = p * fraction + 1.000000002e+00f;
  return _mm512_scalef_ps(p, x);
#else
  const Float limited = at_most(at_least(x, splat(-127.0f)), splat(127.0f));
  const Float shifted = limited + kRounding, n = shifted - kRounding;
  const Float p = expm1_small((limited - n) * 0.693147181f) + 1.0f;
  return x < -126.0f ? Float{} : p * power_of_two(reinterpret_cast<Bits>(shifted));
#endif
}

// 1 / (1 + exp(-x))
KERASPTB_INLINE Float sigmoid(Float x) {
  const Reduced y = reduce(at_most(at_least(-x, splat(-87.0f)), splat(87.0f)));
  return reciprocal((expm1_small(y.r) + 1.0f) * power_of_two(y.n) + 1.0f);
}

// e / (e + 2) with e = exp(2 x) - 1 formed without cancellation, so that small x keep their digits.
KERASPTB_INLINE Float tanh(Float x) {
  const Reduced y = reduce(at_most(at_least(x + x, splat(-20.0f)), splat(20.0f)));
  const Float scale = power_of_two(y.n);
  const Float e = expm1_small(y.r) * scale + (scale - 1.0f);
  return e * reciprocal(e + 2.0f);
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
