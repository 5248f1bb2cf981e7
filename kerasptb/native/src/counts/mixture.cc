#include "counts/mixture.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace kerasptb {
namespace {

constexpr double kAbsent = -1;

double log_of(double p) { return std::log(std::max(p, 1e-300)); }

double discount(const Followers& followers) { return followers.total() == 1 ? 0.5 : 0.8; }

// What the order of some followers says of a token that came `count` times.
double probability(const Followers& followers, int64_t count) {
  const double d = discount(followers);
  return std::max(count - d, 0.0) / (followers.total() - d * followers.distinct());
}

Part part(int k, int longest, const Followers& followers, int64_t count) {
  const int64_t total = followers.total();
  int size = 0;
  while (size < kSizes - 1 && total >> (size + 1)) ++size;
  const int64_t share = 8 * followers.distinct() / total;
  return {static_cast<int32_t>((k * kSizes + size) * kShares + share),
          static_cast<int32_t>(kWeightsOfCounts + k * (kDepth + 1) + longest),
          static_cast<float>(probability(followers, count))};
}

double lambda(const float* weights, const Part& part) {
  return 1 / (1 + std::exp(-static_cast<double>(weights[part.of_counts] + weights[part.of_orders])));
}

}  // namespace

void mix(const Counts& counts, const float* weights, History histories, int64_t rows, float* log_probabilities,
         int64_t vocabulary) {
  Followers few;
  std::vector<double> added(vocabulary, kAbsent);
  std::vector<int32_t> known;
  for (int64_t row = 0; row < rows; ++row) {
    double left = 1;
    int longest = 0;
    counts.visit(histories + row * kDepth, few, [&](int k, const Followers& followers) {
      longest = std::max(longest, k);
      const double kept = lambda(weights, part(k, longest, followers, 0)), d = discount(followers);
      const double factor = left * (1 - kept) / (followers.total() - d * followers.distinct());
      followers.for_each([&](int32_t token, int32_t count) {
        if (added[token] == kAbsent) {
          known.push_back(token);
          added[token] = 0;
        }
        added[token] += factor * (count - d);
      });
      left *= kept;
    });
    if (known.empty()) continue;
    float* of_row = log_probabilities + row * vocabulary;
    for (const int32_t token : known)
      added[token] = log_of(added[token] + left * std::exp(static_cast<double>(of_row[token])));
    const float log_left = static_cast<float>(std::log(left));
    for (int64_t token = 0; token < vocabulary; ++token) of_row[token] += log_left;
    for (const int32_t token : known) {
      of_row[token] = static_cast<float>(added[token]);
      added[token] = kAbsent;
    }
    known.clear();
  }
}

void find_parts(const Counts& counts, Counts* growing, const int32_t* context, const int32_t* tokens, int64_t size,
                Part* parts, int8_t* numbers) {
  Followers few;
  for (int64_t i = 0; i < size; ++i, parts += kDepth) {
    int longest = 0;
    numbers[i] = 0;
    counts.visit(context + i, few, [&](int k, const Followers& followers) {
      longest = std::max(longest, k);
      parts[numbers[i]++] = part(k, longest, followers, followers.count(tokens[i]));
    });
    if (growing != nullptr) growing->append(tokens[i]);
  }
}

void mix_parts(float* weights, float rate, const Part* parts, const int8_t* numbers, int64_t size,
               float* log_probabilities) {
  // The steepest step: a token that was all but impossible does not turn a weight over.
  constexpr double kSteepest = 20;
  double below[kDepth], kept[kDepth];
  for (int64_t i = 0; i < size; ++i, parts += kDepth) {
    double p = std::exp(static_cast<double>(log_probabilities[i]));
    for (int j = numbers[i] - 1; j >= 0; --j) {
      below[j] = p;
      kept[j] = lambda(weights, parts[j]);
      p = (1 - kept[j]) * parts[j].probability + kept[j] * p;
    }
    log_probabilities[i] = static_cast<float>(log_of(p));
    double slope =
        rate > 0 ? 1 / std::max(p, 1e-300) : 0;  // of the log probability, by that which the orders below give
    for (int j = 0; j < numbers[i] && slope > 0; ++j) {
      const double by_kept = std::clamp(slope * (below[j] - parts[j].probability), -kSteepest, kSteepest);
      const float step = static_cast<float>(rate * by_kept * kept[j] * (1 - kept[j]));
      weights[parts[j].of_counts] += step;
      weights[parts[j].of_orders] += step;
      slope *= kept[j];
    }
  }
}

}  // namespace kerasptb
