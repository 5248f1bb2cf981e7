// XLA FFI handlers of the linear cross-entropy and of the softmax cross-entropy on the CPU. Signatures:
// linear_cross_entropy/linear_cross_entropy.h and linear_cross_entropy/softmax_cross_entropy.h.
#include "linear_cross_entropy/linear_cross_entropy.h"

#include <algorithm>

#include "common/cpu.h"
#include "ffi/handlers.h"
#include "ffi/softmax_cross_entropy.h"
#include "linear_cross_entropy/few_words.h"

namespace kerasptb {
namespace {

// kParts: bfloat16 numbers of each operand, 0 for float32.
template <int kParts, bool kGradients>
ffi::Error linear_cross_entropy(Call& call) {
  LinearCrossEntropy a{};
  a.transpose_kernel = call.attribute("transpose_kernel");
  const auto [N, D] = call.argument_sizes<2>(0);
  const int64_t V = call.argument_sizes<1>(2)[0];
  a.num_words = N;
  a.features = D;
  a.vocabulary_size = V;
  const int64_t kernel_rows = a.transpose_kernel ? V : D, kernel_columns = a.transpose_kernel ? D : V;
  call.in(a.h, {N, D});
  call.in(a.kernel, {kernel_rows, kernel_columns});
  call.in(a.bias, {V});
  call.in(a.targets, {N});
  if (kGradients) call.in(a.scale, {N});
  call.out(a.loss, {N});
  if (kGradients) {
    call.out(a.dh, {N, D});
    call.out(a.d_kernel, {kernel_rows, kernel_columns});
    call.out(a.d_bias, {V});
  }
  ffi::Error error = call.check("kerasptb_linear_cross_entropy", D > 0 && V > 0);
  if (error.failure()) return error;
  if (N == 0) {
    if (kGradients) std::fill_n(a.d_kernel, D * V, 0.0f);
    if (kGradients) std::fill_n(a.d_bias, V, 0.0f);
    return error;
  }
  if (error = check_targets(a.targets, N, V); error.failure()) return error;
  call.use_huge_pages();
  return run([&] {
    if (kParts == 0 || N <= few_words_limit(kParts, D, V)) return KERASPTB_DISPATCH(linear_cross_entropy)(a);
#if KERASPTB_BFLOAT16
    KERASPTB_DISPATCH_BFLOAT16(linear_cross_entropy)(kParts, a);
#endif
  });
}

template <bool kGradients>
ffi::Error softmax_cross_entropy(Call& call) {
  SoftmaxCrossEntropy a{};
  ffi::Error error = read(call, kGradients, &a);
  if (error.failure()) return error;
  if (error = check_targets(a.targets, a.rows, a.vocabulary); error.failure()) return error;
  return run([&] { KERASPTB_DISPATCH(softmax_cross_entropy)(a); });
}

}  // namespace

std::vector<Handler> linear_cross_entropy_handlers() {
  std::vector<Handler> handlers = {
      {"kerasptb_softmax_cross_entropy_loss_float32", "Host", on_cpu<softmax_cross_entropy<false>>},
      {"kerasptb_softmax_cross_entropy_loss_and_gradients_float32", "Host", on_cpu<softmax_cross_entropy<true>>},
      {"kerasptb_linear_cross_entropy_loss_float32", "Host", on_cpu<linear_cross_entropy<0, false>>},
      {"kerasptb_linear_cross_entropy_loss_and_gradients_float32", "Host", on_cpu<linear_cross_entropy<0, true>>}};
#if KERASPTB_BFLOAT16
  if (cpu_level() >= CpuLevel::kAvx512Bf16)
    handlers.insert(
        handlers.end(),
        {{"kerasptb_linear_cross_entropy_loss_bfloat16", "Host", on_cpu<linear_cross_entropy<1, false>>},
         {"kerasptb_linear_cross_entropy_loss_and_gradients_bfloat16", "Host", on_cpu<linear_cross_entropy<1, true>>},
         {"kerasptb_linear_cross_entropy_loss_bfloat16x3", "Host", on_cpu<linear_cross_entropy<2, false>>},
         {"kerasptb_linear_cross_entropy_loss_and_gradients_bfloat16x3", "Host",
          on_cpu<linear_cross_entropy<2, true>>}});
#endif
  return handlers;
}

}  // namespace kerasptb
