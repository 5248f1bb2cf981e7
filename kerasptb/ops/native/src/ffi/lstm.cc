// XLA FFI handlers of the LSTM on the CPU. Signatures: lstm/lstm.h and lstm/recurrence.h.
#include "lstm/lstm.h"

#include <algorithm>
#include <string_view>

#include "common/cpu.h"
#include "ffi/handlers.h"
#include "ffi/recurrence.h"

namespace kerasptb {
namespace {

// The recurrence alone is for GPUs. On the CPU it serves programs that were made for a GPU and placed here, and masks
// of each gate.
template <bool kSaves>
ffi::Error recurrence_forward(Call& call) {
  LstmRecurrenceForward a{};
  if (ffi::Error error = read(call, kSaves, &a); error.failure()) return error;
  if (a.batch == 0) return ffi::Error::Success();
  return run([&] { KERASPTB_DISPATCH(lstm_recurrence_forward)(a); });
}

ffi::Error recurrence_backward(Call& call) {
  LstmRecurrenceBackward a{};
  if (ffi::Error error = read(call, &a); error.failure()) return error;
  if (a.batch == 0) {
    std::fill_n(a.dbias, 4 * a.units, 0.0f);
    return ffi::Error::Success();
  }
  return run([&] { KERASPTB_DISPATCH(lstm_recurrence_backward)(a); });
}

ffi::DataType type_of(std::string_view dtype) {
  return dtype == "bfloat16" ? ffi::BF16 : dtype == "int16" ? ffi::S16 : ffi::F32;
}

// For each array that the layer saves in this precision: take(array's pointer in `a`, shape, type).
template <int kParts, class Pass, class Take>
void for_each_saved(Pass* a, const Take& take) {
  const auto saved = lstm_saved(kParts, a->sizes);
  size_t i = 0;
  const auto next = [&](auto& data) {
    take(data, saved[i].shape, type_of(saved[i].dtype));
    ++i;
  };
  if (kParts > 0) next(a->rows);
  next(a->gates);
  next(a->cells);
}

bool are_valid(const LstmSizes& sizes) { return sizes.steps > 0 && sizes.features > 0 && sizes.units > 0; }

template <int kParts, bool kSaves>
ffi::Error forward(Call& call) {
  LstmForward a{};
  const auto [B, T, D] = call.argument_sizes<3>(0);
  const int64_t H = call.argument_sizes<2>(2)[0];
  a.sizes = {B, T, D, H};
  call.in(a.x, {B, T, D});
  call.in(a.kernel, {D, 4 * H});
  call.in(a.recurrent_kernel, {H, 4 * H});
  call.in(a.bias, {4 * H});
  call.in(a.h0, {B, H});
  call.in(a.c0, {B, H});
  if (take_special(call, &a.special, a.sizes, kParts > 0)) a.sizes.operands = 4;
  call.out(a.h_seq, {B, T, H});
  call.out(a.h_T, {B, H});
  call.out(a.c_T, {B, H});
  if (kSaves)
    for_each_saved<kParts>(&a, [&](auto& data, const auto& shape, auto type) { call.out(data, shape, type); });
  if (ffi::Error error = call.check("kerasptb_lstm_forward", are_valid(a.sizes)); error.failure()) return error;
  if (B == 0) return ffi::Error::Success();
  call.use_huge_pages();
  return run([&] {
    if constexpr (kParts == 0)
      KERASPTB_DISPATCH(lstm_forward)(a);
    else
      KERASPTB_DISPATCH_BFLOAT16(lstm_forward)(kParts, a);
  });
}

template <int kParts>
ffi::Error backward(Call& call) {
  LstmBackward a{};
  const auto [B, T, D] = call.result_sizes<3>(0);
  const int64_t H = call.result_sizes<2>(2)[0];
  a.sizes = {B, T, D, H};
  if (kParts == 0) call.in(a.x, {B, T, D});
  call.in(a.kernel, {D, 4 * H});
  call.in(a.recurrent_kernel, {H, 4 * H});
  if (kParts == 0) {
    call.in(a.h0, {B, H});
    call.in(a.c0, {B, H});
    call.in(a.h_seq, {B, T, H});
  }
  if (kParts > 0 && call.next_shape()[0] == 4 * kParts) a.sizes.operands = 4;
  for_each_saved<kParts>(&a, [&](auto& data, const auto& shape, auto type) { call.in(data, shape, type); });
  call.in(a.dh_seq, {B, T, H});
  call.in(a.dh_T, {B, H});
  call.in(a.dc_T, {B, H});
  take_special(call, &a.special, a.sizes, a.sizes.operands > 1);
  call.out(a.dx, {B, T, D});
  call.out(a.d_kernel, {D, 4 * H});
  call.out(a.d_recurrent_kernel, {H, 4 * H});
  call.out(a.d_bias, {4 * H});
  call.out(a.dh0, {B, H});
  call.out(a.dc0, {B, H});
  if (ffi::Error error = call.check("kerasptb_lstm_backward", are_valid(a.sizes)); error.failure()) return error;
  if (B == 0) {
    std::fill_n(a.d_kernel, D * 4 * H, 0.0f);
    std::fill_n(a.d_recurrent_kernel, H * 4 * H, 0.0f);
    std::fill_n(a.d_bias, 4 * H, 0.0f);
    return ffi::Error::Success();
  }
  call.use_huge_pages();
  return run([&] {
    if constexpr (kParts == 0)
      KERASPTB_DISPATCH(lstm_backward)(a);
    else
      KERASPTB_DISPATCH_BFLOAT16(lstm_backward)(kParts, a);
  });
}

}  // namespace

std::vector<Handler> lstm_handlers() {
  std::vector<Handler> handlers = {
      {"kerasptb_lstm_recurrence_forward_float32", "Host", on_cpu<recurrence_forward<true>>},
      {"kerasptb_lstm_recurrence_inference_float32", "Host", on_cpu<recurrence_forward<false>>},
      {"kerasptb_lstm_recurrence_backward_float32", "Host", on_cpu<recurrence_backward>},
      {"kerasptb_lstm_forward_float32", "Host", on_cpu<forward<0, true>>},
      {"kerasptb_lstm_inference_float32", "Host", on_cpu<forward<0, false>>},
      {"kerasptb_lstm_backward_float32", "Host", on_cpu<backward<0>>}};
#if KERASPTB_BFLOAT16
  if (cpu_level() >= CpuLevel::kAvx512Bf16)
    handlers.insert(handlers.end(), {{"kerasptb_lstm_forward_bfloat16", "Host", on_cpu<forward<1, true>>},
                                     {"kerasptb_lstm_inference_bfloat16", "Host", on_cpu<forward<1, false>>},
                                     {"kerasptb_lstm_backward_bfloat16", "Host", on_cpu<backward<1>>},
                                     {"kerasptb_lstm_forward_bfloat16x3", "Host", on_cpu<forward<2, true>>},
                                     {"kerasptb_lstm_inference_bfloat16x3", "Host", on_cpu<forward<2, false>>},
                                     {"kerasptb_lstm_backward_bfloat16x3", "Host", on_cpu<backward<2>>}});
#endif
  return handlers;
}

}  // namespace kerasptb
