// The pointwise step of the LSTM with coupled gates, i = 1 - f, of a vector of units:
//
//   f, g, o = sigmoid, tanh, sigmoid of x[t] W + h[t-1] U + bias
//   c[t] = f c[t-1] + (1 - f) g        h[t] = o tanh(c[t])
//
// and its gradient:
//
//   dc = dc[t+1] f[t+1] + dh o (1 - tanh(c)^2)
//   dz_f = dc (c[t-1] - g) f (1 - f)        dz_g = dc (1 - f) (1 - g^2)        dz_o = dh tanh(c) o (1 - o)
#pragma once

#include "cells/cells.h"
#include "common/simd.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

struct CifgCell {
  static constexpr Cell kCell = kCifg;
  static constexpr int kFirst = 0, kCount = 3;  // the gates of its product
  typedef CifgCell First;
  static constexpr int kOfInput[] = {0, 1, 2, -1}, kOfRecurrent[] = {0, 1, 2, -1};  // see layout_bfloat16.h

  static KERASPTB_INLINE_METHOD void forward(const Float (&input)[3], const Float (&recurrent)[3], Float /*h_previous*/,
                                             Float c_previous, Float (&gates)[3], Float& kept, Float& h) {
    const Float f = sigmoid(input[0] + recurrent[0]), g = tanh(input[1] + recurrent[1]);
    const Float o = sigmoid(input[2] + recurrent[2]);
    kept = multiply_add(f, c_previous, (1.0f - f) * g);
    h = o * tanh(kept);
    gates[0] = f, gates[1] = g, gates[2] = o;
  }

  static KERASPTB_INLINE_METHOD void backward(const Float (&gates)[3], Float kept, Float previous, Float dh,
                                              Float& carried, Float (&d)[3], Float (&)[3]) {
    const Float f = gates[0], g = gates[1], o = gates[2], tanh_c = tanh(kept);
    const Float dc = carried + dh * o * (1.0f - tanh_c * tanh_c);
    d[0] = dc * (previous - g) * f * (1.0f - f);
    d[1] = dc * (1.0f - f) * (1.0f - g * g);
    d[2] = dh * tanh_c * o * (1.0f - o);
    carried = dc * f;
  }
};

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
