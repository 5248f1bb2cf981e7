// The C functions of the counts, which Python calls: see counts.h and mixture.h.
#include <new>

#include "common/exports.h"
#include "counts/counts.h"
#include "counts/mixture.h"

namespace {

// Calls a function, and returns whether there was memory enough.
template <class Function>
bool has_memory(const Function& function) {
  try {
    function();
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace

using namespace kerasptb;

// The sizes that Python has too.
KERASPTB_EXPORT int kerasptb_counts_depth() { return kDepth; }
KERASPTB_EXPORT int64_t kerasptb_counts_weights() { return kWeights; }

// Those that return a bool say whether there was memory enough.
KERASPTB_EXPORT bool kerasptb_counts_sort(const int32_t* tokens, int64_t size, int64_t vocabulary, int32_t* order) {
  return has_memory([&] { sort_positions(tokens, size, vocabulary, order); });
}

// Returns counts of a text, or, without one, of a text that is appended; null without memory.
KERASPTB_EXPORT Counts* kerasptb_counts_open(const int32_t* tokens, const int32_t* order, int64_t size) {
  Counts* counts = nullptr;
  has_memory([&] { counts = order == nullptr ? new Counts() : new Counts(tokens, order, size); });
  return counts;
}

KERASPTB_EXPORT void kerasptb_counts_close(Counts* counts) { delete counts; }

KERASPTB_EXPORT bool kerasptb_counts_append(Counts* counts, const int32_t* tokens, int64_t size) {
  return has_memory([&] {
    for (int64_t i = 0; i < size; ++i) counts->append(tokens[i]);
  });
}

KERASPTB_EXPORT bool kerasptb_counts_mix(const Counts* counts, const float* weights, const int32_t* histories,
                                         int64_t rows, float* log_probabilities, int64_t vocabulary) {
  return has_memory([&] { mix(*counts, weights, histories, rows, log_probabilities, vocabulary); });
}

KERASPTB_EXPORT bool kerasptb_counts_find_parts(Counts* counts, int append, const int32_t* context,
                                                const int32_t* tokens, int64_t size, Part* parts, int8_t* numbers) {
  return has_memory([&] { find_parts(*counts, append ? counts : nullptr, context, tokens, size, parts, numbers); });
}

KERASPTB_EXPORT void kerasptb_counts_mix_parts(float* weights, float rate, const Part* parts, const int8_t* numbers,
                                               int64_t size, float* log_probabilities) {
  mix_parts(weights, rate, parts, numbers, size, log_probabilities);
}
