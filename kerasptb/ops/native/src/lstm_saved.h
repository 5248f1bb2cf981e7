// The shapes of what the LSTM layer's forward pass on a processor saves for the backward pass.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace kerasptb {

// In the order of the results: gates and cells; in bfloat16 the rows before them. `parts`: bfloat16 numbers of each
// operand, 0 for float32.
std::vector<std::array<int64_t, 3>> lstm_saved_shapes(int parts, int64_t batch, int64_t steps, int64_t features,
                                                      int64_t units);

}  // namespace kerasptb
