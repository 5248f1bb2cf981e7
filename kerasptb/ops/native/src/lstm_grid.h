// How the recurrence is split over threads: rows of the batch are independent for all steps, so splitting them needs no
// synchronisation; splitting the units needs a barrier each step, and pays where rows are few or where a thread's part
// of the recurrent kernel then stays in its cache.
#pragma once

#include <cstdint>

namespace kerasptb {

struct LstmGrid {
  int row_parts, unit_parts;  // row_parts * unit_parts threads work
};

// batch rows, `panels` groups of `panel_units` units; lanes and rows: the shape of the kernels' register tile.
LstmGrid choose_lstm_grid(int threads, int64_t batch, int64_t units, int64_t panel_units, int lanes, int rows);

}  // namespace kerasptb
