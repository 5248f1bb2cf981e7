// Frozen models (ops.h) on processors. Rows are independent: each thread takes some of them through all nodes, a block
// at a time, so that what is between two layers stays in its cache; a call of few rows stays on its thread, and waits
// for no other.
#pragma once

#include <cstdint>

#include "common/cpu.h"
#include "frozen/ops.h"

namespace kerasptb {

// Where a tensor is: of the arena, or of an array that the caller has.
struct FrozenPlace {
  int64_t external;  // -1: the arena, of which each tensor has a part for all rows of a block
  int64_t offset;    // in floats of a row
  int64_t row;       // floats between two rows, of the caller's
};

struct FrozenProgram {
  const fz_node* nodes;
  const FrozenPlace* places;
  int64_t num_nodes, num_tensors;
  int64_t arena_floats;                // of a row
  int64_t few_scratch, block_scratch;  // floats of a row: of kFewRows at most, and of a block
  int64_t operations;                  // multiply-adds of a row
};

constexpr int64_t kFewRows = 6, kBlockRows = 64;

// Returns whether all ids have rows in their tables. `arena` is memory of `frozen_room` floats.
KERASPTB_DECLARE(bool frozen_run(const FrozenProgram&, int64_t rows, float* const* externals, float* arena))
KERASPTB_DECLARE_BFLOAT16(bool frozen_run(const FrozenProgram&, int64_t rows, float* const* externals, float* arena))
KERASPTB_DECLARE(int64_t frozen_lanes())

static inline __attribute__((always_inline)) int64_t frozen_room(const FrozenProgram& p) {
  const int64_t few = kFewRows * (p.arena_floats + p.few_scratch);
  const int64_t block = kBlockRows * (p.arena_floats + p.block_scratch);
  return (few > block ? few : block) + 16 * (p.num_tensors + 1);
}

}  // namespace kerasptb
