// The arguments and results of the LSTM recurrence's targets in their order, the same on CPU and GPU. Both functions
// check them and fill in the kernel's arguments. Signatures: lstm/recurrence.h.
#pragma once

#include "ffi/call.h"
#include "lstm/lstm.h"

namespace kerasptb {

// The arrays of `LstmSteps`, if they are given. Returns whether masks of each gate are among them.
inline bool take_special(Call& call, LstmSteps* special, const LstmSizes& sizes, bool each_gate) {
  const auto [B, T, D, H, operands] = sizes;
  if (call.arguments_left() == 0) return false;
  call.in_or_none(special->kinds, {B, T});
  if (each_gate && call.arguments_left() > 0 && call.next_shape().size() == 3) {
    call.in(special->recurrent_mask, {4, B, H});
    special->gate_stride = B * H;
  } else {
    call.in_or_none(special->recurrent_mask, {B, H});
  }
  if (each_gate && call.arguments_left() > 0) call.in(special->input_mask, {4, B, D});
  return special->gate_stride > 0 || special->input_mask != nullptr;
}

// `saves`: whether it has what a gradient needs among its results.
inline ffi::Error read(Call& call, bool saves, LstmRecurrenceForward* a) {
  const auto [B, T, H] = call.result_sizes<3>(0);
  a->batch = B;
  a->steps = T;
  a->units = H;
  call.in(a->xz, {B, T, 4 * H});
  call.in(a->recurrent_kernel, {H, 4 * H});
  call.in(a->bias, {4 * H});
  call.in(a->h0, {B, H});
  call.in(a->c0, {B, H});
  if (call.stream == nullptr) take_special(call, &a->special, {B, T, 0, H}, true);
  call.out(a->h_seq, {B, T, H});
  call.out(a->h_T, {B, H});
  call.out(a->c_T, {B, H});
  if (saves) {
    call.out(a->gates, {B, T, 4 * H});
    call.out(a->c_seq, {B, T, H});
  }
  return call.check("kerasptb_lstm_recurrence_forward", T > 0 && H > 0);
}

inline ffi::Error read(Call& call, LstmRecurrenceBackward* a) {
  const auto [B, T, columns] = call.result_sizes<3>(0);
  const int64_t H = columns / 4;
  a->batch = B;
  a->steps = T;
  a->units = H;
  call.in(a->recurrent_kernel, {H, 4 * H});
  call.in(a->gates, {B, T, 4 * H});
  call.in(a->c_seq, {B, T, H});
  call.in(a->c0, {B, H});
  call.in(a->dh_seq, {B, T, H});
  call.in(a->dh_T, {B, H});
  call.in(a->dc_T, {B, H});
  if (call.stream == nullptr) take_special(call, &a->special, {B, T, 0, H}, true);
  call.out(a->dz, {B, T, 4 * H});
  call.out(a->dbias, {4 * H});
  call.out(a->dc0, {B, H});
  if (a->special.any()) call.out(a->dh0, {B, H});
  return call.check("kerasptb_lstm_recurrence_backward", T > 0 && H > 0);
}

}  // namespace kerasptb
