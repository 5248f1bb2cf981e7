// A distribution of tokens refined by what followed the context in a text. With p the distribution, and for each order
// k at which the context has been seen, from the lowest on, C followers, D of them different, c(w) of them w:
//
//   p(w) <- (1 - lambda) max(c(w) - d, 0) / (C - d D) + lambda p(w)
//   lambda = sigmoid(a[k, log2 C, D / C] + b[k, longest k])
//
// d is 0.8, or 0.5 where C = 1. So counts are interpolated as by Jelinek and Mercer (1980, "Interpolated estimation of
// Markov source parameters from sparse data"), and the weights are learned.
#pragma once

#include <cstdint>

#include "counts/counts.h"

namespace kerasptb {

constexpr int kSizes = 12, kShares = 9;
// Of a, [kDepth + 1, kSizes, kShares], and of b, [kDepth + 1, kDepth + 1].
constexpr int64_t kWeightsOfCounts = (kDepth + 1) * kSizes * kShares,
                  kWeights = kWeightsOfCounts + (kDepth + 1) * (kDepth + 1);

// What an order knows of one token.
struct Part {
  int32_t of_counts, of_orders;  // the places of its two weights
  float probability;             // max(c(w) - d, 0) / (C - d D)
};

// Refines the distributions of `rows` histories: log probabilities, [rows, vocabulary], in place.
void mix(const Counts& counts, const float* weights, History histories, int64_t rows, float* log_probabilities,
         int64_t vocabulary);

// Finds the parts of tokens, [size, kDepth], of each the highest order first, and their numbers, [size]. `context` are
// the tokens before, [size - 1 + kDepth]. With `growing`, the counts themselves, each token is appended to them before
// the next.
void find_parts(const Counts& counts, Counts* growing, const int32_t* context, const int32_t* tokens, int64_t size,
                Part* parts, int8_t* numbers);

// Refines log probabilities of tokens, [size], by their parts, in place. After each the weights go a step of `rate`
// along the gradient of its log probability.
void mix_parts(float* weights, float rate, const Part* parts, const int8_t* numbers, int64_t size,
               float* log_probabilities);

}  // namespace kerasptb
