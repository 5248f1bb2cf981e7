// The product of a step's gradients and U^T, whatever the cell, in float32.
#pragma once

#include "common/cpu.h"
#include "common/threads.h"

namespace kerasptb {

// The product of a step: dh[b, u] = sum over k of dz[b, k] U[u, k], in blocks of k.
struct ProductStep {
  const float* dz;      // row b at b * dz_stride
  const float* kernel;  // U [H, GH], dense
  const float* packed;  // U^T: vector v of units as [k][lane] at v * (size + 1) * kLanes; null: use `kernel`
  float* dh;            // row b at b * dh_stride
  int64_t units, size;  // H, GH
  int64_t dz_stride, dh_stride;
  Range columns;  // those of U to multiply with
  Range k;        // the block of them
};

// Does it for some rows of the batch and vectors of units, in blocks of k and of units: 256 KB of U, which stay in the
// L2 cache for all tiles of rows.
KERASPTB_DECLARE(void recurrent_gradient(ProductStep, Range rows, Range vectors))
// packed[v][k][lane] = U[v kLanes + lane, k], zero past the last unit. A vector of padding follows each [GH][kLanes],
// lest all begin at multiples of 4 KB.
KERASPTB_DECLARE(void transpose_kernel(const float* kernel, float* packed, int64_t units, int64_t size, Range vectors))

}  // namespace kerasptb
