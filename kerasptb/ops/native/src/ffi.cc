// XLA FFI handlers of the float32 kernels on the CPU, and the registration of all handlers. Signatures of the targets:
// lstm_float32.h, softmax_cross_entropy.h, global_norm.h, clipped_sgd.h and dropout.h. Only ffi*.cc include XLA's
// headers.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "clipped_sgd.h"
#include "cpu.h"
#include "dropout.h"
#include "few_words.h"
#include "ffi_float32.h"
#include "ffi_guard.h"
#include "ffi_handlers.h"
#include "ffi_huge_pages.h"
#include "global_norm.h"
#include "lstm_saved.h"
#include "threads.h"

namespace kerasptb {
namespace {

ffi::Error run(const LstmForward& arguments) {
  if (arguments.batch == 0) return ffi::Error::Success();
  return guarded([&] { KERASPTB_DISPATCH(lstm_forward)(arguments); });
}

ffi::Error lstm_training(Float32 xz, Float32 recurrent_kernel, Float32 bias, Float32 h0, Float32 c0, Out h_seq, Out h_T,
                         Out c_T, Out gates, Out c_seq) {
  LstmForward arguments;
  ffi::Error error = check("kerasptb_lstm_forward_float32", xz, recurrent_kernel, bias, h0, c0, *h_seq, *h_T, *c_T,
                           &*gates, &*c_seq, &arguments);
  return error.failure() ? error : run(arguments);
}

ffi::Error lstm_inference(Float32 xz, Float32 recurrent_kernel, Float32 bias, Float32 h0, Float32 c0, Out h_seq,
                          Out h_T, Out c_T) {
  LstmForward arguments;
  ffi::Error error = check("kerasptb_lstm_inference_float32", xz, recurrent_kernel, bias, h0, c0, *h_seq, *h_T, *c_T,
                           nullptr, nullptr, &arguments);
  return error.failure() ? error : run(arguments);
}

ffi::Error lstm_backward(Float32 recurrent_kernel, Float32 gates, Float32 c_seq, Float32 c0, Float32 dh_seq,
                         Float32 dh_T, Float32 dc_T, Out dz, Out dbias, Out dc0) {
  LstmBackward arguments;
  ffi::Error error = check("kerasptb_lstm_backward_float32", recurrent_kernel, gates, c_seq, c0, dh_seq, dh_T, dc_T,
                           &*dz, *dbias, *dc0, &arguments);
  if (error.failure()) return error;
  if (arguments.batch == 0) {
    std::fill_n(arguments.dbias, 4 * arguments.units, 0.0f);
    return ffi::Error::Success();
  }
  return guarded([&] { KERASPTB_DISPATCH(lstm_backward)(arguments); });
}

ffi::Error layer_forward(Float32 x, Float32 kernel, Float32 recurrent_kernel, Float32 bias, Float32 h0, Float32 c0,
                         Out h_seq, Out h_T, Out c_T, Out gates, Out c_seq) {
  const char* name = "kerasptb_lstm_layer_forward_float32";
  LstmLayerForward arguments;
  ffi::Error error = check(name, *gates, recurrent_kernel, bias, h0, c0, *h_seq, *h_T, *c_T, &*gates, &*c_seq,
                           &arguments.recurrence, true);
  if (error.failure()) return error;
  const LstmForward& r = arguments.recurrence;
  const int64_t D = x.dimensions().size() == 3 ? x.dimensions()[2] : 0;
  if (D < 1 || !shapes_fit({{x, {r.batch, r.steps, D}}, {kernel, {D, 4 * r.units}}})) return wrong_shapes(name);
  arguments.features = D;
  arguments.x = x.typed_data();
  arguments.kernel = kernel.typed_data();
  if (r.batch == 0) return ffi::Error::Success();
  prefer_huge_pages_for(x, kernel, recurrent_kernel, *h_seq, *gates, *c_seq);
  return guarded([&] { KERASPTB_DISPATCH(lstm_layer_forward)(arguments); });
}

ffi::Error layer_backward(Float32 x, Float32 kernel, Float32 recurrent_kernel, Float32 h0, Float32 c0, Float32 h_seq,
                          Float32 gates, Float32 c_seq, Float32 dh_seq, Float32 dh_T, Float32 dc_T, Out dx,
                          Out d_kernel, Out d_recurrent_kernel, Out d_bias, Out dh0, Out dc0) {
  const char* name = "kerasptb_lstm_layer_backward_float32";
  LstmLayerBackward arguments;
  ffi::Error error = check(name, recurrent_kernel, gates, c_seq, c0, dh_seq, dh_T, dc_T, nullptr, *d_bias, *dc0,
                           &arguments.recurrence);
  if (error.failure()) return error;
  const LstmBackward& r = arguments.recurrence;
  const int64_t B = r.batch, T = r.steps, H = r.units, D = x.dimensions().size() == 3 ? x.dimensions()[2] : 0;
  if (D < 1 || !shapes_fit({{x, {B, T, D}},
                            {kernel, {D, 4 * H}},
                            {h0, {B, H}},
                            {h_seq, {B, T, H}},
                            {*dx, {B, T, D}},
                            {*d_kernel, {D, 4 * H}},
                            {*d_recurrent_kernel, {H, 4 * H}},
                            {*dh0, {B, H}}}))
    return wrong_shapes(name);
  arguments.features = D;
  arguments.x = x.typed_data();
  arguments.kernel = kernel.typed_data();
  arguments.h0 = h0.typed_data();
  arguments.h_seq = h_seq.typed_data();
  arguments.dx = dx->typed_data();
  arguments.d_kernel = d_kernel->typed_data();
  arguments.d_recurrent_kernel = d_recurrent_kernel->typed_data();
  arguments.recurrence.dh0 = dh0->typed_data();
  if (B == 0) {
    std::fill_n(arguments.d_kernel, D * 4 * H, 0.0f);
    std::fill_n(arguments.d_recurrent_kernel, H * 4 * H, 0.0f);
    std::fill_n(r.dbias, 4 * H, 0.0f);
    return ffi::Error::Success();
  }
  prefer_huge_pages_for(x, kernel, recurrent_kernel, h_seq, gates, c_seq, dh_seq, *dx, *d_kernel, *d_recurrent_kernel);
  return guarded([&] { KERASPTB_DISPATCH(lstm_layer_backward)(arguments); });
}

// Checks the targets and runs the kernel.
ffi::Error run(const SoftmaxCrossEntropy& arguments) {
  ffi::Error error = check_targets(arguments.targets, arguments.rows, arguments.vocabulary);
  return error.failure() ? error : guarded([&] { KERASPTB_DISPATCH(softmax_cross_entropy)(arguments); });
}

ffi::Error loss_and_gradient(Float32 logits, Float32 bias, Int32 targets, Float32 scale, Out loss, Out dlogits,
                             Out dbias) {
  SoftmaxCrossEntropy arguments;
  ffi::Error error =
      check("kerasptb_softmax_cross_entropy", logits, bias, targets, &scale, *loss, &*dlogits, &*dbias, &arguments);
  return error.failure() ? error : run(arguments);
}

ffi::Error loss_only(Float32 logits, Float32 bias, Int32 targets, Out loss) {
  SoftmaxCrossEntropy arguments;
  ffi::Error error =
      check("kerasptb_softmax_cross_entropy_loss", logits, bias, targets, nullptr, *loss, nullptr, nullptr, &arguments);
  return error.failure() ? error : run(arguments);
}

ffi::Error norm(ffi::RemainingArgs buffers, Out result) {
  if (!has_shape(*result, {})) return wrong_shapes("kerasptb_global_norm");
  std::vector<FloatArray> arrays;
  for (size_t i = 0; i < buffers.size(); ++i) {
    const auto buffer = buffers.get<Float32>(i);
    if (buffer.has_error()) return buffer.error();
    prefer_huge_pages_for(*buffer);
    arrays.push_back({buffer->typed_data(), static_cast<int64_t>(buffer->element_count())});
  }
  return guarded([&] { *result->typed_data() = KERASPTB_DISPATCH(global_norm)(arrays.data(), arrays.size()); });
}

ffi::Error step(ffi::RemainingArgs arguments, ffi::RemainingRets results) {
  const ffi::Error wrong = wrong_shapes("kerasptb_clipped_sgd");
  const auto float_at = [&](size_t i) { return arguments.get<Float32>(i); };
  const auto learning_rate = float_at(0), clip = float_at(1);
  if (learning_rate.has_error() || clip.has_error() || learning_rate->element_count() != 1 ||
      clip->element_count() != 1)
    return wrong;
  std::vector<SgdVariable> variables;
  size_t next = 2;
  for (size_t i = 0; i < results.size(); ++i) {
    const auto weights = float_at(next);
    const auto rows = arguments.get<Int32>(next + 1);  // an error if there are none
    const bool sparse = !rows.has_error();
    const auto gradient = float_at(next + (sparse ? 2 : 1));
    auto result = results.get<Float32>(i);
    if (weights.has_error() || gradient.has_error() || result.has_error()) return wrong;
    const auto shape = weights->dimensions();
    if ((*result)->element_count() != weights->element_count()) return wrong;
    SgdVariable variable{(*result)->typed_data(), gradient->typed_data(),
                         static_cast<int64_t>(gradient->element_count())};
    if (sparse) {
      const int64_t num_rows = static_cast<int64_t>(rows->element_count());
      if (shape.size() != 2 || !has_shape(*gradient, {num_rows, shape[1]}, /* batch_may_be_empty = */ true))
        return wrong;
      variable.rows = rows->typed_data();
      variable.num_rows = num_rows;
      variable.vocabulary_size = shape[0];
      variable.row_size = shape[1];
    } else if (gradient->element_count() != weights->element_count()) {
      return wrong;
    }
    if (variable.weights != weights->typed_data())
      std::memcpy(variable.weights, weights->typed_data(), weights->size_bytes());
    prefer_huge_pages_for(*weights, *gradient);
    variables.push_back(variable);
    next += sparse ? 3 : 2;
  }
  if (next != arguments.size()) return wrong;
  return guarded([&] {
    KERASPTB_DISPATCH(clipped_sgd)(variables.data(), variables.size(), *learning_rate->typed_data(),
                                   *clip->typed_data());
  });
}

ffi::Error drop(Float32 x, Int32 seed, Float32 keep_prob, Out y) {
  const char* name = "kerasptb_dropout";
  if (seed.dimensions().size() != 1 || seed.dimensions()[0] != 2 || !has_shape(keep_prob, {}) ||
      y->element_count() != x.element_count())
    return wrong_shapes(name);
  const float keep = *keep_prob.typed_data();
  if (!(keep > 0 && keep <= 1))
    return ffi::Error::InvalidArgument("`keep_prob` must be in (0, 1]. Received: keep_prob=" + std::to_string(keep));
  const int32_t* key = seed.typed_data();
  const Dropout arguments{static_cast<int64_t>(x.element_count()),
                          x.typed_data(),
                          {static_cast<uint32_t>(key[0]), static_cast<uint32_t>(key[1])},
                          keep,
                          y->typed_data()};
  return guarded([&] { KERASPTB_DISPATCH(dropout)(arguments); });
}

auto bind_layer_forward() { return bind_lstm_training(ffi::Ffi::Bind().Arg<Float32>()); }
auto bind_layer_backward() {
  return bind_lstm_backward(ffi::Ffi::Bind().Arg<Float32>().Arg<Float32>().Arg<Float32>().Arg<Float32>())
      .Ret<Float32>()
      .Ret<Float32>()
      .Ret<Float32>();
}

XLA_FFI_DEFINE_HANDLER(LstmForwardHandler, lstm_training, bind_lstm_training(ffi::Ffi::Bind()));
XLA_FFI_DEFINE_HANDLER(LstmInferenceHandler, lstm_inference, bind_lstm_inference(ffi::Ffi::Bind()));
XLA_FFI_DEFINE_HANDLER(LstmBackwardHandler, lstm_backward, bind_lstm_backward(ffi::Ffi::Bind()));
XLA_FFI_DEFINE_HANDLER(LayerForwardHandler, layer_forward, bind_layer_forward());
XLA_FFI_DEFINE_HANDLER(LayerBackwardHandler, layer_backward, bind_layer_backward());
XLA_FFI_DEFINE_HANDLER(LossAndGradientHandler, loss_and_gradient, bind_loss_and_gradient(ffi::Ffi::Bind()));
XLA_FFI_DEFINE_HANDLER(LossHandler, loss_only, bind_loss(ffi::Ffi::Bind()));
XLA_FFI_DEFINE_HANDLER(GlobalNormHandler, norm, ffi::Ffi::Bind().RemainingArgs().Ret<Float32>());
XLA_FFI_DEFINE_HANDLER(ClippedSgdHandler, step, ffi::Ffi::Bind().RemainingArgs().RemainingRets());
XLA_FFI_DEFINE_HANDLER(DropoutHandler, drop,
                       ffi::Ffi::Bind().Arg<Float32>().Arg<Int32>().Arg<Float32>().Ret<Float32>());

const std::vector<NamedHandler>& all_handlers() {
  static const std::vector<NamedHandler> all = [] {
    std::vector<NamedHandler> handlers = float32_handlers();
    for (const auto& more : {lstm_bfloat16_handlers(), linear_cross_entropy_handlers(), cuda_handlers()})
      handlers.insert(handlers.end(), more.begin(), more.end());
    return handlers;
  }();
  return all;
}

}  // namespace

std::vector<NamedHandler> float32_handlers() {
  return {{"kerasptb_lstm_forward_float32", "Host", LstmForwardHandler},
          {"kerasptb_lstm_inference_float32", "Host", LstmInferenceHandler},
          {"kerasptb_lstm_backward_float32", "Host", LstmBackwardHandler},
          {"kerasptb_lstm_layer_forward_float32", "Host", LayerForwardHandler},
          {"kerasptb_lstm_layer_backward_float32", "Host", LayerBackwardHandler},
          {"kerasptb_softmax_cross_entropy", "Host", LossAndGradientHandler},
          {"kerasptb_softmax_cross_entropy_loss", "Host", LossHandler},
          {"kerasptb_global_norm", "Host", GlobalNormHandler},
          {"kerasptb_clipped_sgd", "Host", ClippedSgdHandler},
          {"kerasptb_dropout", "Host", DropoutHandler}};
}

}  // namespace kerasptb

