#include "softmax_cross_entropy.h"

#include <math.h>

#include "simd.h"
#include "threads.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

// Four sums at a time hide the latency of an addition.
constexpr int kUnroll = 4;
// Terms of a sum, after which it is added to those before it: in one long sum rounding errors would grow with the
// words.
constexpr int64_t kTermsOfSum = 32;

struct Row {
  const float* logits;
  const float* bias;
  int64_t size;

  KERASPTB_INLINE_METHOD Float at(int64_t v) const { return load(logits + v) + load(bias + v); }
  KERASPTB_INLINE_METHOD Float tail(int64_t v) const { return load(logits + v, size - v) + load(bias + v, size - v); }
};

KERASPTB_INLINE float row_maximum(const Row& row) {
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

// The sum of exp(z - largest); each term goes to `terms` if that is not null.
KERASPTB_INLINE float row_exponentials(const Row& row, float largest, float* terms) {
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

// dlogits = factor * dlogits, added to dbias.
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

KERASPTB_NOINLINE void rows(const SoftmaxCrossEntropy& a, Range range, float* dbias) {
  for (int64_t r = range.begin; r < range.end; ++r) {
    const Row row{a.logits + r * a.vocabulary, a.bias, a.vocabulary};
    const int32_t target = a.targets[r];
    const float largest = row_maximum(row), z = row.logits[target] + row.bias[target];
    float* dlogits = a.dlogits == nullptr ? nullptr : a.dlogits + r * a.vocabulary;
    const float total = row_exponentials(row, largest, dlogits);
    a.loss[r] = logf(total) + (largest - z);
    if (dlogits == nullptr) continue;
    dlogits[target] -= total;
    scale_row(dlogits, dbias, a.vocabulary, a.scale[r] / total);
  }
}

}  // namespace

void softmax_cross_entropy(const SoftmaxCrossEntropy& a) {
  Workers workers;
  const int threads = workers.count();
  float* partial = a.dbias == nullptr ? nullptr : workers.scratch<float>(threads * a.vocabulary);
  Barrier barrier(threads);
  const auto work = [&](int thread) {
    float* dbias = partial == nullptr ? nullptr : partial + thread * a.vocabulary;
    if (dbias != nullptr) memset(dbias, 0, a.vocabulary * sizeof(float));
    rows(a, split(a.rows, threads, thread), dbias);
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
