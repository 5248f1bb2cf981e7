// Products of a few rows with a matrix in 8 bits, on the calling thread alone: the steps of a network that many threads
// ask at once. N rows, K inputs, M outputs.
//
//   y[n, m] = out_scale[m] (sum over k of a[n, k] in_scale[k] w[k, m]) + bias[m]
//
// Reading the matrix takes longer than multiplying with it: in 8 bits it is a quarter of float32's, and in panels it is
// read from its beginning to its end.
#pragma once

#include <cstdint>

#include "common/cpu.h"

namespace kerasptb {

constexpr int64_t kFewRowsPanel = 64;  // columns of a panel

struct FewRows {
  int64_t rows, inputs, outputs;  // N, K, M
  const float* a;                 // [N, K]
  const int8_t* w;                // [ceil(M / kFewRowsPanel)][K][kFewRowsPanel], with anything behind column M
  const float* in_scale;          // [K], or null for 1
  const float* out_scale;         // [M], or null for 1
  const float* bias;              // [M], or null for 0
  float* y;                       // [N, M]
  bool log_softmax;               // y becomes y - log(sum over m of exp(y)), of each row
  float* scaled;                  // [N, K], for a in_scale; not read if in_scale is null
};

KERASPTB_DECLARE(void few_rows(const FewRows&))

}  // namespace kerasptb
