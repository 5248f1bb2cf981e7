#include "recurrence/thread_grid.h"

#include <algorithm>

namespace kerasptb {
namespace {

// A rough model of one step, in cycles. Measured on Sapphire Rapids; only its ratios matter.
constexpr double kBytesPerCycle = 8;     // from beyond L2, for each core
constexpr double kBarrierCycles = 2000;  // about a microsecond, without the wait for threads that are late

double step_cycles(ThreadGrid grid, int64_t batch, int64_t units, int gates, int lanes, int rows) {
  const auto ceil = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const int64_t my_rows = ceil(batch, grid.row_parts);
  const int64_t my_units = std::min(units, ceil(ceil(units, lanes), grid.unit_parts) * lanes);
  const int64_t tiles = ceil(my_rows, rows);
  // A tile of one row is bound by its loads of U and takes as long as one of two rows.
  const double tile_rows = std::max<double>(2.0 * tiles, static_cast<double>(my_rows));
  const double compute = tile_rows * my_units * static_cast<double>(gates) * units / lanes / 2;
  const double bytes = 4.0 * gates * units * my_units;
  const double stream = bytes > kBytesInCache ? bytes / kBytesPerCycle : 0;
  return std::max(compute, stream) + (grid.unit_parts > 1 ? kBarrierCycles : 0);
}

}  // namespace

ThreadGrid choose_thread_grid(int threads, int64_t batch, int64_t units, int gates, int lanes, int rows) {
  const int64_t vectors = (units + lanes - 1) / lanes;
  ThreadGrid best{1, 1};
  double best_cycles = step_cycles(best, batch, units, gates, lanes, rows);
  for (int row_parts = 1; row_parts <= std::min<int64_t>(threads, batch); ++row_parts) {
    const ThreadGrid grids[] = {{row_parts, 1},
                                {row_parts, static_cast<int>(std::min<int64_t>(threads / row_parts, vectors))}};
    for (const ThreadGrid& grid : grids) {
      const double cycles = step_cycles(grid, batch, units, gates, lanes, rows);
      if (cycles < best_cycles) best = grid, best_cycles = cycles;
    }
  }
  return best;
}

}  // namespace kerasptb
