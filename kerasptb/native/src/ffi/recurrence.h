// The arguments and results of the recurrence's targets in their order, the same on CPU and GPU. Both functions check
// them and fill in the kernel's arguments. Signatures: recurrence/recurrence.h.
#pragma once

#include <string>
#include <vector>

#include "cells/cells.h"
#include "ffi/call.h"

namespace kerasptb {

inline std::string target_of(const Cell& cell, const char* pass) {
  return std::string("kerasptb_") + cell.name + "_" + pass;
}

// The bias of a cell, or its gradient.
inline std::vector<int64_t> bias_shape(const Cell& cell, int64_t units) {
  if (cell.biases == 1) return {cell.gates * units};
  return {cell.biases, cell.gates * units};
}

// The arrays of `SpecialSteps`, if they are given. Returns whether masks of each gate are among them.
inline bool take_special(Call& call, const Cell& cell, SpecialSteps* special, const LayerSizes& sizes, bool each_gate) {
  const auto [B, T, D, H, operands] = sizes;
  if (call.arguments_left() == 0) return false;
  call.in_or_none(special->kinds, {B, T});
  if (each_gate && call.arguments_left() > 0 && call.next_shape().size() == 3) {
    call.in(special->recurrent_mask, {cell.gates, B, H});
    special->gate_stride = B * H;
  } else {
    call.in_or_none(special->recurrent_mask, {B, H});
  }
  if (each_gate && call.arguments_left() > 0) call.in(special->input_mask, {cell.gates, B, D});
  return special->gate_stride > 0 || special->input_mask != nullptr;
}

// `saves`: whether it has what a gradient needs among its results.
inline ffi::Error read(Call& call, const Cell& cell, bool saves, RecurrenceForward* a) {
  const auto [B, T, H] = call.result_sizes<3>(0);
  const int64_t columns = cell.gates * H;
  a->batch = B;
  a->steps = T;
  a->units = H;
  call.in(a->xz, {B, T, columns});
  call.in(a->recurrent_kernel, {H, columns});
  call.in(a->bias, bias_shape(cell, H));
  call.in(a->h0, {B, H});
  if (cell.has_c) call.in(a->c0, {B, H});
  if (call.stream == nullptr) take_special(call, cell, &a->special, {B, T, 0, H}, true);
  call.out(a->h_seq, {B, T, H});
  call.out(a->h_T, {B, H});
  if (cell.has_c) call.out(a->c_T, {B, H});
  if (saves) {
    call.out(a->gates, {B, T, columns});
    call.out(a->c_seq, {B, T, H});
  }
  return call.check(target_of(cell, "recurrence_forward").c_str(), T > 0 && H > 0);
}

inline ffi::Error read(Call& call, const Cell& cell, RecurrenceBackward* a) {
  const auto [B, T, columns] = call.result_sizes<3>(0);
  const int64_t H = columns / cell.gates;
  a->batch = B;
  a->steps = T;
  a->units = H;
  call.in(a->recurrent_kernel, {H, cell.gates * H});
  call.in(a->gates, {B, T, cell.gates * H});
  call.in(a->c_seq, {B, T, H});
  if (cell.has_c) {
    call.in(a->c0, {B, H});
  } else {
    call.in(a->h0, {B, H});
    call.in(a->h_seq, {B, T, H});
  }
  call.in(a->dh_seq, {B, T, H});
  call.in(a->dh_T, {B, H});
  if (cell.has_c) call.in(a->dc_T, {B, H});
  if (call.stream == nullptr) take_special(call, cell, &a->special, {B, T, 0, H}, true);
  call.out(a->dz, {B, T, cell.gates * H});
  call.out(a->dbias, bias_shape(cell, H));
  if (cell.has_c) call.out(a->dc0, {B, H});
  if (!cell.has_c || a->special.any()) call.out(a->dh0, {B, H});
  if (cell.apart()) call.out(a->dz_recurrent, {B, T, cell.gates * H});
  return call.check(target_of(cell, "recurrence_backward").c_str(), T > 0 && H > 0);
}

}  // namespace kerasptb
