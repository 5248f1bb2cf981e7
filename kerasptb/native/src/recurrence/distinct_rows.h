// Which rows of a matrix repeat others. A row of a product A B depends on one row of A, so equal rows of A need be
// multiplied once only; and for A^T C, rows of C can be added to each other first where those of A are equal. The
// lowest layer of a language model multiplies the vectors of words, and words repeat: in a batch of 60 sequences of 20
// words of the Penn Treebank, less than half of the rows are distinct.
#pragma once

#include <cstdint>

#include "common/threads.h"

namespace kerasptb {

// The distinct rows of a batch of sequences, in the order in which each comes first. Row t B + b is step t of sequence
// b of B. Rows are equal if all their bits are.
class DistinctRows {
 public:
  // After so many equal rows the next one counts as distinct: rounding errors of a sum over equal rows would grow with
  // its length.
  static constexpr int64_t kMaxEqual = 64;

  // Compares the rows of x [batch, steps, columns], by all threads. All count as distinct if fewer than `min_repeats`
  // repeat another one; and also, because looking would take too long, if none of the first 128 does, or if the first
  // 16 columns do not tell rows apart. Scratch memory of `workers` stays taken.
  DistinctRows(const float* x, int64_t batch, int64_t steps, int64_t columns, int64_t min_repeats, Workers& workers);

  // Kernels include this: see the note on inline functions in simd.h.
  __attribute__((always_inline)) int64_t count() const { return count_; }
  __attribute__((always_inline)) bool any_repeats() const { return count_ < number_; }
  // The first of the rows that are the i-th distinct row, i < count().
  __attribute__((always_inline)) int64_t first(int64_t i) const { return any_repeats() ? first_[i] : i; }
  // [steps batch]: which distinct row each row is. Null unless any_repeats().
  __attribute__((always_inline)) const int32_t* of_row() const { return any_repeats() ? of_row_ : nullptr; }

 private:
  int64_t number_, count_;
  int32_t *first_ = nullptr, *of_row_ = nullptr;
};

}  // namespace kerasptb
