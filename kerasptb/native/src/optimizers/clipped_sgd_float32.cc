// A step of clipped gradient descent on the CPU. See clipped_sgd.h.
#include "optimizers/clipped_sgd.h"

#include "optimizers/clipped_step.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

struct Descent {
  const float* gradient;
  float rate;

  template <class Lanes>
  KERASPTB_INLINE_METHOD Float operator()(Float w, int64_t i, const Lanes& lanes) const {
    return w - rate * lanes.load(gradient + i);
  }
};

// Each row belongs to one thread, so that its parts are subtracted in their order. Neighbours belong to different ones:
// the frequent words of a vocabulary usually come first.
KERASPTB_NOINLINE void subtract_rows(const TrainedVariable& v, float rate, int thread, int threads) {
  constexpr int64_t kRowsAhead = 4;  // are prefetched
  for (int64_t n = 0; n < v.num_rows; ++n) {
    if (n + kRowsAhead < v.num_rows) {
      const int64_t next = v.rows[n + kRowsAhead];
      if (next >= 0 && next < v.vocabulary_size && next % threads == thread)
        for (int64_t i = 0; i < v.row_size; i += 16) prefetch_to_write(v.weights + next * v.row_size + i);
    }
    const int64_t row = v.rows[n];
    if (row >= 0 && row < v.vocabulary_size && row % threads == thread)
      step_vectors<false, false>(v.weights + row * v.row_size, nullptr, v.row_size, 0, 0,
                                 Descent{v.gradient + n * v.row_size, rate});
  }
}

}  // namespace

void clipped_sgd(const TrainedVariable* variables, int64_t count, const ClippedStep& step) {
  const auto rule_of = [&](const TrainedVariable&, int64_t, const float* gradient, float factor) {
    return Descent{gradient, step.learning_rate * factor};
  };
  const auto rows_alone = [&](const TrainedVariable& v, float factor, int thread, int threads) {
    if (v.weight_decay != 0 || v.average != nullptr) return false;
    subtract_rows(v, step.learning_rate * factor, thread, threads);
    return true;
  };
  clipped_step(variables, count, step, rule_of, rows_alone);
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
