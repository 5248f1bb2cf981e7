#include "recurrence/distinct_rows.h"

#include <atomic>
#include <cstring>
#include <limits>

namespace kerasptb {
namespace {

constexpr int64_t kHashed = 16;  // columns
constexpr int64_t kRowsAhead = 16;
// If none of so many rows at the beginning repeats another one, the others are not looked at.
constexpr int64_t kSample = 128;

// A hash of the first columns of a row: the products of its bits and odd numbers, which do not wait for each other.
uint64_t hash_of(const float* row, int64_t columns) {
  constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;  // 2^64 divided by the golden ratio
  uint64_t bits[kHashed / 2] = {}, hash = 0;
  memcpy(bits, row, (columns < kHashed ? columns : kHashed) * sizeof(float));
  for (int i = 0; i < kHashed / 2; ++i) hash += (bits[i] ^ bits[i] >> 32) * (kOdd + 2 * i);
  return hash ^ hash >> 32;
}

}  // namespace

DistinctRows::DistinctRows(const float* x, int64_t batch, int64_t steps, int64_t columns, int64_t min_repeats,
                           Workers& workers)
    : number_(steps * batch), count_(number_) {
  const int64_t number = number_;
  if (number <= min_repeats || number > std::numeric_limits<int32_t>::max() / 2) return;
  first_ = workers.scratch<int32_t>(number);
  of_row_ = workers.scratch<int32_t>(number);
  int32_t* equal = workers.scratch<int32_t>(number);  // how many rows each distinct one stands for
  uint64_t* hashes = workers.scratch<uint64_t>(number);
  int64_t slots = 2;
  while (slots < 2 * number) slots *= 2;
  int32_t* table = workers.scratch<int32_t>(slots);  // distinct rows by hash; -1: empty
  memset(table, -1, slots * sizeof(int32_t));
  const int threads = workers.count();
  Barrier& all = *workers.barriers(1, threads);
  int64_t count = 0;
  const auto row = [&](int64_t i) { return x + (i % batch * steps + i / batch) * columns; };
  const auto hash = [&](Range some) {
    for (int64_t i = some.begin; i < some.end; ++i) {
      __builtin_prefetch(row(i + kRowsAhead));
      hashes[i] = hash_of(row(i), columns);
    }
  };
  const auto count_distinct = [&](Range some) {
    for (int64_t i = some.begin; i < some.end; ++i) {
      int64_t slot = hashes[i] & (slots - 1);
      while (table[slot] >= 0 && hashes[first_[table[slot]]] != hashes[i]) slot = (slot + 1) & (slots - 1);
      if (table[slot] < 0 || equal[table[slot]] == kMaxEqual) {
        first_[count] = static_cast<int32_t>(i);
        equal[count] = 0;
        table[slot] = static_cast<int32_t>(count++);
      }
      of_row_[i] = table[slot];
      ++equal[table[slot]];
    }
  };

  const Range sample{0, number < kSample ? number : kSample}, rest{sample.end, number};
  hash(sample);
  count_distinct(sample);
  if (count == sample.size()) return;
  std::atomic<bool> hashes_tell{true};
  workers.run([&](int thread) {
    const Range part = split(rest.size(), threads, thread), mine = split(number, threads, thread);
    hash({rest.begin + part.begin, rest.begin + part.end});
    all.wait();
    if (thread == 0) count_distinct(rest);
    all.wait();
    if (number - count < min_repeats) return;
    for (int64_t i = mine.begin; i < mine.end && hashes_tell.load(std::memory_order_relaxed); ++i) {
      const int64_t first = first_[of_row_[i]];
      if (first != i && memcmp(row(i), row(first), columns * sizeof(float)) != 0)
        hashes_tell.store(false, std::memory_order_relaxed);
    }
  });
  if (number - count >= min_repeats && hashes_tell) count_ = count;
}

}  // namespace kerasptb
