// The pointwise step of the LSTM, of a vector of units:
//
//   i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of x[t] W + h[t-1] U + bias    (Keras' order; g is its candidate, c)
//   c[t] = f c[t-1] + i g        h[t] = o tanh(c[t])
//
// and its gradient:
//
//   dc = dc[t+1] f[t+1] + dh o (1 - tanh(c)^2)
//   dz_i = dc g i (1 - i)        dz_f = dc c[t-1] f (1 - f)
//   dz_g = dc i (1 - g^2)        dz_o = dh tanh(c) o (1 - o)
#pragma once

#include "cells/cells.h"
#include "common/simd.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

struct LstmCell {
  static constexpr Cell kCell = kLstm;
  static constexpr int kFirst = 0, kCount = 4;  // the gates of its product
  typedef LstmCell First;
  static constexpr int kOfInput[] = {0, 1, 2, 3}, kOfRecurrent[] = {0, 1, 2, 3};  // see layout_bfloat16.h

  // From the sums of x W + bias and those of h U. `kept` is c[t].
  static KERASPTB_INLINE_METHOD void forward(const Float (&input)[4], const Float (&recurrent)[4], Float /*h_previous*/,
                                             Float c_previous, Float (&gates)[4], Float& kept, Float& h) {
    const Float i = sigmoid(input[0] + recurrent[0]), f = sigmoid(input[1] + recurrent[1]);
    const Float g = tanh(input[2] + recurrent[2]), o = sigmoid(input[3] + recurrent[3]);
    kept = multiply_add(f, c_previous, i * g);
    h = o * tanh(kept);
    gates[0] = i, gates[1] = f, gates[2] = g, gates[3] = o;
  }

  // The gradients dz, and in `carried`, that of c[t], the gradient of c[t-1]. `previous` is c[t-1].
  static KERASPTB_INLINE_METHOD void backward(const Float (&gates)[4], Float kept, Float previous, Float dh,
                                              Float& carried, Float (&d)[4], Float (&)[4]) {
    const Float i = gates[0], f = gates[1], g = gates[2], o = gates[3], tanh_c = tanh(kept);
    const Float dc = carried + dh * o * (1.0f - tanh_c * tanh_c);
    d[0] = dc * g * i * (1.0f - i);
    d[1] = dc * previous * f * (1.0f - f);
    d[2] = dc * i * (1.0f - g * g);
    d[3] = dh * tanh_c * o * (1.0f - o);
    carried = dc * f;
  }
};

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
