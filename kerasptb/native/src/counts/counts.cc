#include "counts/counts.h"

#include <numeric>

namespace kerasptb {

void sort_positions(const int32_t* tokens, int64_t size, int64_t vocabulary, int32_t* order) {
  // A stable counting sort by each token before, from the farthest to the nearest.
  std::vector<int32_t> sorted(size);
  std::vector<int64_t> starts(vocabulary + 2);
  std::iota(order, order + size, 0);
  for (int j = kDepth; j >= 1; --j) {
    const auto key = [&](int64_t position) { return position >= j ? tokens[position - j] + 1 : 0; };
    std::fill(starts.begin(), starts.end(), 0);
    for (int64_t position = 0; position < size; ++position) ++starts[key(position) + 1];
    std::partial_sum(starts.begin(), starts.end(), starts.begin());
    for (int64_t i = 0; i < size; ++i) sorted[starts[key(order[i])]++] = order[i];
    std::copy(sorted.begin(), sorted.end(), order);
  }
}

Counts::Counts(const int32_t* tokens, const int32_t* order, int64_t size)
    : tokens_(tokens), order_(order), size_(size) {
  std::vector<int8_t> shared(size);  // how many tokens before a position are those before the one ahead of it in order
  int32_t history[kDepth];
  for (int64_t i = 1; i < size; ++i) {
    history_of(order[i], history);
    shared[i] = static_cast<int8_t>(match(i - 1, history, kDepth));
  }
  bool any = true;
  for (int k = 1; any && k <= kDepth; ++k) {
    any = false;
    for (int64_t begin = 0, end; begin < size; begin = end) {
      for (end = begin + 1; end < size && shared[end] >= k;) ++end;
      if (end - begin <= kFew) continue;
      history_of(order[begin], history);
      many_.emplace(key(history, k), followers(begin, end, k));
      any = true;
    }
  }
}

void Counts::append(int32_t token) {
  if (size_ == 2 * kKept) {
    const std::vector<int32_t> kept(own_tokens_.end() - kKept, own_tokens_.end());
    own_tokens_.clear();
    own_order_.clear();
    many_.clear();
    size_ = 0;
    for (const int32_t each : kept) append(each);
  }
  int32_t history[kDepth];
  history_of(size_, history);
  const int64_t here = place(history);
  own_order_.insert(own_order_.begin() + here, static_cast<int32_t>(size_++));
  own_tokens_.push_back(token);
  tokens_ = own_tokens_.data();
  order_ = own_order_.data();
  int64_t begin = here, end = here + 1;  // those that share k tokens with it
  bool known = false;                    // whether the token followed a context that is longer by one before
  for (int k = std::max(match(here - 1, history, kDepth), match(here + 1, history, kDepth)); k > 0; --k) {
    if (const auto found = many_.find(key(history, k)); found != many_.end()) {
      const bool followed = found->second.count(token) > 0;
      if (!known || k == kDepth) found->second.add(token);
      known = followed;
      continue;
    }
    while (match(begin - 1, history, k) == k) --begin;
    while (match(end, history, k) == k) ++end;
    if (end - begin > kFew) many_.emplace(key(history, k), followers(begin, end, k));
    known = false;
    for (int64_t i = begin; !known && i < end; ++i) known = i != here && tokens_[order_[i]] == token;
  }
}

int Counts::match(int64_t i, History history, int most) const {
  if (i < 0 || i >= size_) return 0;
  int k = 0;
  while (k < most && before(history, k + 1) >= 0 && before(order_[i], k + 1) == before(history, k + 1)) ++k;
  return k;
}

int64_t Counts::place(History history) const {
  return std::partition_point(order_, order_ + size_,
                              [&](int32_t position) {
                                for (int j = 1; j <= kDepth; ++j)
                                  if (const int32_t token = before(position, j); token != before(history, j))
                                    return token < before(history, j);
                                return false;
                              }) -
         order_;
}

uint64_t Counts::key(History history, int k) {
  uint64_t hash = 0xD6E8FEB86659FD93u * k;  // of small numbers alone, some would be equal
  for (int j = 1; j <= k; ++j) {
    hash = (hash ^ static_cast<uint32_t>(before(history, j))) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
  }
  return hash;
}

Followers Counts::followers(int64_t begin, int64_t end, int k) {
  Followers found;
  for (int64_t i = begin; i < end; ++i) {
    const int32_t token = tokens_[order_[i]];
    const bool longer = i == begin || k == kDepth || before(order_[i], k + 1) != before(order_[i - 1], k + 1);
    context_ += longer;
    if (token >= static_cast<int64_t>(seen_.size())) seen_.resize(token + 1);
    if (seen_[token] != context_) found.add(token);
    seen_[token] = context_;
  }
  return found;
}

void Counts::history_of(int64_t position, int32_t* history) const {
  for (int j = 1; j <= kDepth; ++j) history[kDepth - j] = before(position, j);
}

}  // namespace kerasptb
