// The pointwise step of the LSTM with a capped input gate, of a vector of units:
//
//   i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of x[t] W + h[t-1] U + bias
//   c[t] = f c[t-1] + min(i, 1 - f) g        h[t] = o tanh(c[t])
//
// and its gradient: that of the LSTM where i is the smaller; elsewhere that of the CIFG, and dz_i = 0.
#pragma once

#include "cells/cells.h"
#include "common/simd.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

struct CappedLstmCell {
  static constexpr Cell kCell = kCappedLstm;
  static constexpr int kFirst = 0, kCount = 4;  // the gates of its product
  typedef CappedLstmCell First;
  static constexpr int kOfInput[] = {0, 1, 2, 3}, kOfRecurrent[] = {0, 1, 2, 3};  // see layout_bfloat16.h

  // A gate i that is capped is kept as -1: kept in bfloat16, it could come to either side of 1 - f.
  static KERASPTB_INLINE_METHOD void forward(const Float (&input)[4], const Float (&recurrent)[4], Float /*h_previous*/,
                                             Float c_previous, Float (&gates)[4], Float& kept, Float& h) {
    const Float i = sigmoid(input[0] + recurrent[0]), f = sigmoid(input[1] + recurrent[1]), room = 1.0f - f;
    const Float g = tanh(input[2] + recurrent[2]), o = sigmoid(input[3] + recurrent[3]);
    kept = multiply_add(f, c_previous, at_most(i, room) * g);
    h = o * tanh(kept);
    gates[0] = room < i ? Float{} - 1.0f : i;
    gates[1] = f, gates[2] = g, gates[3] = o;
  }

  static KERASPTB_INLINE_METHOD void backward(const Float (&gates)[4], Float kept, Float previous, Float dh,
                                              Float& carried, Float (&d)[4], Float (&)[4]) {
    const Float i = gates[0], f = gates[1], g = gates[2], o = gates[3], tanh_c = tanh(kept), room = 1.0f - f;
    const Float dc = carried + dh * o * (1.0f - tanh_c * tanh_c);
    d[0] = i < 0.0f ? Float{} : dc * g * i * (1.0f - i);
    d[1] = dc * (i < 0.0f ? previous - g : previous) * f * room;
    d[2] = dc * (i < 0.0f ? room : i) * (1.0f - g * g);
    d[3] = dh * tanh_c * o * (1.0f - o);
    carried = dc * f;
  }
};

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
