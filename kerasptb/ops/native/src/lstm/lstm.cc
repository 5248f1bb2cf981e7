#include "lstm/lstm.h"

namespace kerasptb {

std::vector<std::array<int64_t, 3>> lstm_saved_shapes(int parts, const LstmSizes& sizes) {
  const int64_t B = sizes.batch, T = sizes.steps;
  if (parts == 0) return {{B, T, sizes.packed_columns()}, {B, T, sizes.units}};
  return {{parts * sizes.operands, sizes.num_rows(), sizes.row_stride()},
          {T, B, 4 * sizes.padded_units()},
          {T + 1, B, sizes.padded_units()}};
}

}  // namespace kerasptb
