// A recurrent layer on the CPU, input product included, and its gradient. Operands of the products are float32, or
// bfloat16 in one part (bfloat16) or two (bfloat16x3), see common/bfloat16.h. Cell state, gates and sums are float32.
//
// Shape letters: B batch, T steps, D features in, H units. Each cell (cells/) has G gates, 4 in the LSTM:
//
//   i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of x(t) W + h(t-1) U + b        W [D,4H], U [H,4H], b [4H]: i f g o
//   c(t) = f c(t-1) + i g        h(t) = o tanh(c(t))
//
// XLA FFI targets (platform Host), and of the LSTM the same with bfloat16 and bfloat16x3:
//   kerasptb_lstm_inference_float32(x [B,T,D], W, U, b, h0 [B,H], c0 [B,H]) -> h_seq [B,T,H], h_T [B,H], c_T [B,H]
//   kerasptb_lstm_forward_float32(the same) -> the same, and what it saves for the backward pass
//   kerasptb_lstm_backward_float32(x, W, U, h0, c0, h_seq, saved, dh_seq [B,T,H], dh_T [B,H], dc_T [B,H])
//     -> dx [B,T,D], dW, dU, db, dh0 [B,H], dc0 [B,H]
// Those of another cell have its name, and if it has no c, none of c0, c_T, dc_T and dc0.
//   kerasptb_lstm_backward_bfloat16(W, U, saved, dh_seq, dh_T, dc_T) -> the same
// Two more arguments may follow in each, the arrays of `SpecialSteps` in recurrence.h: kinds int32 [B,T], or of no
// element for none, and recurrent_mask float32 [B,H], or of no element; in bfloat16 the masks may be of each gate,
// [4,B,H], and input_mask [4,B,D] may follow. No gradient goes through them.
//
// Saved are, with H' and K' as in LayerSizes:
//   float32:   gates float32 [B,T,GH'], cells float32 [B,T,H] (c, or in the GRU q), both in an order of their own:
//              layout_float32.h
//   bfloat16:  rows bfloat16 [P,(T+1)B+32,K'], (x(t) | h(t-1)) in P parts, or [4P,...], those of each gate; gates
//              [T,B,4H'], in the order of packed columns (layout_bfloat16.h); cells float32 [T+1,B,H'], c(0) to c(T),
//              or in the GRU q from the second on. With one part the gates are 16-bit fixed point, in steps of 1/32767;
//              with two they are float32.
//
// In bfloat16 a product reads tiles of 16 or 32 rows, including rows past its block that another thread may be writing.
// Their results are dropped, but a thread sanitizer reports the reads. With two parts, an infinity, or a number above
// bfloat16's largest, has an infinite first part, and so no second part: it becomes NaN.
#pragma once

#include <stdint.h>

#include <array>
#include <vector>

#include "recurrence/recurrence.h"

namespace kerasptb {

struct LayerSizes {
  int64_t batch, steps, features, units;  // B, T, D, H
  int64_t operands = 1;  // (x(t) | h(t-1)): kBlocks if each gate has masks of its own, in bfloat16 only

  static constexpr int kBlocks = 4;  // of columns in bfloat16, whatever the cell

  // Float32: the gates of a step and a row of the batch, GH' with H' = H rounded up to 16.
  int64_t packed_columns(int gates) const { return gates * ((units + 15) / 16 * 16); }
  // Bfloat16:
  int64_t padded_units() const { return (units + 31) / 32 * 32; }  // H'
  int64_t unit_tiles() const { return (units + 15) / 16; }         // of 16 units, whose gates are computed together
  int64_t row_size() const { return (features + 31) / 32 * 32 + padded_units(); }  // K
  // K', as `spread` of common/bfloat16.h: rows at multiples of 1 KB would evict each other from the L1 cache.
  int64_t row_stride() const { return row_size() % 512 == 0 ? row_size() + 32 : row_size(); }
  // Multiply-adds of the forward pass.
  int64_t operations(int gates) const { return batch * steps * (features + units) * gates * units; }
  int64_t num_rows() const { return (steps + 1) * batch + 32; }  // products read up to 31 rows past a block
};

struct LayerForward {
  LayerSizes sizes;
  const float *x, *kernel, *recurrent_kernel, *bias, *h0, *c0;
  float *h_seq, *h_T, *c_T;
  // Saved for the backward pass; all null in inference.
  uint16_t* rows = nullptr;  // bfloat16 only
  void* gates = nullptr;
  float* cells = nullptr;
  SpecialSteps special;
};

struct LayerBackward {
  LayerSizes sizes;
  // In bfloat16 only the kernels, and without c h0 and h_seq too.
  const float *x, *kernel, *recurrent_kernel, *h0, *c0, *h_seq;
  const uint16_t* rows;  // bfloat16 only
  const void* gates;
  const float *cells, *dh_seq, *dh_T, *dc_T;
  float *dx, *d_kernel, *d_recurrent_kernel, *d_bias, *dh0, *dc0;
  SpecialSteps special;
};

struct SavedArray {
  const char* dtype;  // as Python names it
  std::array<int64_t, 3> shape;
};
// What is saved, in the order above. `parts`: bfloat16 numbers of each operand, 0 for float32.
std::vector<SavedArray> saved_arrays(const Cell&, int parts, const LayerSizes&);

}  // namespace kerasptb
