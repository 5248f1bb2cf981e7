// A step of clipped gradient descent on the CPU. See clipped_sgd.h.
#include "optimizers/clipped_sgd.h"

#include "optimizers/gradient_blocks.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

KERASPTB_INLINE void subtract(float* w, const float* g, float rate, int64_t size) {
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) store(w + i, load(w + i) - rate * load(g + i));
  if (i < size) store(w + i, load(w + i, size - i) - rate * load(g + i, size - i), size - i);
}

// Each row belongs to one thread, so that its parts are subtracted in their order. Neighbours belong to different ones:
// the frequent words of a vocabulary usually come first.
KERASPTB_NOINLINE void subtract_rows(const SgdVariable& v, float rate, int thread, int threads) {
  constexpr int64_t kRowsAhead = 4;  // are prefetched
  for (int64_t n = 0; n < v.num_rows; ++n) {
    if (n + kRowsAhead < v.num_rows) {
      const int64_t next = v.rows[n + kRowsAhead];
      if (next >= 0 && next < v.vocabulary_size && next % threads == thread)
        for (int64_t i = 0; i < v.row_size; i += 16) prefetch_to_write(v.weights + next * v.row_size + i);
    }
    const int64_t row = v.rows[n];
    if (row >= 0 && row < v.vocabulary_size && row % threads == thread)
      subtract(v.weights + row * v.row_size, v.gradient + n * v.row_size, rate, v.row_size);
  }
}

}  // namespace

void clipped_sgd(const SgdVariable* variables, int64_t count, float learning_rate, float clip) {
  Workers workers;
  const int threads = workers.count();
  const auto size_of = [&](int64_t a) { return variables[a].size; };
  const int64_t num_blocks = count_blocks(count, size_of);
  double* of_block = workers.scratch<double>(num_blocks);
  Barrier& all = *workers.barriers(1, threads);
  const auto work = [&](int thread) {
    float rate = learning_rate;
    if (clip >= 0) {
      for_each_block(count, size_of, num_blocks, thread, threads,
                     [&](int64_t block, int64_t a, int64_t begin, int64_t size) {
                       of_block[block] = sum_of_squares(variables[a].gradient + begin, size);
                     });
      all.wait();
      const float norm = norm_of_blocks(of_block, num_blocks);
      // For norms below the limit the factor is exactly 1.
      rate *= isfinite(norm) ? clip / (norm > clip ? norm : clip) : NAN;
    }
    for_each_block(count, size_of, num_blocks, thread, threads, [&](int64_t, int64_t a, int64_t begin, int64_t size) {
      const SgdVariable& v = variables[a];
      if (v.rows == nullptr) subtract(v.weights + begin, v.gradient + begin, rate, size);
    });
    for (int64_t a = 0; a < count; ++a)
      if (variables[a].rows != nullptr) subtract_rows(variables[a], rate, thread, threads);
  };
  workers.run(work, /* rest = */ true);  // the framework ends the step, and begins the next
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
