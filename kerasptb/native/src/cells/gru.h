// The pointwise step of the GRU, of a vector of units:
//
//   z, r = sigmoid of x[t] W + bias[0] + h[t-1] U + bias[1]    (Keras' order: z, r, and the candidate, g here)
//   g = tanh(x[t] W + bias[0] + r q), q = h[t-1] U + bias[1], of its columns
//   h[t] = z h[t-1] + (1 - z) g
//
// and its gradient, that of the products of h being another in the candidate's columns:
//
//   dz_z = dh (h[t-1] - g) z (1 - z)        dz_g = dh (1 - z) (1 - g^2), and r dz_g of h U
//   dz_r = dz_g q r (1 - r)                 dh[t-1] has dh z besides
#pragma once

#include "cells/cells.h"
#include "common/simd.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

struct GruCell {
  static constexpr Cell kCell = kGru;
  static constexpr int kFirst = 0, kCount = 3;  // the gates of its product
  typedef GruCell First;
  static constexpr int kOfInput[] = {0, 1, 2, -1}, kOfRecurrent[] = {0, 1, -1, 2};  // see layout_bfloat16.h

  // From the sums of x W + bias[0] and those of h U + bias[1]. `kept` is q.
  static KERASPTB_INLINE_METHOD void forward(const Float (&input)[3], const Float (&recurrent)[3], Float h_previous,
                                             Float /*c_previous*/, Float (&gates)[3], Float& kept, Float& h) {
    const Float z = sigmoid(input[0] + recurrent[0]), r = sigmoid(input[1] + recurrent[1]);
    const Float g = tanh(input[2] + r * recurrent[2]);
    kept = recurrent[2];
    h = multiply_add(z, h_previous, (1.0f - z) * g);
    gates[0] = z, gates[1] = r, gates[2] = g;
  }

  // `previous` is h[t-1], and `carried` becomes its gradient without that by the product.
  static KERASPTB_INLINE_METHOD void backward(const Float (&gates)[3], Float kept, Float previous, Float dh,
                                              Float& carried, Float (&d)[3], Float (&d_recurrent)[3]) {
    const Float z = gates[0], r = gates[1], g = gates[2];
    d[0] = d_recurrent[0] = dh * (previous - g) * z * (1.0f - z);
    d[2] = dh * (1.0f - z) * (1.0f - g * g);
    d[1] = d_recurrent[1] = d[2] * kept * r * (1.0f - r);
    d_recurrent[2] = d[2] * r;
    carried = dh * z;
  }
};

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
