// The pieces that taps may come from: kerasptb/keyboard/taps.py has the formula, and the same walk in Python.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <new>
#include <numeric>
#include <vector>

#include "common/exports.h"

namespace {

// Hits, and how they align with one letter more. Rows have taps + 1 numbers.
struct Hits {
  const double *likelihoods, *strays, *omitted;
  double hit, doubled, undoubled, exchanged;
  int64_t symbols, taps;
  bool whole;

  // Writes the row p after the row q and a letter c; b is the letter before, and r the row before that.
  void add_letter(const double* q, const double* r, int32_t b, int32_t c, double* p) const {
    const double* likely = likelihoods + c * taps;
    const double left_out = b == c ? undoubled : omitted[c];
    for (int64_t j = 0; j <= taps; ++j) p[j] = left_out * q[j];
    if (!whole) p[taps] = c == symbols - 1 ? 0 : q[taps];  // letters after the last tap cost nothing, a space ends it
    for (int64_t j = 0; j < taps; ++j) p[j + 1] += hit * likely[j] * q[j];
    if (b >= 0) {
      const double* before = likelihoods + b * taps;
      for (int64_t j = 1; j < taps; ++j) p[j + 1] += exchanged * likely[j - 1] * before[j] * r[j - 1];
    }
    for (int64_t j = 0; j < taps; ++j) p[j + 1] += (doubled * likely[j] + strays[j]) * p[j];
  }

  double bound(const double* q, const double* r) const {
    return std::accumulate(q, q + taps + 1, 0.0) + exchanged * std::accumulate(r, r + taps + 1, 0.0);
  }
};

struct Found {
  double value, bound;
  int32_t piece, symbol;
  int64_t rows;  // where its two begin
};

}  // namespace

// Writes the probability of all taps for each word, of so many letters each; of letter -1 no tap is.
KERASPTB_EXPORT bool kerasptb_taps_align(const double* likelihoods, const double* strays, const double* omitted,
                                         const double* rates, int64_t symbols, int64_t taps, bool whole,
                                         const double* row, int32_t last_symbol, const int32_t* letters,
                                         const int64_t* lengths, int64_t words, double* ends) try {
  const Hits hits{likelihoods, strays, omitted, rates[0], rates[1], rates[2], rates[3], symbols, taps, whole};
  const int64_t size = taps + 1;
  std::vector<double> q(size), r(size), p(size);
  for (int64_t word = 0; word < words; ++word) {
    std::copy_n(row, size, q.begin());
    std::copy_n(row + size, size, r.begin());
    int32_t last = last_symbol;
    bool is_known = true;
    for (int64_t i = 0; i < lengths[word]; ++i) {
      const int32_t letter = *letters++;
      is_known = is_known && letter >= 0;
      if (!is_known) continue;
      hits.add_letter(q.data(), r.data(), last, letter, p.data());
      r.swap(q);
      q.swap(p);
      last = letter;
    }
    ends[word] = is_known ? q[taps] : 0;
  }
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

// Returns how many pieces were found, the likeliest first; -1 without memory.
KERASPTB_EXPORT int64_t kerasptb_taps_follow(const int32_t* letters, const int32_t* ends, const int32_t* parents,
                                             const int32_t* pieces, int64_t first, int64_t last,
                                             const double* likelihoods, const double* strays, const double* omitted,
                                             const double* rates, int64_t symbols, int64_t taps, bool whole,
                                             const double* row, int32_t last_symbol, double bound,
                                             const float* log_probabilities, int64_t vocabulary, double log_least,
                                             int64_t most, int32_t* found_pieces, double* found_values,
                                             double* found_rows, int32_t* found_symbols, double* found_bounds) try {
  const Hits hits{likelihoods, strays, omitted, rates[0], rates[1], rates[2], rates[3], symbols, taps, whole};
  const int64_t size = taps + 1;
  if (!(bound > 0)) return 0;
  const float at_most = *std::max_element(log_probabilities, log_probabilities + vocabulary);
  std::vector<float> likeliest(last - first);  // of the pieces of a node and its descendants
  const auto find_likeliest = [&](int64_t root) {
    for (int64_t node = root; node < ends[root]; ++node) {
      likeliest[node - first] = pieces[node] < 0 ? -INFINITY : log_probabilities[pieces[node]];
    }
    for (int64_t node = ends[root] - 1; node > root; --node) {
      float& parent = likeliest[parents[node] - first];
      parent = std::max(parent, likeliest[node - first]);
    }
  };
  // The path to a node: where the subtrees of its nodes end, their letters, and their rows, after those of the text.
  std::vector<int64_t> path_ends{last};
  std::vector<int32_t> path_letters{last_symbol};
  std::vector<double> rows(row + size, row + 2 * size);
  rows.insert(rows.end(), row, row + size);
  std::vector<Found> found;
  std::vector<double> kept;
  for (int64_t node = first; node < last;) {
    while (path_ends.back() <= node) {
      path_ends.pop_back();
      path_letters.pop_back();
    }
    const size_t depth = path_ends.size();
    rows.resize((depth + 2) * size);
    double *r = &rows[(depth - 1) * size], *q = r + size, *p = q + size;
    hits.add_letter(q, r, path_letters.back(), letters[node], p);
    const double after = hits.bound(p, q);
    const double changed = std::log(after / bound);
    const bool is_first = depth == 1 && changed + at_most > log_least;  // most first letters are far from all taps
    if (is_first) find_likeliest(node);
    if (!((is_first || depth > 1) && changed + likeliest[node - first] > log_least)) {
      node = ends[node];
      continue;
    }
    const int32_t piece = pieces[node];
    if (piece >= 0) {
      const double value = log_probabilities[piece] + changed;
      if (value > log_least) {
        found.push_back({value, after, piece, letters[node], static_cast<int64_t>(kept.size())});
        kept.insert(kept.end(), p, p + size);
        kept.insert(kept.end(), q, q + size);
      }
    }
    path_ends.push_back(ends[node]);
    path_letters.push_back(letters[node]);
    ++node;
  }
  const int64_t number = std::min<int64_t>(most, found.size());
  std::partial_sort(found.begin(), found.begin() + number, found.end(), [](const Found& a, const Found& b) {
    return a.value != b.value ? a.value > b.value : a.piece < b.piece;
  });
  for (int64_t i = 0; i < number; ++i) {
    found_pieces[i] = found[i].piece;
    found_values[i] = found[i].value;
    found_bounds[i] = found[i].bound;
    found_symbols[i] = found[i].symbol;
    std::copy_n(&kept[found[i].rows], 2 * size, found_rows + 2 * size * i);
  }
  return number;
} catch (const std::bad_alloc&) {
  return -1;
}
