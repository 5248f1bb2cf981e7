// What the forward and the backward pass of the float32 recurrence (recurrence.h) share: the order of gates in
// memory, the shape of the register tiles, and the parts of the threads. G is the number of a cell's gates.
#pragma once

#include "common/product_float32.h"
#include "recurrence/recurrence.h"
#include "recurrence/steps.h"
#include "recurrence/thread_grid.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

// Rows of the batch in a register tile that is `vectors` wide, at most: sums, an element of each row in all lanes, and
// a vector of U. A tile of the forward product is R rows by N vectors of units, with all their gates, so that these can
// be computed from the sums; a tile of the backward product is R rows by N <= 4 vectors of units, or by N units.
constexpr int tile_rows(int vectors) { return (kRegisters - 1) / ((vectors < 3 ? 3 : vectors) + 1); }

// A row stride of at least `size` floats: an odd number of cache lines, so that rows are spread over all sets of the L1
// cache.
KERASPTB_INLINE int64_t padded(int64_t size) { return (ceil_div(size, 16) | 1) * 16; }

// Up to so many units the gates of a vector of units lie together.
constexpr int64_t kUnitsTogether = 512;

// "Packed columns" are the GH columns of the gates, with H rounded up to kLanes, in the order unit / kLanes, gate, unit
// % kLanes: so the gates of a vector of units follow one another, and a step reads and writes them in one go. With many
// units they keep the order of W, gate by gate: then it matters more that rows of dW are written in long runs.
struct PackedColumns {
  int64_t gates, units;                                 // G, H
  int64_t rounded = round_up(units, kLanes);            // H'
  int64_t gate_stride = together() ? kLanes : rounded;  // from a gate to the next
  int64_t unit_stride = together() ? gates : 1;         // from a unit to the next, of those that begin a vector
  int64_t first = 0, last = gates;                      // the gates that are meant; the others' vectors have no columns

  KERASPTB_INLINE_METHOD bool together() const { return units <= kUnitsTogether; }
  KERASPTB_INLINE_METHOD int64_t count() const { return gates * rounded; }
  // Where the vector of a gate is that begins at `unit`, a multiple of kLanes.
  KERASPTB_INLINE_METHOD int64_t at(int64_t gate, int64_t unit) const {
    return gate * gate_stride + unit * unit_stride;
  }
  // The columns of W that a vector of packed columns are.
  KERASPTB_INLINE_METHOD Columns of_vector(int64_t vector) const {
    const uint32_t G = static_cast<uint32_t>(gates), v = static_cast<uint32_t>(vector);  // divided much faster
    int64_t gate = 0;
    if (together())
      gate = v % G;
    else
      for (int64_t g = 1; g < gates; ++g) gate += vector * kLanes >= g * rounded;
    const int64_t unit = together() ? v / G * kLanes : vector * kLanes - gate * rounded;
    return {gate * units + unit, first <= gate && gate < last ? lanes_before(unit, units) : 0};
  }
  // As of PlainColumns. A panel is two vectors: with an odd number of gates its gates are the same again after as many.
  KERASPTB_INLINE_METHOD int64_t apart() const { return !together() ? 1 : gates % 2 == 0 ? gates / 2 : gates; }
};

// The order of `xz`, `gates` and `c_seq` (recurrence.h); strides in floats.
struct SavedOrder {
  bool steps_first;
  PackedColumns packed;
  int64_t columns;                   // of xz and gates
  int64_t gates_of_step, gates_row;  // from a step to the next, and from a row of the batch to the next
  int64_t c_of_step, c_row;

  KERASPTB_INLINE_METHOD SavedOrder(int gates, bool steps_first, int64_t batch, int64_t steps, int64_t units)
      : steps_first(steps_first),
        packed{gates, units},
        columns(steps_first ? packed.count() : gates * units),
        gates_of_step(steps_first ? batch * columns : columns),
        gates_row(steps_first ? columns : steps * columns),
        c_of_step(steps_first ? batch * units : units),
        c_row(steps_first ? units : steps * units) {}

  // Where the vector of a gate is that begins at `unit`, a multiple of kLanes, in a row of xz or gates.
  KERASPTB_INLINE_METHOD int64_t at(int64_t gate, int64_t unit) const {
    return steps_first ? packed.at(gate, unit) : gate * packed.units + unit;
  }
};

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

// Copies a part of h[t-1] as the operand of step t.
KERASPTB_INLINE void copy_operands(float* out, int64_t out_stride, const float* h, int64_t h_stride, Range rows,
                                   Range units, const StepKinds& kinds, int64_t gate = 0) {
  if (!kinds.special.any()) return copy_rows(out, out_stride, h, h_stride, rows, units);
  for (int64_t b = rows.begin; b < rows.end; ++b)
    for (int64_t u = units.begin; u < units.end; u += kLanes) {
      const int64_t lanes = lanes_before(u, units.end);
      store(out + b * out_stride + u, kinds.operand(load(h + b * h_stride + u, lanes), b, u, lanes, gate), lanes);
    }
}

// The part of a thread: some rows of the batch, and some units.
struct Part {
  int row_part;
  Range rows;           // of the batch
  Range panels, units;  // the units in whole vectors, and without those past the last

  KERASPTB_INLINE_METHOD Part(ThreadGrid grid, int thread, int64_t batch, int64_t size)
      : row_part(thread / grid.unit_parts) {
    rows = split(batch, grid.row_parts, row_part);
    panels = split(ceil_div(size, kLanes), grid.unit_parts, thread % grid.unit_parts);
    units = {panels.begin * kLanes, panels.end * kLanes < size ? panels.end * kLanes : size};
  }
};

// How many tiles of rows a thread has, at most; `rows` are in a tile.
KERASPTB_INLINE int64_t tiles_of(int64_t batch, ThreadGrid grid, int rows) {
  return ceil_div(ceil_div(batch, grid.row_parts), rows);
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
