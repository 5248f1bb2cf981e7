#include "few_rows/few_rows.h"

#include <math.h>

#include "common/simd.h"
#if defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

constexpr int kVectors = 4;                          // of columns in a tile
constexpr int kTileRows = kRegisters >= 32 ? 6 : 2;  // with the vectors of columns, all registers
constexpr int64_t kTileColumns = kVectors * kLanes;  // divides kFewRowsPanel
constexpr int64_t kSumBlock = 256;                   // sums of longer products are of sums of so many
static_assert(kFewRowsPanel % kTileColumns == 0, "panels are whole tiles");

// Compilers make a conversion of each element of what vectors could convert, so the instructions are named.
KERASPTB_INLINE Float load_bytes(const int8_t* p) {
#if defined(__AVX512F__)
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif defined(__AVX2__) && defined(__FMA__)
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#elif defined(__aarch64__)
  int32_t four;
  memcpy(&four, p, sizeof four);
  const int8x8_t bytes = vreinterpret_s8_s32(vdup_n_s32(four));
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))));
#elif KERASPTB_X86
  int32_t four;
  memcpy(&four, p, sizeof four);
  const __m128i bytes = _mm_cvtsi32_si128(four), words = _mm_unpacklo_epi8(bytes, bytes);
  return _mm_cvtepi32_ps(_mm_srai_epi32(_mm_unpacklo_epi16(words, words), 24));
#else
  Float x;
  for (int i = 0; i < kLanes; ++i) x[i] = p[i];
  return x;
#endif
}

// total[r][j] = the products of R rows, a apart, with a tile of columns whose rows are kFewRowsPanel apart.
template <int R>
KERASPTB_INLINE void multiply(const float* a, int64_t stride, const int8_t* w, int64_t inputs,
                              Float (&total)[R][kVectors]) {
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < kVectors; ++j) total[r][j] = Float{};
  for (int64_t begin = 0; begin < inputs; begin += kSumBlock) {
    Float sum[R][kVectors];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
      for (int j = 0; j < kVectors; ++j) sum[r][j] = Float{};
    for (int64_t k = begin; k < smaller(begin + kSumBlock, inputs); ++k) {
      Float columns[kVectors];
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) columns[j] = load_bytes(w + k * kFewRowsPanel + j * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const Float x = splat(a[r * stride + k]);
        for (int j = 0; j < kVectors; ++j) sum[r][j] = multiply_add(x, columns[j], sum[r][j]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
      for (int j = 0; j < kVectors; ++j) total[r][j] += sum[r][j];
  }
}

// A tile of y, R rows from n and some columns from m.
template <int R>
KERASPTB_NOINLINE void tile(const FewRows& io, const float* a, int64_t n, int64_t m) {
  const int64_t panel = m / kFewRowsPanel;
  const int8_t* w = io.w + panel * io.inputs * kFewRowsPanel + m % kFewRowsPanel;
  Float total[R][kVectors];
  multiply<R>(a + n * io.inputs, io.inputs, w, io.inputs, total);
  for (int j = 0; j < kVectors; ++j) {
    const int64_t column = m + j * kLanes, lanes = lanes_before(column, io.outputs);
    if (lanes == 0) return;
    const Float scale = io.out_scale ? load(io.out_scale + column, lanes) : splat(1.0f);
    const Float bias = io.bias ? load(io.bias + column, lanes) : Float{};
    for (int r = 0; r < R; ++r) store(io.y + (n + r) * io.outputs + column, total[r][j] * scale + bias, lanes);
  }
}

template <int R>
KERASPTB_INLINE void rows_of_tile(const FewRows& io, const float* a, int64_t n, int64_t m, int64_t rows) {
  if constexpr (R > 1)
    if (rows < R) return rows_of_tile<R - 1>(io, a, n, m, rows);
  tile<R>(io, a, n, m);
}

KERASPTB_INLINE void subtract_log_sum(float* y, int64_t outputs) {
  Float top = splat(-INFINITY);
  const int64_t whole = outputs / kLanes * kLanes, rest = outputs - whole;
  for (int64_t m = 0; m < whole; m += kLanes) top = at_least(load(y + m), top);
  float largest = maximum(top);
  for (int64_t m = whole; m < outputs; ++m) largest = y[m] > largest ? y[m] : largest;
  Float total = Float{};
  for (int64_t m = 0; m < whole; m += kLanes) total += exp(load(y + m) - largest);
  float sum_of_all = sum(total);
  if (rest > 0) {
    float last[kLanes];
    store(last, exp(load(y + whole, rest) - largest));
    for (int64_t i = 0; i < rest; ++i) sum_of_all += last[i];
  }
  const float log_sum = largest + logf(sum_of_all);
  for (int64_t m = 0; m < whole; m += kLanes) store(y + m, load(y + m) - log_sum);
  for (int64_t m = whole; m < outputs; ++m) y[m] -= log_sum;
}

}  // namespace

void few_rows(const FewRows& io) {
  const float* a = io.a;
  if (io.in_scale) {
    for (int64_t n = 0; n < io.rows; ++n)
      for (int64_t k = 0; k < io.inputs; ++k) io.scaled[n * io.inputs + k] = a[n * io.inputs + k] * io.in_scale[k];
    a = io.scaled;
  }
  // The rows by turns while a panel is in the cache.
  for (int64_t panel = 0; panel < io.outputs; panel += kFewRowsPanel)
    for (int64_t n = 0; n < io.rows; n += kTileRows)
      for (int64_t m = panel; m < smaller(panel + kFewRowsPanel, io.outputs); m += kTileColumns)
        rows_of_tile<kTileRows>(io, a, n, m, io.rows - n);
  if (io.log_softmax)
    for (int64_t n = 0; n < io.rows; ++n) subtract_log_sum(io.y + n * io.outputs, io.outputs);
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