#define KERASPTB_EXPORT extern "C" __attribute__((visibility("default")))

// Registers every handler with the XLA that `api` belongs to. Returns null, or one line that says why this failed.
KERASPTB_EXPORT const char* kerasptb_register(const XLA_FFI_Api* api) {
  static char message[256];
  if (api->api_version.major_version != XLA_FFI_API_MAJOR || api->api_version.minor_version < XLA_FFI_API_MINOR) {
    std::snprintf(message, sizeof(message), "it speaks XLA FFI %d.%d, and the library was built for %d.%d",
                  api->api_version.major_version, api->api_version.minor_version, XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR);
    return message;
  }
  for (const kerasptb::NamedHandler& entry : kerasptb::all_handlers())
    if (XLA_FFI_Error* error = xla::ffi::Ffi::RegisterStaticHandler(api, entry.target, entry.platform, entry.handler)) {
      XLA_FFI_Error_Destroy_Args destroy{XLA_FFI_Error_Destroy_Args_STRUCT_SIZE, nullptr, error};
      api->XLA_FFI_Error_Destroy(&destroy);
      std::snprintf(message, sizeof(message), "it refused the handler %s for %s", entry.target, entry.platform);
      return message;
    }
  return nullptr;
}

// For a host that registers handlers itself: the i-th handler, or null past the last.
KERASPTB_EXPORT void* kerasptb_handler(int i, const char** target, const char** platform) {
  const std::vector<kerasptb::NamedHandler>& all = kerasptb::all_handlers();
  if (i < 0 || static_cast<size_t>(i) >= all.size()) return nullptr;
  *target = all[i].target;
  *platform = all[i].platform;
  return reinterpret_cast<void*>(all[i].handler);
}

KERASPTB_EXPORT const char* kerasptb_cpu_level() { return kerasptb::cpu_level_name(kerasptb::cpu_level()); }

KERASPTB_EXPORT void kerasptb_set_processors(int count) { kerasptb::set_processors(count); }

KERASPTB_EXPORT int kerasptb_thread_count() { return kerasptb::thread_count(); }

// See few_words.h.
KERASPTB_EXPORT int64_t kerasptb_few_words_limit(int parts, int64_t features, int64_t vocabulary_size) {
  return kerasptb::few_words_limit(parts, features, vocabulary_size);
}

// See lstm_saved.h. Stores three sizes for each array; returns the number of arrays, which is at most three.
KERASPTB_EXPORT int kerasptb_lstm_saved_shapes(int parts, int64_t batch, int64_t steps, int64_t features, int64_t units,
                                               int64_t* sizes) {
  const auto shapes = kerasptb::lstm_saved_shapes(parts, batch, steps, features, units);
  for (const auto& shape : shapes) sizes = std::copy(shape.begin(), shape.end(), sizes);
  return static_cast<int>(shapes.size());
}
