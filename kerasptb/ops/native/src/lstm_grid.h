// How the recurrence is split over threads: rows of the batch are independent for all steps, so splitting them needs no
// synchronisation; splitting the units needs a barrier each step, and pays where rows are few or where a thread's part
// of the recurrent kernel then stays in its cache.
#pragma once

#include <cstdint>

namespace kerasptb {

struct LstmGrid {
  int row_parts, unit_parts;  // row_parts * unit_parts threads work
};

// The recurrent kernel in bytes, up to which a core's L2 cache holds it beside the rest.
constexpr int64_t kBytesInCache = 1250000;

// lanes and rows: the shape of the kernels' register tile. Units are split in whole vectors of lanes.
LstmGrid choose_lstm_grid(int threads, int64_t batch, int64_t units, int lanes, int rows);

}  // namespace kerasptb
