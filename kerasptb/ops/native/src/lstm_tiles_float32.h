// What the forward and the backward pass of the float32 recurrence (lstm_float32.h) share: the shape of the register
// tiles, and the parts of the threads.
#pragma once

#include "lstm_float32.h"
#include "lstm_grid.h"
#include "tiles_float32.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

// Rows of the batch in a register tile, at most. A tile of the forward product is R rows by N vectors of units, with
// all four gates, so that the gates can be computed from the sums; a tile of the backward product is R rows by N
// vectors of units, or by N units.
constexpr int kMaxRows = kRegisters == 32 ? 6 : 3;
static_assert(4 * kMaxRows + kMaxRows + 1 <= kRegisters, "sums, an element of each row in all lanes and a vector of U");

// A row stride of at least `size` floats: an odd number of cache lines, so that rows are spread over all sets of the L1
// cache.
KERASPTB_INLINE int64_t padded(int64_t size) { return (ceil_div(size, 16) | 1) * 16; }

// total += sums, sums = 0
KERASPTB_INLINE void add_and_clear(float* total, float* sums, int64_t size) {
  for (int64_t j = 0; j < size; ++j) {
    total[j] += sums[j];
    sums[j] = 0;
  }
}

// Copies a part of a matrix; strides in floats.
KERASPTB_INLINE void copy_rows(float* out, int64_t out_stride, const float* in, int64_t in_stride, Range rows,
                               Range units) {
  for (int64_t b = rows.begin; b < rows.end; ++b)
    memcpy(out + b * out_stride + units.begin, in + b * in_stride + units.begin, units.size() * sizeof(float));
}

// The part of a thread: some rows of the batch, and some units.
struct Part {
  int row_part;
  Range rows;           // of the batch
  Range panels, units;  // the units in whole vectors, and without those past the last

  KERASPTB_INLINE_METHOD Part(LstmGrid grid, int thread, int64_t batch, int64_t size)
      : row_part(thread / grid.unit_parts) {
    rows = split(batch, grid.row_parts, row_part);
    panels = split(ceil_div(size, kLanes), grid.unit_parts, thread % grid.unit_parts);
    units = {panels.begin * kLanes, panels.end * kLanes < size ? panels.end * kLanes : size};
  }
};

// The backward pass of the recurrence by threads that the caller holds. Its scratch memory stays taken.
void lstm_backward(const LstmBackward&, Workers&);

// How many tiles of rows a thread has, at most.
KERASPTB_INLINE int64_t tiles_of(int64_t batch, LstmGrid grid) {
  return ceil_div(ceil_div(batch, grid.row_parts), kMaxRows);
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
