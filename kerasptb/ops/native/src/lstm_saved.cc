#include "lstm_saved.h"

#include "lstm_bfloat16.h"
#include "lstm_float32.h"

namespace kerasptb {

std::vector<std::array<int64_t, 3>> lstm_saved_shapes(int parts, int64_t batch, int64_t steps, int64_t features,
                                                      int64_t units) {
  if (parts == 0) return {{batch, steps, lstm_layer_gates(units)}, {batch, steps, units}};
  const LstmBfloat16Sizes sizes{batch, steps, features, units};
  return {{parts, sizes.num_rows(), sizes.row_stride()},
          {steps, batch, 4 * sizes.padded_units()},
          {steps + 1, batch, sizes.padded_units()}};
}

}  // namespace kerasptb
