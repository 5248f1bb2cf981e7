// The GRU with its reset gate before the product. A step has two products, the second of what the first makes of h:
//
//   z, r = sigmoid of x[t] W + h[t-1] U + bias
//   g = tanh(x[t] W + q U + bias), q = r h[t-1]        h[t] = z h[t-1] + (1 - z) g
//
// and its gradient, dq being that of the second product:
//
//   dz_z = dh (h[t-1] - g) z (1 - z)        dz_g = dh (1 - z) (1 - g^2)
//   dz_r = dq h[t-1] r (1 - r)              dh[t-1] has dh z + dq r besides
#pragma once

#include "cells/cells.h"
#include "common/simd.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

struct GruResetBeforeCell {
  static constexpr Cell kCell = kGruResetBefore;

  // z and r; `kept` is q. `operand` is h[t-1] with the mask of g.
  struct First {
    static constexpr Cell kCell = kGruResetBefore;
    static constexpr int kFirst = 0, kCount = 2;

    static KERASPTB_INLINE_METHOD void forward(const Float (&input)[2], const Float (&recurrent)[2], Float operand,
                                               Float (&gates)[3], Float& kept) {
      gates[0] = sigmoid(input[0] + recurrent[0]);
      gates[1] = sigmoid(input[1] + recurrent[1]);
      kept = gates[1] * operand;
    }
    static KERASPTB_INLINE_METHOD Float backward(Float r, Float operand, Float dq) {
      return dq * operand * r * (1.0f - r);
    }
  };

  struct Second {
    static constexpr Cell kCell = kGruResetBefore;
    static constexpr int kFirst = 2, kCount = 1;

    static KERASPTB_INLINE_METHOD void forward(const Float (&input)[1], const Float (&recurrent)[1], Float h_previous,
                                               Float z, Float& g, Float& h) {
      g = tanh(input[0] + recurrent[0]);
      h = multiply_add(z, h_previous, (1.0f - z) * g);
    }
    // dz_z and dz_g.
    static KERASPTB_INLINE_METHOD void backward(Float z, Float g, Float h_previous, Float dh, Float& d_z, Float& d_g) {
      d_z = dh * (h_previous - g) * z * (1.0f - z);
      d_g = dh * (1.0f - z) * (1.0f - g * g);
    }
  };
};

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
