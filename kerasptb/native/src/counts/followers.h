// The tokens that followed a context, and how often each did: a hash table with open addressing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace kerasptb {

class Followers {
 public:
  void add(int32_t token) {
    if (2 * (distinct_ + 1) > static_cast<int64_t>(slots_.size())) grow();
    Slot& slot = slots_[find(token)];
    distinct_ += slot.token < 0;
    slot.token = token;
    ++slot.count;
    ++total_;
  }

  void clear() {
    if (total_ > 0) std::fill(slots_.begin(), slots_.end(), Slot());
    total_ = distinct_ = 0;
  }

  int64_t total() const { return total_; }
  int64_t distinct() const { return distinct_; }
  int64_t count(int32_t token) const { return slots_.empty() ? 0 : slots_[find(token)].count; }

  // Calls function(token, count) for each of them, in an order that depends on the tokens that were added alone.
  template <class Function>
  void for_each(const Function& function) const {
    for (const Slot& slot : slots_)
      if (slot.token >= 0) function(slot.token, slot.count);
  }

 private:
  struct Slot {
    int32_t token = -1;
    int32_t count = 0;
  };

  // The place of a token, or the free one where it belongs. At least half of the slots are free.
  size_t find(int32_t token) const {
    const size_t mask = slots_.size() - 1;
    size_t i = (static_cast<uint64_t>(token) * 0x9E3779B97F4A7C15u >> 40) & mask;
    while (slots_[i].token >= 0 && slots_[i].token != token) i = (i + 1) & mask;
    return i;
  }

  void grow() {
    std::vector<Slot> old(std::max<size_t>(8, 2 * slots_.size()));
    old.swap(slots_);
    for (const Slot& slot : old)
      if (slot.token >= 0) slots_[find(slot.token)] = slot;
  }

  std::vector<Slot> slots_;
  int64_t total_ = 0, distinct_ = 0;
};

}  // namespace kerasptb
