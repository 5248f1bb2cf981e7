// What a step of all variables does for any optimizer: it reads the gradients once for their norm, and once for the
// update, in which each variable is read and written once. See trained_variable.h.
//
// An optimizer is a function rule_of(variable, first, gradient, factor) that returns its rule for the elements of a
// variable from number `first` on, whose gradients are factor * gradient[0], ... The rule is a function of (w, i,
// lanes): the new weights of the elements i, i + 1, ..., from these weights after their decay. It reads and writes
// arrays of its own by `lanes`.
#pragma once

#include "optimizers/gradient_blocks.h"
#include "optimizers/trained_variable.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

// Access to whole vectors, and to the first elements of the last one.
struct AllLanes {
  KERASPTB_INLINE_METHOD Float load(const float* p) const { return KERASPTB_LEVEL::load(p); }
  KERASPTB_INLINE_METHOD void store(float* p, Float x) const { KERASPTB_LEVEL::store(p, x); }
};
struct FirstLanes {
  int64_t count;
  KERASPTB_INLINE_METHOD Float load(const float* p) const { return KERASPTB_LEVEL::load(p, count); }
  KERASPTB_INLINE_METHOD void store(float* p, Float x) const { KERASPTB_LEVEL::store(p, x, count); }
};

template <bool kDecays, bool kAverages, class Rule, class Lanes>
KERASPTB_INLINE void step_vector(float* weights, float* average, int64_t i, float decay, float momentum,
                                 const Rule& rule, const Lanes& lanes) {
  Float w = lanes.load(weights + i);
  if (kDecays) w = w - decay * w;
  w = rule(w, i, lanes);
  lanes.store(weights + i, w);
  if (kAverages) lanes.store(average + i, w + momentum * (lanes.load(average + i) - w));
}

template <bool kDecays, bool kAverages, class Rule>
KERASPTB_INLINE void step_vectors(float* weights, float* average, int64_t size, float decay, float momentum,
                                  const Rule& rule) {
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes)
    step_vector<kDecays, kAverages>(weights, average, i, decay, momentum, rule, AllLanes{});
  if (i < size) step_vector<kDecays, kAverages>(weights, average, i, decay, momentum, rule, FirstLanes{size - i});
}

// Elements first, first + 1, ... of a variable.
template <class Rule>
KERASPTB_INLINE void step_elements(const TrainedVariable& v, const ClippedStep& step, int64_t first, int64_t size,
                                   const Rule& rule) {
  float* const weights = v.weights + first;
  const float decay = step.learning_rate * v.weight_decay, momentum = step.average_momentum;
  if (v.average == nullptr)
    decay == 0 ? step_vectors<false, false>(weights, nullptr, size, decay, momentum, rule)
               : step_vectors<true, false>(weights, nullptr, size, decay, momentum, rule);
  else
    decay == 0 ? step_vectors<false, true>(weights, v.average + first, size, decay, momentum, rule)
               : step_vectors<true, true>(weights, v.average + first, size, decay, momentum, rule);
}

// Of a gradient of some rows, the parts of each row in their order: first[row], next[first[row]], ...; -1 ends them.
struct RowParts {
  int32_t *first, *next;  // [vocabulary_size], [num_rows]
};

// All rows of a variable, of which some have a gradient. A thread does all that there is for its rows.
template <class RuleOf>
KERASPTB_INLINE void step_rows(const TrainedVariable& v, const ClippedStep& step, float factor, const RowParts& parts,
                               const float* zeros, float* total, int thread, int threads, const RuleOf& rule_of) {
  const Range own = split(v.vocabulary_size, threads, thread);
  for (int64_t row = own.begin; row < own.end; ++row) parts.first[row] = -1;
  for (int64_t n = v.num_rows - 1; n >= 0; --n)
    if (const int64_t row = v.rows[n]; row >= own.begin && row < own.end) {
      parts.next[n] = parts.first[row];
      parts.first[row] = static_cast<int32_t>(n);
    }
  for (int64_t row = own.begin; row < own.end; ++row) {
    const float* gradient = zeros;
    if (int64_t n = parts.first[row]; n >= 0) {
      gradient = v.gradient + n * v.row_size;
      while ((n = parts.next[n]) >= 0) {
        const float* part = v.gradient + n * v.row_size;
        for (int64_t i = 0; i < v.row_size; ++i) total[i] = gradient[i] + part[i];
        gradient = total;
      }
    }
    const int64_t first = row * v.row_size;
    step_elements(v, step, first, v.row_size, rule_of(v, first, gradient, factor));
  }
}

// A step of all variables. `step_rows_alone(variable, factor, thread, threads)` does that of a variable with a gradient
// of some rows, and returns true, if that needs no other rows.
template <class RuleOf, class StepRowsAlone>
KERASPTB_INLINE void clipped_step(const TrainedVariable* variables, int64_t count, const ClippedStep& step,
                                  const RuleOf& rule_of, const StepRowsAlone& step_rows_alone) {
  Workers workers;
  const int threads = workers.count();
  const auto size_of = [&](int64_t a) { return variables[a].size; };
  const int64_t num_blocks = count_blocks(count, size_of);
  double* of_block = workers.scratch<double>(num_blocks);
  Barrier& all = *workers.barriers(1, threads);
  int64_t num_parts = 0, largest_row = 0;
  for (int64_t a = 0; a < count; ++a)
    if (const TrainedVariable& v = variables[a]; v.rows != nullptr) {
      num_parts += v.vocabulary_size + v.num_rows;
      largest_row = larger(largest_row, v.row_size);
    }
  int32_t* const all_parts = workers.scratch<int32_t>(num_parts);
  float* const buffers = workers.scratch<float>(2 * threads * largest_row);
  const auto work = [&](int thread) {
    float factor = 1;
    if (step.clip >= 0) {
      for_each_block(count, size_of, num_blocks, thread, threads,
                     [&](int64_t block, int64_t a, int64_t begin, int64_t size) {
                       of_block[block] = sum_of_squares(variables[a].gradient + begin, size);
                     });
      all.wait();
      const float norm = norm_of_blocks(of_block, num_blocks);
      // For norms below the limit the factor is exactly 1.
      factor = isfinite(norm) ? step.clip / (norm > step.clip ? norm : step.clip) : NAN;
    }
    for_each_block(count, size_of, num_blocks, thread, threads, [&](int64_t, int64_t a, int64_t begin, int64_t size) {
      const TrainedVariable& v = variables[a];
      if (v.rows == nullptr) step_elements(v, step, begin, size, rule_of(v, begin, v.gradient + begin, factor));
    });
    float *const zeros = buffers + 2 * thread * largest_row, *const total = zeros + largest_row;
    for (int64_t i = 0; i < largest_row; ++i) zeros[i] = 0;
    int32_t* parts = all_parts;
    for (int64_t a = 0; a < count; ++a)
      if (const TrainedVariable& v = variables[a]; v.rows != nullptr) {
        if (!step_rows_alone(v, factor, thread, threads))
          step_rows(v, step, factor, {parts, parts + v.vocabulary_size}, zeros, total, thread, threads, rule_of);
        parts += v.vocabulary_size + v.num_rows;
      }
  };
  workers.run(work, /* rest = */ true);  // the framework ends the step, and begins the next
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
