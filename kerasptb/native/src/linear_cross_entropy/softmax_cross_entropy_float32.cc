// Softmax cross-entropy of rows of logits on the CPU. Equations: softmax_cross_entropy.h.
//
// The threads share the rows. Each row is read three times, from the cache but for the first: for its maximum, for the
// exponentials, which are saved in dlogits, and to scale these. Each thread sums its part of dbias.
#include "linear_cross_entropy/softmax_cross_entropy.h"

#include <math.h>

#include "common/simd.h"
#include "common/threads.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

// Independent sums, or maxima, that are computed at a time to hide the latency of an addition.
constexpr int kUnroll = 4;
// A sum over the words is made in blocks of this many terms, which are then added to each other: rounding errors of one
// long sum would grow with the vocabulary.
constexpr int64_t kTermsOfSum = 32;

// z of a row: logits + bias, [size] each.
struct Row {
  const float* logits;
  const float* bias;
  int64_t size;

  KERASPTB_INLINE_METHOD Float at(int64_t v) const { return load(logits + v) + load(bias + v); }
  KERASPTB_INLINE_METHOD Float tail(int64_t v) const { return load(logits + v, size - v) + load(bias + v, size - v); }
};

KERASPTB_INLINE float row_maximum(const Row& row) {
  static_assert(kUnroll == 4, "the maxima are combined by name");
  Float largest[kUnroll];
  for (int i = 0; i < kUnroll; ++i) largest[i] = splat(row.logits[0] + row.bias[0]);
  int64_t v = 0;
  for (; v + kUnroll * kLanes <= row.size; v += kUnroll * kLanes)
    for (int i = 0; i < kUnroll; ++i) largest[i] = at_least(row.at(v + i * kLanes), largest[i]);
  for (; v + kLanes <= row.size; v += kLanes) largest[0] = at_least(row.at(v), largest[0]);
  float result = maximum(at_least(at_least(largest[0], largest[1]), at_least(largest[2], largest[3])));
  for (; v < row.size; ++v) {
    const float z = row.logits[v] + row.bias[v];
    if (z > result) result = z;
  }
  return result;
}

// The sum of exp(z - largest). The terms are stored to `terms` [size], unless that is null.
KERASPTB_INLINE float row_exponentials(const Row& row, float largest, float* terms) {
  static_assert(kUnroll == 4, "the sums are combined by name");
  Float total[kUnroll] = {};
  int64_t v = 0;
  while (v + kUnroll * kLanes <= row.size) {
    Float latest[kUnroll] = {};
    const int64_t end = smaller(v + kTermsOfSum * kUnroll * kLanes, row.size - kUnroll * kLanes + 1);
    for (; v < end; v += kUnroll * kLanes)
      for (int i = 0; i < kUnroll; ++i) {
        const Float e = exp(row.at(v + i * kLanes) - largest);
        if (terms != nullptr) store(terms + v + i * kLanes, e);
        latest[i] += e;
      }
    for (int i = 0; i < kUnroll; ++i) total[i] += latest[i];
  }
  for (; v + kLanes <= row.size; v += kLanes) {
    const Float e = exp(row.at(v) - largest);
    if (terms != nullptr) store(terms + v, e);
    total[0] += e;
  }
  float result = sum((total[0] + total[1]) + (total[2] + total[3]));
  if (v < row.size) {
    const Float e = exp(row.tail(v) - largest);
    float lanes[kLanes];
    store(lanes, e);
    for (int i = 0; i < row.size - v; ++i) result += lanes[i];
    if (terms != nullptr) store(terms + v, e, row.size - v);
  }
  return result;
}

// dlogits *= factor, dbias += dlogits; both are [size].
KERASPTB_INLINE void scale_row(float* dlogits, float* dbias, int64_t size, float factor) {
  int64_t v = 0;
  for (; v + kLanes <= size; v += kLanes) {
    const Float d = load(dlogits + v) * factor;
    store(dlogits + v, d);
    store(dbias + v, load(dbias + v) + d);
  }
  if (v < size) {
    const Float d = load(dlogits + v, size - v) * factor;
    store(dlogits + v, d, size - v);
    store(dbias + v, load(dbias + v, size - v) + d, size - v);
  }
}

// Loss and gradient of some rows; adds their share to dbias [V].
KERASPTB_NOINLINE void softmax_rows(const SoftmaxCrossEntropy& a, Range rows, float* dbias) {
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const Row row{a.logits + r * a.vocabulary, a.bias, a.vocabulary};
    const int32_t target = a.targets[r];
    const float largest = row_maximum(row), z = row.logits[target] + row.bias[target];
    float* dlogits = a.dlogits == nullptr ? nullptr : a.dlogits + r * a.vocabulary;
    const float total = row_exponentials(row, largest, dlogits);
    a.loss[r] = logf(total) + (largest - z);
    if (dlogits == nullptr) continue;
    dlogits[target] -= total;  // times scale / total, this takes 1 off the softmax
    scale_row(dlogits, dbias, a.vocabulary, a.scale[r] / total);
  }
}

}  // namespace

void softmax_cross_entropy(const SoftmaxCrossEntropy& a) {
  Workers workers;
  const int threads = workers.count();
  float* partial = a.dbias == nullptr ? nullptr : workers.scratch<float>(threads * a.vocabulary);  // [threads][V]
  Barrier barrier(threads);
  const auto work = [&](int thread) {
    float* dbias = partial == nullptr ? nullptr : partial + thread * a.vocabulary;
    if (dbias != nullptr) memset(dbias, 0, a.vocabulary * sizeof(float));
    softmax_rows(a, split(a.rows, threads, thread), dbias);
    if (dbias == nullptr) return;
    barrier.wait();
    const Range words = split(a.vocabulary, threads, thread);
    for (int64_t v = words.begin; v < words.end; ++v) {
      float total = 0;
      for (int i = 0; i < threads; ++i) total += partial[i * a.vocabulary + v];
      a.dbias[v] = total;
    }
  };
  workers.run(work, /* rest = */ true);  // the framework's products follow
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
