// The C functions of the counts, which Python calls: see counts.h and mixture.h.
#include <new>

#include "common/exports.h"
#include "counts/counts.h"
#include "counts/mixture.h"

using namespace kerasptb;

// The sizes that Python has too.
KERASPTB_EXPORT int kerasptb_counts_depth() { return kDepth; }
KERASPTB_EXPORT int64_t kerasptb_counts_weights() { return kWeights; }

// Returns whether there was memory enough, like the other functions.
KERASPTB_EXPORT bool kerasptb_counts_sort(const int32_t* tokens, int64_t size, int64_t vocabulary, int32_t* order) try {
  sort_positions(tokens, size, vocabulary, order);
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

// Returns counts of a text, or, without one, of a text that is appended; null without memory.
KERASPTB_EXPORT Counts* kerasptb_counts_open(const int32_t* tokens, const int32_t* order, int64_t size) try {
  return order == nullptr ? new Counts() : new Counts(tokens, order, size);
} catch (const std::bad_alloc&) {
  return nullptr;
}

KERASPTB_EXPORT void kerasptb_counts_close(Counts* counts) { delete counts; }

KERASPTB_EXPORT bool kerasptb_counts_append(Counts* counts, const int32_t* tokens, int64_t size) try {
  for (int64_t i = 0; i < size; ++i) counts->append(tokens[i]);
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

KERASPTB_EXPORT bool kerasptb_counts_mix(const Counts* counts, const float* weights, const int32_t* histories,
                                         int64_t rows, float* log_probabilities, int64_t vocabulary) try {
  mix(*counts, weights, histories, rows, log_probabilities, vocabulary);
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

KERASPTB_EXPORT bool kerasptb_counts_find_parts(Counts* counts, int append, const int32_t* context,
                                                const int32_t* tokens, int64_t size, Part* parts, int8_t* numbers) try {
  (append ? find_parts_and_append(*counts, context, tokens, size, parts, numbers)
          : find_parts(*counts, context, tokens, size, parts, numbers));
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

KERASPTB_EXPORT void kerasptb_counts_mix_parts(float* weights, float rate, const Part* parts, const int8_t* numbers,
                                               int64_t size, float* log_probabilities) {
  mix_parts(weights, rate, parts, numbers, size, log_probabilities);
}
