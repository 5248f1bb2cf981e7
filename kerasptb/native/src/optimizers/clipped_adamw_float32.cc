// A step of clipped Adam on the CPU. See clipped_adamw.h.
#include "optimizers/clipped_adamw.h"

#include "optimizers/clipped_step.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

struct Adam {
  const float* gradient;
  float *means, *squares;
  float factor;
  AdamStep step;

  template <class Lanes>
  KERASPTB_INLINE_METHOD Float operator()(Float w, int64_t i, const Lanes& lanes) const {
    const Float g = factor * lanes.load(gradient + i);
    Float m = lanes.load(means + i), v = lanes.load(squares + i);
    m = m + step.one_minus_beta_1 * (g - m);
    v = v + step.one_minus_beta_2 * (g * g - v);
    lanes.store(means + i, m);
    lanes.store(squares + i, v);
    return w - step.alpha * m / (square_root(v) + step.epsilon);
  }
};

}  // namespace

void clipped_adamw(const TrainedVariable* variables, int64_t count, const ClippedStep& step, const AdamStep& adam) {
  const auto rule_of = [&](const TrainedVariable& v, int64_t first, const float* gradient, float factor) {
    return Adam{gradient, v.state[0] + first, v.state[1] + first, factor, adam};
  };
  // Every row's mean and square move.
  const auto rows_alone = [](const TrainedVariable&, float, int, int) { return false; };
  clipped_step(variables, count, step, rule_of, rows_alone);
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
