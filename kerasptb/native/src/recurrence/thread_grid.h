// How the float32 recurrence is split over threads. Rows of the batch are independent for all steps, so splitting them
// needs no synchronisation. Splitting the units needs a barrier at each step; it pays where there are few rows, or
// where it makes a thread's part of the recurrent kernel small enough for its L2 cache.
#pragma once

#include <cstdint>

namespace kerasptb {

struct ThreadGrid {
  int row_parts, unit_parts;  // row_parts * unit_parts threads work
};

// Bytes of recurrent kernel that a core's L2 cache (2 MB on Sapphire Rapids) holds besides all else.
constexpr int64_t kBytesInCache = 1250000;

// The grid that takes the least time by a model of the costs. lanes: of a vector; units are split in whole vectors.
// rows: of a register tile, at most.
ThreadGrid choose_thread_grid(int threads, int64_t batch, int64_t units, int gates, int lanes, int rows);

}  // namespace kerasptb
