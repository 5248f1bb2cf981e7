// What followed each context of a text: the positions of its tokens, sorted by the tokens before them, the nearest
// first. The positions that share the last k tokens are an interval, and the intervals of shorter contexts hold those
// of longer ones. So all orders are in one array: one search finds where a context belongs, and a walk to both sides
// collects what followed it, from the longest match on. Contexts that came more than `kFew` times keep their followers.
//
// Those count a token once for each context that is longer by one and that it followed, as the lower orders of
// Kneser-Ney do (Kneser and Ney, 1995, "Improved backing-off for m-gram language modeling").
#pragma once

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "counts/followers.h"

namespace kerasptb {

constexpr int kDepth = 16;  // the longest context

// The last kDepth tokens of a text, the last of them last; -1 where there is none.
using History = const int32_t*;

class Counts {
 public:
  // Counts of `size` tokens in `order`, as `sort_positions` gives it. Both must outlive the object.
  Counts(const int32_t* tokens, const int32_t* order, int64_t size);
  // Counts of a text that `append` adds to.
  Counts() = default;
  Counts(const Counts&) = delete;
  Counts& operator=(const Counts&) = delete;

  // Adds a token to the text. Beyond 2 * kKept of them only the last kKept are counted.
  void append(int32_t token);

  // Calls function(k, followers) for each order k at which the end of a history has been seen, the highest first; for
  // several of one interval once, with the highest. `few` is scratch memory.
  template <class Function>
  void visit(History history, Followers& few, const Function& function) const;

 private:
  static constexpr int64_t kFew = 128, kKept = 1 << 19;

  // The j-th token before a position, or of the end of a history: 1 is the last.
  int32_t before(int64_t position, int j) const { return position >= j ? tokens_[position - j] : -1; }
  static int32_t before(History history, int j) { return history[kDepth - j]; }
  // How many tokens before the i-th position in order are the end of a history, at most `most`; 0 beyond the ends.
  int match(int64_t i, History history, int most) const;
  // The first position in order whose tokens before it are not less than the end of a history.
  int64_t place(History history) const;
  static uint64_t key(History history, int k);
  // What followed the positions [begin, end) in order, which share k tokens.
  Followers followers(int64_t begin, int64_t end, int k);
  void history_of(int64_t position, int32_t* history) const;

  const int32_t* tokens_ = nullptr;
  const int32_t* order_ = nullptr;
  int64_t size_ = 0;
  std::unordered_map<uint64_t, Followers> many_;  // of contexts that came more than kFew times
  std::vector<int64_t> seen_;                     // scratch memory: by token, the last context that it followed
  int64_t context_ = 0;
  std::vector<int32_t> own_tokens_, own_order_;  // of a text that grows
};

// The order of the positions of `size` tokens in [0, vocabulary).
void sort_positions(const int32_t* tokens, int64_t size, int64_t vocabulary, int32_t* order);

template <class Function>
void Counts::visit(History history, Followers& few, const Function& function) const {
  few.clear();
  int64_t right = place(history), left = right - 1;
  int of_left = match(left, history, kDepth), of_right = match(right, history, kDepth);
  int k = std::max(of_left, of_right);
  while (k > 0) {
    for (; of_left == k && few.total() <= kFew; of_left = match(left, history, k)) few.add(tokens_[order_[left--]]);
    for (; of_right == k && few.total() <= kFew; of_right = match(right, history, k)) few.add(tokens_[order_[right++]]);
    if (few.total() > kFew) break;
    function(k, few);
    k = std::max(of_left, of_right);
  }
  for (; k > 0; --k)
    if (const auto found = many_.find(key(history, k)); found != many_.end()) function(k, found->second);
}

}  // namespace kerasptb
