// The recurrence of a layer alone, and its gradient. The framework computes the other products: xz = x W before it; dx,
// dW, dU and dh0 from dz after it. It is for GPUs, and for masks of each gate; on the CPU the float32 kernels of layers
// (layer.h) are built on it.
//
// B batch, T steps, D features, H units, all at least 1. Arrays are dense and row-major. What a cell computes of its
// sums is in cells/. The LSTM:
//
//   z[t] = xz[t] + h[t-1] U + bias           [B, 4H], U the recurrent kernel
//   i, f, o = sigmoid(z), g = tanh(z)        [B, H] each, of their quarter of z; in Keras' order i, f, c, o, c being g
//   c[t] = f c[t-1] + i g
//   h[t] = o tanh(c[t])
//
// XLA FFI targets, of a cell with c:
//   kerasptb_lstm_recurrence_forward_float32(xz [B, T, 4H], recurrent_kernel [H, 4H], bias [4H], h0 [B, H], c0 [B, H])
//       -> (h_seq [B, T, H], h_T [B, H], c_T [B, H], gates [B, T, 4H], c_seq [B, T, H])
//   kerasptb_lstm_recurrence_inference_float32(the same arguments) -> (h_seq, h_T, c_T): nothing is saved
//   kerasptb_lstm_recurrence_backward_float32(recurrent_kernel, gates, c_seq, c0, dh_seq [B, T, H], dh_T [B, H], dc_T
//   [B, H])
//       -> (dz [B, T, 4H], dbias [4H], dc0 [B, H])
// The GRU has three gates, bias [2, 3H], and no c:
//   kerasptb_gru_recurrence_forward_float32(xz, recurrent_kernel, bias, h0) -> (h_seq, h_T, gates, q_seq [B, T, H])
//   kerasptb_gru_recurrence_inference_float32(the same arguments) -> (h_seq, h_T)
//   kerasptb_gru_recurrence_backward_float32(recurrent_kernel, gates, q_seq, h0, h_seq, dh_seq, dh_T)
//       -> (dz [B, T, 3H], dbias, dh0 [B, H], dz of h U [B, T, 3H])
// That with the reset gate before the product, gru_reset_before, has bias [3H], and its dz is that of both sums.
// On the CPU two more arguments may follow in each, the arrays of `SpecialSteps`: kinds int32 [B, T], and
// recurrent_mask float32 [B, H], or one for each gate, such as [4, B, H]; an array of no element stands for none. The
// gradient of a cell with c has one more result then, dh0 [B, H], since dz does not tell it.
// On a GPU there are those of the LSTM for bfloat16 too: the operands of the products are rounded to it, all arrays are
// float32.
#pragma once

#include <cstdint>

namespace kerasptb {

// What the kernels of a cell have to know of it.
struct Cell {
  const char* name;
  int gates;   // G: blocks of H columns of the weights
  int biases;  // rows of the bias: 2 if the sums of x W and of h U are apart, each with its own; their gradients differ
  bool has_c;  // whether there is a second state
  int second_gates = 0;  // those of a second product, of what the first gates make of h

  constexpr bool apart() const { return biases == 2; }
};

// What rows of the batch do otherwise at some steps; null for nothing. On the CPU only.
//
//   reset:          h[t-1] = c[t-1] = 0 in all that follows
//   recurrent mask: h[t-1] U becomes (m h[t-1]) U             m [B, H]; or one for each gate and its columns of U
//   skipped:        h[t] = h[t-1], c[t] = c[t-1]
struct SpecialSteps {
  static constexpr int32_t kReset = 1, kSkipped = 2;

  const int32_t* kinds = nullptr;         // [B, T]: 0 or a sum of the above
  const float* recurrent_mask = nullptr;  // [B, H], or [G, B, H]
  int64_t gate_stride = 0;                // from the mask of a gate to the next; 0: one for all
  const float* input_mask = nullptr;      // [G, B, D]; in bfloat16 only

  __attribute__((always_inline)) bool any() const {
    return kinds != nullptr || recurrent_mask != nullptr || input_mask != nullptr;
  }
  __attribute__((always_inline)) int64_t masks(int gates) const { return gate_stride == 0 ? 1 : gates; }
};

struct RecurrenceForward {
  int64_t batch, steps, units;    // B, T, H
  const float* xz;                // [B, T, GH]; may be `gates` itself
  const float* recurrent_kernel;  // [H, GH]
  const float* bias;              // [GH], or [2, GH]
  const float* h0;                // [B, H]
  const float* c0;                // [B, H]
  float* h_seq;                   // [B, T, H]
  float* h_T;                     // [B, H]
  float* c_T;                     // [B, H]
  float* gates;                   // [B, T, GH]: in the LSTM i, f, g, o; null in inference
  float* c_seq;                   // [B, T, H]: what the cell keeps besides, c or q; null in inference
  // On the CPU only. Row r = t B + b of `xz`, `gates` and `c_seq` is step t of row b of the batch, and `xz` and `gates`
  // have packed columns (layout_float32.h): so what a step reads and writes is in one piece.
  bool steps_first = false;
  const int32_t* xz_row = nullptr;  // with steps_first: if not null, r stands for row xz_row[r] of `xz`
  SpecialSteps special;
};

struct RecurrenceBackward {
  int64_t batch, steps, units;    // B, T, H
  const float* recurrent_kernel;  // [H, GH]
  const float* gates;             // [B, T, GH]
  const float* c_seq;             // [B, T, H]
  const float* c0;                // [B, H]
  const float* dh_seq;            // [B, T, H]
  const float* dh_T;              // [B, H]
  const float* dc_T;              // [B, H]
  float* dz;                      // [B, T, GH]
  float* dbias;                   // as bias
  float* dc0;                     // [B, H]
  // On the CPU only:
  float* dh0 = nullptr;      // [B, H]; null: not wanted
  bool steps_first = false;  // as above, of `gates` and `c_seq`; dz has such rows and columns too, and is stored as
                             // `Panels` of product_float32.h
  SpecialSteps special;      // needs dh0
  // Of a cell without c, which needs dh0:
  const float* h0 = nullptr;     // [B, H]
  const float* h_seq = nullptr;  // [B, T, H]
  // Of a cell whose sums are apart:
  float* dz_recurrent = nullptr;  // [B, T, GH], as dz: the gradient of h U
};

}  // namespace kerasptb
