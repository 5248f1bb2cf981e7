// XLA FFI handlers of the recurrent cells on the CPU. Signatures: recurrence/layer.h and recurrence/recurrence.h.
#include "cells/cells.h"

#include <algorithm>
#include <deque>
#include <string>
#include <string_view>

#include "common/cpu.h"
#include "ffi/handlers.h"
#include "ffi/recurrence.h"

namespace kerasptb {
namespace {

// The kernels of a cell, as types: a handler is made of a function that has one as its argument.
#define KERASPTB_KERNELS(cell, Name)                                                                        \
  struct Name {                                                                                             \
    static constexpr const Cell& kCell = k##Name;                                                           \
    static void forward(const LayerForward& a) { KERASPTB_DISPATCH(cell##_forward)(a); }                    \
    static void backward(const LayerBackward& a) { KERASPTB_DISPATCH(cell##_backward)(a); }                 \
    static void forward(const RecurrenceForward& a) { KERASPTB_DISPATCH(cell##_recurrence_forward)(a); }    \
    static void backward(const RecurrenceBackward& a) { KERASPTB_DISPATCH(cell##_recurrence_backward)(a); } \
  };
#define KERASPTB_KERNELS_IN_BFLOAT16(cell, Name)                                                                       \
  struct Name##InBfloat16 {                                                                                            \
    static constexpr const Cell& kCell = k##Name;                                                                      \
    static void forward(int parts, const LayerForward& a) { KERASPTB_DISPATCH_BFLOAT16(cell##_forward)(parts, a); }    \
    static void backward(int parts, const LayerBackward& a) { KERASPTB_DISPATCH_BFLOAT16(cell##_backward)(parts, a); } \
  };
KERASPTB_FOR_EACH_CELL(KERASPTB_KERNELS)
KERASPTB_FOR_EACH_CELL_IN_BFLOAT16(KERASPTB_KERNELS_IN_BFLOAT16)
#undef KERASPTB_KERNELS
#undef KERASPTB_KERNELS_IN_BFLOAT16

// The recurrence alone is for GPUs. On the CPU it serves programs that were made for a GPU and placed here, and masks
// of each gate.
template <class Kernels, bool kSaves>
ffi::Error recurrence_forward(Call& call) {
  RecurrenceForward a{};
  if (ffi::Error error = read(call, Kernels::kCell, kSaves, &a); error.failure()) return error;
  if (a.batch == 0) return ffi::Error::Success();
  return run([&] { Kernels::forward(a); });
}

template <class Kernels>
ffi::Error recurrence_backward(Call& call) {
  constexpr Cell cell = Kernels::kCell;
  RecurrenceBackward a{};
  if (ffi::Error error = read(call, cell, &a); error.failure()) return error;
  if (a.batch == 0) {
    std::fill_n(a.dbias, cell.biases * cell.gates * a.units, 0.0f);
    return ffi::Error::Success();
  }
  return run([&] { Kernels::backward(a); });
}

ffi::DataType type_of(std::string_view dtype) {
  return dtype == "bfloat16" ? ffi::BF16 : dtype == "int16" ? ffi::S16 : ffi::F32;
}

// For each array that the layer saves in this precision: take(array's pointer in `a`, shape, type).
template <int kParts, class Pass, class Take>
void for_each_saved(const Cell& cell, Pass* a, const Take& take) {
  const auto saved = saved_arrays(cell, kParts, a->sizes);
  size_t i = 0;
  const auto next = [&](auto& data) {
    take(data, saved[i].shape, type_of(saved[i].dtype));
    ++i;
  };
  if (kParts > 0) next(a->rows);
  next(a->gates);
  next(a->cells);
}

bool are_valid(const LayerSizes& sizes) { return sizes.steps > 0 && sizes.features > 0 && sizes.units > 0; }

template <class Kernels, int kParts, bool kSaves>
ffi::Error forward(Call& call) {
  constexpr Cell cell = Kernels::kCell;
  LayerForward a{};
  const auto [B, T, D] = call.argument_sizes<3>(0);
  const int64_t H = call.argument_sizes<2>(2)[0];
  a.sizes = {B, T, D, H};
  call.in(a.x, {B, T, D});
  call.in(a.kernel, {D, cell.gates * H});
  call.in(a.recurrent_kernel, {H, cell.gates * H});
  call.in(a.bias, bias_shape(cell, H));
  call.in(a.h0, {B, H});
  if (cell.has_c) call.in(a.c0, {B, H});
  if (take_special(call, cell, &a.special, a.sizes, kParts > 0)) a.sizes.operands = LayerSizes::kBlocks;
  call.out(a.h_seq, {B, T, H});
  call.out(a.h_T, {B, H});
  if (cell.has_c) call.out(a.c_T, {B, H});
  if (kSaves)
    for_each_saved<kParts>(cell, &a, [&](auto& data, const auto& shape, auto type) { call.out(data, shape, type); });
  if (ffi::Error error = call.check(target_of(cell, "forward").c_str(), are_valid(a.sizes)); error.failure())
    return error;
  if (B == 0) return ffi::Error::Success();
  call.use_huge_pages();
  return run([&] {
    if constexpr (kParts == 0)
      Kernels::forward(a);
    else
      Kernels::forward(kParts, a);
  });
}

template <class Kernels, int kParts>
ffi::Error backward(Call& call) {
  constexpr Cell cell = Kernels::kCell;
  LayerBackward a{};
  const auto [B, T, D] = call.result_sizes<3>(0);
  const int64_t H = call.result_sizes<2>(2)[0];
  a.sizes = {B, T, D, H};
  if (kParts == 0) call.in(a.x, {B, T, D});
  call.in(a.kernel, {D, cell.gates * H});
  call.in(a.recurrent_kernel, {H, cell.gates * H});
  if (kParts == 0 || !cell.has_c) call.in(a.h0, {B, H});
  if (kParts == 0 && cell.has_c) call.in(a.c0, {B, H});
  if (kParts == 0 || !cell.has_c) call.in(a.h_seq, {B, T, H});
  const auto next = call.next_shape();
  if (kParts > 0 && next.size() == 3 && next[0] == LayerSizes::kBlocks * kParts) a.sizes.operands = LayerSizes::kBlocks;
  for_each_saved<kParts>(cell, &a, [&](auto& data, const auto& shape, auto type) { call.in(data, shape, type); });
  call.in(a.dh_seq, {B, T, H});
  call.in(a.dh_T, {B, H});
  if (cell.has_c) call.in(a.dc_T, {B, H});
  take_special(call, cell, &a.special, a.sizes, a.sizes.operands > 1);
  call.out(a.dx, {B, T, D});
  call.out(a.d_kernel, {D, cell.gates * H});
  call.out(a.d_recurrent_kernel, {H, cell.gates * H});
  call.out(a.d_bias, bias_shape(cell, H));
  call.out(a.dh0, {B, H});
  if (cell.has_c) call.out(a.dc0, {B, H});
  if (ffi::Error error = call.check(target_of(cell, "backward").c_str(), are_valid(a.sizes)); error.failure())
    return error;
  if (B == 0) {
    std::fill_n(a.d_kernel, D * cell.gates * H, 0.0f);
    std::fill_n(a.d_recurrent_kernel, H * cell.gates * H, 0.0f);
    std::fill_n(a.d_bias, cell.biases * cell.gates * H, 0.0f);
    return ffi::Error::Success();
  }
  call.use_huge_pages();
  return run([&] {
    if constexpr (kParts == 0)
      Kernels::backward(a);
    else
      Kernels::backward(kParts, a);
  });
}

// The names of targets, which the library keeps.
const char* name_of(const Cell& cell, const char* pass) {
  static std::deque<std::string> names;
  return names.emplace_back(target_of(cell, pass)).c_str();
}

void add(std::vector<Handler>* handlers, const Cell& cell, const char* pass, XLA_FFI_Handler* handler) {
  handlers->push_back({name_of(cell, pass), "Host", handler});
}

template <class Kernels>
void add_handlers(std::vector<Handler>* handlers) {
  constexpr Cell cell = Kernels::kCell;
  add(handlers, cell, "recurrence_forward_float32", on_cpu<recurrence_forward<Kernels, true>>);
  add(handlers, cell, "recurrence_inference_float32", on_cpu<recurrence_forward<Kernels, false>>);
  add(handlers, cell, "recurrence_backward_float32", on_cpu<recurrence_backward<Kernels>>);
  add(handlers, cell, "forward_float32", on_cpu<forward<Kernels, 0, true>>);
  add(handlers, cell, "inference_float32", on_cpu<forward<Kernels, 0, false>>);
  add(handlers, cell, "backward_float32", on_cpu<backward<Kernels, 0>>);
}

#if KERASPTB_BFLOAT16
template <class Kernels>
void add_bfloat16_handlers(std::vector<Handler>* handlers) {
  constexpr Cell cell = Kernels::kCell;
  add(handlers, cell, "forward_bfloat16", on_cpu<forward<Kernels, 1, true>>);
  add(handlers, cell, "inference_bfloat16", on_cpu<forward<Kernels, 1, false>>);
  add(handlers, cell, "backward_bfloat16", on_cpu<backward<Kernels, 1>>);
  add(handlers, cell, "forward_bfloat16x3", on_cpu<forward<Kernels, 2, true>>);
  add(handlers, cell, "inference_bfloat16x3", on_cpu<forward<Kernels, 2, false>>);
  add(handlers, cell, "backward_bfloat16x3", on_cpu<backward<Kernels, 2>>);
}
#endif

}  // namespace

std::vector<Handler> cell_handlers() {
  std::vector<Handler> handlers;
#define KERASPTB_ADD(cell, Name) add_handlers<Name>(&handlers);
  KERASPTB_FOR_EACH_CELL(KERASPTB_ADD)
#undef KERASPTB_ADD
#if KERASPTB_BFLOAT16
#define KERASPTB_ADD(cell, Name) add_bfloat16_handlers<Name##InBfloat16>(&handlers);
  if (cpu_level() >= CpuLevel::kAvx512Bf16) {
    KERASPTB_FOR_EACH_CELL_IN_BFLOAT16(KERASPTB_ADD)
  }
#undef KERASPTB_ADD
#endif
  return handlers;
}

}  // namespace kerasptb
