// The whole LSTM layer, input product included, with operands in bfloat16: one part (bfloat16) or two (bfloat16x3), see
// bfloat16.h. Cell state, gates and sums are float32. With one part the gates are kept for the backward pass as 16-bit
// fixed point, in steps of 1/32767.
//
// Shape letters: B batch, T steps, D features in, H units; H' is H rounded up to 32; K = (D rounded up to 32) + H';
// K' = K + 32 where K is a multiple of 512, else K.
//
//   i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of x(t) W + h(t-1) U + b        W [D,4H], U [H,4H], b [4H]: i f g o
//   c(t) = f c(t-1) + i g        h(t) = o tanh(c(t))
//
// XLA FFI targets (platform Host), with P = 1 and gate type int16, or P = 2 and float32 for ..._bfloat16x3:
//   kerasptb_lstm_forward_bfloat16(x [B,T,D], W, U, b, h0 [B,H], c0 [B,H])
//     -> h_seq [B,T,H], h_T [B,H], c_T [B,H], rows bfloat16 [P,(T+1)B+32,K'], gates [T,B,4H'], cells float32 [T+1,B,H']
//   kerasptb_lstm_backward_bfloat16(W, U, rows, gates, cells, dh_seq [B,T,H], dh_T [B,H], dc_T [B,H])
//     -> dx [B,T,D], dW, dU, db, dh0 [B,H], dc0 [B,H]
// The backward pass needs these of the forward pass: `rows`, (x(t) | h(t-1)) in P parts; `gates`, in the order of
// packed columns (lstm_layout_bfloat16.h); and `cells`, c(0) to c(T).
//
// A product reads whole tiles of rows, including rows past its block that another thread may be writing. Their results
// are dropped, but a thread sanitizer reports the reads. With two parts, an infinity, or a number above bfloat16's
// largest, has an infinite first part, and so no second part: it becomes NaN.
#pragma once

#include <stdint.h>

#include "cpu.h"

namespace kerasptb {

struct LstmBfloat16Sizes {
  int64_t batch, steps, features, units;  // B, T, D, H

  int64_t padded_units() const { return (units + 31) / 32 * 32; }  // H'
  int64_t unit_tiles() const { return (units + 15) / 16; }         // of 16 units, whose gates are computed together
  int64_t row_size() const { return (features + 31) / 32 * 32 + padded_units(); }  // K
  // K', as `spread` of bfloat16.h: rows at multiples of 1 KB would evict each other from the L1 cache.
  int64_t row_stride() const { return row_size() % 512 == 0 ? row_size() + 32 : row_size(); }
  int64_t num_rows() const { return (steps + 1) * batch + 32; }  // products read up to 31 rows past a block
};

// Shapes as above.
struct LstmBfloat16Forward {
  const float *x, *kernel, *recurrent_kernel, *bias, *h0, *c0;
  float *h_seq, *h_T, *c_T;
  uint16_t* rows;
  void* gates;
  float* cells;
};

struct LstmBfloat16Backward {
  const float *kernel, *recurrent_kernel;
  const uint16_t* rows;
  const void* gates;
  const float *cells, *dh_seq, *dh_T, *dc_T;
  float *dx, *d_kernel, *d_recurrent_kernel, *d_bias, *dh0, *dc0;
};

// parts: 1 or 2. Only where cpu_level() is at least the namespace's. Throws std::bad_alloc.
KERASPTB_DECLARE_BFLOAT16(void lstm_forward(int parts, const LstmBfloat16Sizes& sizes,
                                            const LstmBfloat16Forward& tensors))
KERASPTB_DECLARE_BFLOAT16(void lstm_backward(int parts, const LstmBfloat16Sizes& sizes,
                                             const LstmBfloat16Backward& tensors))

}  // namespace kerasptb
