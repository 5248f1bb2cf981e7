// An LSTM layer in float32, and its gradient. There are kernels for the recurrence alone and, on the CPU, for the whole
// layer. With the former the framework computes the products outside the recurrence: xz = x W before it; dx, dW, dU and
// dh0 from dz after it.
//
// B batch, T steps, D features, H units, all at least 1. Arrays are dense and row-major. Gates are in Keras' order i,
// f, c, o, where c, the candidate, is called g here:
//
//   z[t] = xz[t] + h[t-1] U + bias           [B, 4H], U the recurrent kernel
//   i, f, o = sigmoid(z), g = tanh(z)        [B, H] each, of their quarter of z
//   c[t] = f c[t-1] + i g
//   h[t] = o tanh(c[t])
//
// XLA FFI targets:
//   kerasptb_lstm_forward_float32(xz [B, T, 4H], recurrent_kernel [H, 4H], bias [4H], h0 [B, H], c0 [B, H])
//       -> (h_seq [B, T, H], h_T [B, H], c_T [B, H], gates [B, T, 4H], c_seq [B, T, H])
//   kerasptb_lstm_inference_float32(the same arguments) -> (h_seq, h_T, c_T): nothing is kept for the gradient
//   kerasptb_lstm_backward_float32(recurrent_kernel, gates, c_seq, c0, dh_seq [B, T, H], dh_T [B, H], dc_T [B, H])
//       -> (dz [B, T, 4H], dbias [4H], dc0 [B, H])
// and on the CPU alone, with H' = H rounded up to 16:
//   kerasptb_lstm_layer_forward_float32(x [B, T, D], kernel [D, 4H], recurrent_kernel, bias, h0, c0)
//       -> (h_seq, h_T, c_T, gates [B, T, 4H'], c_seq)
//   kerasptb_lstm_layer_backward_float32(x, kernel, recurrent_kernel, h0, c0, h_seq, gates, c_seq, dh_seq, dh_T, dc_T)
//       -> (dx [B, T, D], dkernel, drecurrent_kernel, dbias, dh0 [B, H], dc0)
// Here `gates` and `c_seq` are in an order of their own (see `steps_first`), for the backward pass alone.
#pragma once

#include <cstdint>

#include "cpu.h"

namespace kerasptb {

// The floats in a row of the layer's gates: 4H'.
static inline __attribute__((always_inline)) int64_t lstm_layer_gates(int64_t units) {
  return 4 * ((units + 15) / 16 * 16);
}

struct LstmForward {
  int64_t batch, steps, units;    // B, T, H
  const float* xz;                // [B, T, 4H]; may be `gates` itself
  const float* recurrent_kernel;  // [H, 4H]
  const float* bias;              // [4H]
  const float* h0;                // [B, H]
  const float* c0;                // [B, H]
  float* h_seq;                   // [B, T, H]
  float* h_T;                     // [B, H]
  float* c_T;                     // [B, H]
  float* gates;                   // [B, T, 4H]: i, f, g, o, kept for the gradient; or null
  float* c_seq;                   // [B, T, H], kept for the gradient; null if `gates` is null
  // On the CPU only. Row r = t B + b of `xz`, `gates` and `c_seq` is step t of row b of the batch, and `xz` and `gates`
  // have packed columns (lstm_tiles_float32.h): so what a step reads and writes is in one piece.
  bool steps_first = false;
  const int32_t* xz_row = nullptr;  // with steps_first: if not null, r stands for row xz_row[r] of `xz`
};

struct LstmBackward {
  int64_t batch, steps, units;    // B, T, H
  const float* recurrent_kernel;  // [H, 4H]
  const float* gates;             // [B, T, 4H]
  const float* c_seq;             // [B, T, H]
  const float* c0;                // [B, H]
  const float* dh_seq;            // [B, T, H]
  const float* dh_T;              // [B, H]
  const float* dc_T;              // [B, H]
  float* dz;                      // [B, T, 4H]
  float* dbias;                   // [4H]
  float* dc0;                     // [B, H]
  // On the CPU only:
  float* dh0 = nullptr;      // [B, H]; null: not wanted
  bool steps_first = false;  // as above, of `gates` and `c_seq`; dz has such rows and columns too, and is stored as
                             // `Panels` of product_float32.h
};

struct LstmLayerForward {
  LstmForward recurrence;  // `xz` is the same array as `gates`
  int64_t features;        // D
  const float* x;          // [B, T, D]
  const float* kernel;     // [D, 4H]
};

struct LstmLayerBackward {
  LstmBackward recurrence;    // with dh0, without dz
  int64_t features;           // D
  const float* x;             // [B, T, D]
  const float* kernel;        // [D, 4H]
  const float* h0;            // [B, H]
  const float* h_seq;         // [B, T, H]
  float* dx;                  // [B, T, D]
  float* d_kernel;            // [D, 4H]
  float* d_recurrent_kernel;  // [H, 4H]
};

// All throw std::bad_alloc.
KERASPTB_DECLARE(void lstm_forward(const LstmForward&))
KERASPTB_DECLARE(void lstm_backward(const LstmBackward&))
KERASPTB_DECLARE(void lstm_layer_forward(const LstmLayerForward&))
KERASPTB_DECLARE(void lstm_layer_backward(const LstmLayerBackward&))

}  // namespace kerasptb
