// What the float32 handlers of the CPU and of the GPU share: each `check` checks the shapes of the buffers and fills in
// the kernel's arguments. Signatures of the targets: lstm_float32.h and softmax_cross_entropy.h.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <utility>

#include "ffi_shapes.h"
#include "lstm_float32.h"
#include "softmax_cross_entropy.h"

namespace kerasptb {

using Out = ffi::Result<Float32>;

struct Expected {
  const Float32& buffer;
  std::initializer_list<int64_t> shape;
};

// Whether all buffers have the expected shapes. The first size, the batch, may be 0.
inline bool shapes_fit(std::initializer_list<Expected> all) {
  for (const Expected& expected : all)
    if (!has_shape(expected.buffer, expected.shape, true)) return false;
  return true;
}

// gates and c_seq: null for inference. `layer`: the gates are those of the layer's kernel, of which xz has the shape.
inline ffi::Error check(const char* target, Float32 xz, Float32 recurrent_kernel, Float32 bias, Float32 h0, Float32 c0,
                        Float32& h_seq, Float32& h_T, Float32& c_T, Float32* gates, Float32* c_seq,
                        LstmForward* arguments, bool layer = false) {
  if (h_seq.dimensions().size() != 3) return wrong_shapes(target);
  const int64_t B = h_seq.dimensions()[0], T = h_seq.dimensions()[1], H = h_seq.dimensions()[2];
  const int64_t columns = layer ? lstm_layer_gates(H) : 4 * H;
  if (!shapes_fit({{xz, {B, T, columns}},
                   {recurrent_kernel, {H, 4 * H}},
                   {bias, {4 * H}},
                   {h0, {B, H}},
                   {c0, {B, H}},
                   {h_seq, {B, T, H}},
                   {h_T, {B, H}},
                   {c_T, {B, H}}}))
    return wrong_shapes(target);
  if (gates != nullptr && !shapes_fit({{*gates, {B, T, columns}}, {*c_seq, {B, T, H}}})) return wrong_shapes(target);
  *arguments = {B,
                T,
                H,
                xz.typed_data(),
                recurrent_kernel.typed_data(),
                bias.typed_data(),
                h0.typed_data(),
                c0.typed_data(),
                h_seq.typed_data(),
                h_T.typed_data(),
                c_T.typed_data(),
                gates ? gates->typed_data() : nullptr,
                c_seq ? c_seq->typed_data() : nullptr};
  return ffi::Error::Success();
}

// dz: null where it is no result, for the layer's kernel.
inline ffi::Error check(const char* target, Float32 recurrent_kernel, Float32 gates, Float32 c_seq, Float32 c0,
                        Float32 dh_seq, Float32 dh_T, Float32 dc_T, Float32* dz, Float32& dbias, Float32& dc0,
                        LstmBackward* arguments) {
  if (c_seq.dimensions().size() != 3) return wrong_shapes(target);
  const int64_t B = c_seq.dimensions()[0], T = c_seq.dimensions()[1], H = c_seq.dimensions()[2];
  if (!shapes_fit({{recurrent_kernel, {H, 4 * H}},
                   {gates, {B, T, dz == nullptr ? lstm_layer_gates(H) : 4 * H}},
                   {c_seq, {B, T, H}},
                   {c0, {B, H}},
                   {dh_seq, {B, T, H}},
                   {dh_T, {B, H}},
                   {dc_T, {B, H}},
                   {dbias, {4 * H}},
                   {dc0, {B, H}}}) ||
      (dz != nullptr && !shapes_fit({{*dz, {B, T, 4 * H}}})))
    return wrong_shapes(target);
  *arguments = {B,
                T,
                H,
                recurrent_kernel.typed_data(),
                gates.typed_data(),
                c_seq.typed_data(),
                c0.typed_data(),
                dh_seq.typed_data(),
                dh_T.typed_data(),
                dc_T.typed_data(),
                dz ? dz->typed_data() : nullptr,
                dbias.typed_data(),
                dc0.typed_data()};
  return ffi::Error::Success();
}

// scale, dlogits and dbias: null for the loss alone. The targets' values are not checked.
inline ffi::Error check(const char* target, Float32 logits, Float32 bias, Int32 targets, const Float32* scale,
                        Float32& loss, Float32* dlogits, Float32* dbias, SoftmaxCrossEntropy* arguments) {
  if (logits.dimensions().size() != 2) return wrong_shapes(target);
  const int64_t N = logits.dimensions()[0], V = logits.dimensions()[1];
  if (!shapes_fit({{logits, {N, V}}, {bias, {V}}, {loss, {N}}}) || targets.dimensions().size() != 1 ||
      targets.dimensions()[0] != N)
    return wrong_shapes(target);
  if (scale != nullptr && !shapes_fit({{*scale, {N}}, {*dlogits, {N, V}}, {*dbias, {V}}})) return wrong_shapes(target);
  *arguments = {N,
                V,
                logits.typed_data(),
                bias.typed_data(),
                targets.typed_data(),
                scale ? scale->typed_data() : nullptr,
                loss.typed_data(),
                dlogits ? dlogits->typed_data() : nullptr,
                dbias ? dbias->typed_data() : nullptr};
  return ffi::Error::Success();
}

// The bindings of the handlers. `binding` has what precedes the buffers: nothing on the CPU, the stream on the GPU.
template <class Binding>
auto bind_inputs_of_lstm(Binding&& binding) {
  return std::move(binding)
      .template Arg<Float32>()
      .template Arg<Float32>()
      .template Arg<Float32>()
      .template Arg<Float32>()
      .template Arg<Float32>();
}
template <class Binding>
auto bind_lstm_inference(Binding&& binding) {
  return bind_inputs_of_lstm(std::move(binding))
      .template Ret<Float32>()
      .template Ret<Float32>()
      .template Ret<Float32>();
}
template <class Binding>
auto bind_lstm_training(Binding&& binding) {
  return bind_lstm_inference(std::move(binding)).template Ret<Float32>().template Ret<Float32>();
}
template <class Binding>
auto bind_lstm_backward(Binding&& binding) {
  return bind_inputs_of_lstm(std::move(binding))
      .template Arg<Float32>()
      .template Arg<Float32>()
      .template Ret<Float32>()
      .template Ret<Float32>()
      .template Ret<Float32>();
}
template <class Binding>
auto bind_loss(Binding&& binding) {
  return std::move(binding)
      .template Arg<Float32>()
      .template Arg<Float32>()
      .template Arg<Int32>()
      .template Ret<Float32>();
}
template <class Binding>
auto bind_loss_and_gradient(Binding&& binding) {
  return std::move(binding)
      .template Arg<Float32>()
      .template Arg<Float32>()
      .template Arg<Int32>()
      .template Arg<Float32>()
      .template Ret<Float32>()
      .template Ret<Float32>()
      .template Ret<Float32>();
}

}  // namespace kerasptb
