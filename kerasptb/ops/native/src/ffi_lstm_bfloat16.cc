// XLA FFI handlers of the LSTM in bfloat16. Their signatures are written down in lstm_bfloat16.h.
#include <cstdint>
#include <vector>

#include "cpu.h"
#include "ffi_guard.h"
#include "ffi_handlers.h"
#include "ffi_huge_pages.h"
#include "ffi_shapes.h"
#include "lstm_bfloat16.h"

namespace kerasptb {

#if KERASPTB_BFLOAT16

namespace {

template <class Buffer>
using Out = ffi::Result<Buffer>;

template <int kParts, class Gates>
ffi::Error lstm_forward(Float32 x, Float32 kernel, Float32 recurrent_kernel, Float32 bias, Float32 h0, Float32 c0,
                        Out<Float32> h_seq, Out<Float32> h_T, Out<Float32> c_T, Out<Bfloat16> rows, Out<Gates> gates,
                        Out<Float32> cells) {
  if (x.dimensions().size() != 3 || recurrent_kernel.dimensions().size() != 2) return wrong_shapes("lstm_forward");
  const int64_t B = x.dimensions()[0], T = x.dimensions()[1], D = x.dimensions()[2];
  const int64_t H = recurrent_kernel.dimensions()[0];
  const LstmBfloat16Sizes sizes{B, T, D, H};
  if (!has_shape(kernel, {D, 4 * H}) || !has_shape(recurrent_kernel, {H, 4 * H}) || !has_shape(bias, {4 * H}) ||
      !has_shape(h0, {B, H}) || !has_shape(c0, {B, H}) || !has_shape(*h_seq, {B, T, H}) || !has_shape(*h_T, {B, H}) ||
      !has_shape(*c_T, {B, H}) || !has_shape(*rows, {kParts, sizes.num_rows(), sizes.row_stride()}) ||
      !has_shape(*gates, {T, B, 4 * sizes.padded_units()}) || !has_shape(*cells, {T + 1, B, sizes.padded_units()}))
    return wrong_shapes("lstm_forward");
  prefer_huge_pages_for(x, kernel, recurrent_kernel, *h_seq, *rows, *gates, *cells);
  return guarded([&] {
    KERASPTB_DISPATCH_BFLOAT16(lstm_forward)(
        kParts, sizes,
        {x.typed_data(), kernel.typed_data(), recurrent_kernel.typed_data(), bias.typed_data(), h0.typed_data(),
         c0.typed_data(), h_seq->typed_data(), h_T->typed_data(), c_T->typed_data(),
         static_cast<uint16_t*>(rows->untyped_data()), gates->untyped_data(), cells->typed_data()});
  });
}

template <int kParts, class Gates>
ffi::Error lstm_backward(Float32 kernel, Float32 recurrent_kernel, Bfloat16 rows, Gates gates, Float32 cells,
                         Float32 dh_seq, Float32 dh_T, Float32 dc_T, Out<Float32> dx, Out<Float32> d_kernel,
                         Out<Float32> d_recurrent_kernel, Out<Float32> d_bias, Out<Float32> dh0, Out<Float32> dc0) {
  if (dx->dimensions().size() != 3 || recurrent_kernel.dimensions().size() != 2) return wrong_shapes("lstm_backward");
  const int64_t B = dx->dimensions()[0], T = dx->dimensions()[1], D = dx->dimensions()[2];
  const int64_t H = recurrent_kernel.dimensions()[0];
  const LstmBfloat16Sizes sizes{B, T, D, H};
  if (!has_shape(kernel, {D, 4 * H}) || !has_shape(recurrent_kernel, {H, 4 * H}) ||
      !has_shape(rows, {kParts, sizes.num_rows(), sizes.row_stride()}) ||
      !has_shape(gates, {T, B, 4 * sizes.padded_units()}) || !has_shape(cells, {T + 1, B, sizes.padded_units()}) ||
      !has_shape(dh_seq, {B, T, H}) || !has_shape(dh_T, {B, H}) || !has_shape(dc_T, {B, H}) ||
      !has_shape(*d_kernel, {D, 4 * H}) || !has_shape(*d_recurrent_kernel, {H, 4 * H}) ||
      !has_shape(*d_bias, {4 * H}) || !has_shape(*dh0, {B, H}) || !has_shape(*dc0, {B, H}))
    return wrong_shapes("lstm_backward");
  prefer_huge_pages_for(kernel, recurrent_kernel, rows, gates, cells, dh_seq, *dx, *d_kernel, *d_recurrent_kernel);
  return guarded([&] {
    KERASPTB_DISPATCH_BFLOAT16(lstm_backward)(
        kParts, sizes,
        {kernel.typed_data(), recurrent_kernel.typed_data(), static_cast<const uint16_t*>(rows.untyped_data()),
         gates.untyped_data(), cells.typed_data(), dh_seq.typed_data(), dh_T.typed_data(), dc_T.typed_data(),
         dx->typed_data(), d_kernel->typed_data(), d_recurrent_kernel->typed_data(), d_bias->typed_data(),
         dh0->typed_data(), dc0->typed_data()});
  });
}

template <class Gates>
auto bind_lstm_forward() {
  return ffi::Ffi::Bind()
      .Arg<Float32>()
      .Arg<Float32>()
      .Arg<Float32>()
      .Arg<Float32>()
      .Arg<Float32>()
      .Arg<Float32>()
      .Ret<Float32>()
      .Ret<Float32>()
      .Ret<Float32>()
      .Ret<Bfloat16>()
      .template Ret<Gates>()
      .template Ret<Float32>();
}
template <class Gates>
auto bind_lstm_backward() {
  return ffi::Ffi::Bind()
      .Arg<Float32>()
      .Arg<Float32>()
      .Arg<Bfloat16>()
      .Arg<Gates>()
      .template Arg<Float32>()
      .template Arg<Float32>()
      .template Arg<Float32>()
      .template Arg<Float32>()
      .template Ret<Float32>()
      .template Ret<Float32>()
      .template Ret<Float32>()
      .template Ret<Float32>()
      .template Ret<Float32>()
      .template Ret<Float32>();
}

// The macro takes no commas in its arguments.
constexpr auto lstm_forward_1 = lstm_forward<1, Int16>;
constexpr auto lstm_forward_2 = lstm_forward<2, Float32>;
constexpr auto lstm_backward_1 = lstm_backward<1, Int16>;
constexpr auto lstm_backward_2 = lstm_backward<2, Float32>;
XLA_FFI_DEFINE_HANDLER(LstmForward1, lstm_forward_1, bind_lstm_forward<Int16>());
XLA_FFI_DEFINE_HANDLER(LstmForward2, lstm_forward_2, bind_lstm_forward<Float32>());
XLA_FFI_DEFINE_HANDLER(LstmBackward1, lstm_backward_1, bind_lstm_backward<Int16>());
XLA_FFI_DEFINE_HANDLER(LstmBackward2, lstm_backward_2, bind_lstm_backward<Float32>());

}  // namespace

std::vector<NamedHandler> lstm_bfloat16_handlers() {
  if (cpu_level() < CpuLevel::kAvx512Bf16) return {};
  return {{"kerasptb_lstm_forward_bfloat16", "Host", LstmForward1},
          {"kerasptb_lstm_forward_bfloat16x3", "Host", LstmForward2},
          {"kerasptb_lstm_backward_bfloat16", "Host", LstmBackward1},
          {"kerasptb_lstm_backward_bfloat16x3", "Host", LstmBackward2}};
}

#else

std::vector<NamedHandler> lstm_bfloat16_handlers() { return {}; }

#endif

}  // namespace kerasptb
