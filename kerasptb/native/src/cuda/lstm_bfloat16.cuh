// What the two passes of the recurrence share if the operands of its products are rounded to bfloat16: h and U forward,
// dz and U backward. Sums, cell state and gates are float32. Equations, and how the work is split over the blocks of a
// cluster: lstm.cuh. The differences: a cluster computes eight rows of the batch, as many as a tensor core multiplies
// at once; and two weights share a register, so that sixteen blocks hold 512 units.
//
// In a product C += A B (multiply_add in device.cuh) A [16, 16] holds weights, and B [16, 8] holds eight rows of h or
// dz. The order of k is arbitrary as long as A and B have the same. It is chosen so that the four numbers of B that a
// lane needs for a product are neighbours in memory, followed by those for the next product: one read serves two
// products.
#pragma once

#include "cuda/lstm.cuh"

namespace kerasptb {
namespace cuda {

// The k of the first of the two numbers that a lane has in a[2 pair], a[2 pair + 1] and b<pair> of a product; the
// second is the k after.
KERASPTB_DEVICE int first_k(int product, int pair, int lane) {
  return product / 2 * 32 + lane % 4 * 8 + product % 2 * 4 + pair * 2;
}

// The numbers of two products, the first of them even.
KERASPTB_DEVICE uint4 load_operand(const uint16_t* rows, int stride, int product, int lane) {
  return *reinterpret_cast<const uint4*>(rows + lane / 4 * stride + first_k(product, 0, lane));
}

// After a product lane 4 g + q holds rows g and g + 8 of two columns. This exchanges them with the lane of row g ^ 1,
// so that it holds four rows of one column, product_column(lane): rows 2 (g / 2) and the next, and those + 8.
KERASPTB_DEVICE void pair_rows(float (&c)[4], int lane) {
  const bool odd = (lane & 4) != 0;
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const float kept = odd ? c[i + 1] : c[i], given = odd ? c[i] : c[i + 1];
    const float taken = shuffle_xor(given, 4);
    c[i] = odd ? taken : kept;
    c[i + 1] = odd ? kept : taken;
  }
}
KERASPTB_DEVICE int product_column(int lane) { return lane % 4 * 2 + lane / 4 % 2; }

}  // namespace cuda
}  // namespace kerasptb
