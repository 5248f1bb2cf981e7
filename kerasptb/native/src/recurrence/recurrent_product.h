// The product of a step's states and U, whatever the cell, in float32.
#pragma once

#include "common/cpu.h"
#include "common/threads.h"

namespace kerasptb {

// The product of a step: sums[b, g, u] = sum over k of h[b, k] U[k, g, u], of some of the gates. The sums begin with
// the first row and vector that are asked for.
struct RecurrentProduct {
  const float* h;       // the operand of U: row b at b * h_stride, and that of gate g at g * operand_stride besides
  const float* kernel;  // U [H, GH]
  const float* packed;  // U as `pack_recurrent_kernel` makes it, of the same gates; null: use `kernel`, and `partial`
  float* sums;          // row b at b * sums_stride, and a gate's after the other's, gate_stride apart
  float* partial;       // as sums: scratch memory
  int64_t units, num_gates;  // H, G
  Range gates;
  int64_t h_stride, operand_stride;  // 0: one for all gates
  int64_t sums_stride, gate_stride;  // of whole vectors of units; those past the last unit may hold anything
};

// Does it for some rows of the batch and vectors of units.
KERASPTB_DECLARE(void recurrent_product(const RecurrentProduct&, Range rows, Range vectors))
// packed[vector][k][gate][lane] = U[k, gate, vector kLanes + lane], of some gates; zero past the last unit.
KERASPTB_DECLARE(void pack_recurrent_kernel(const float* kernel, float* packed, int64_t units, int64_t num_gates,
                                            Range gates, Range vectors))

}  // namespace kerasptb
