// XLA FFI handlers of what optimizers need. Signatures: optimizers/global_norm.h and optimizers/clipped_sgd.h.
#include <cstring>

#include "common/cpu.h"
#include "ffi/call.h"
#include "ffi/handlers.h"
#include "optimizers/clipped_sgd.h"
#include "optimizers/global_norm.h"

namespace kerasptb {
namespace {

ffi::Error global_norm(Call& call) {
  std::vector<FloatArray> arrays(call.arguments_left());
  for (FloatArray& array : arrays) array.size = call.in(array.data, call.next_shape());
  float* norm;
  call.out(norm, {});
  if (ffi::Error error = call.check("kerasptb_global_norm"); error.failure()) return error;
  call.use_huge_pages();
  return run([&] { *norm = KERASPTB_DISPATCH(global_norm)(arrays.data(), arrays.size()); });
}

ffi::Error clipped_sgd(Call& call) {
  const float *learning_rate, *clip;
  call.in(learning_rate, {});
  call.in(clip, {});
  std::vector<SgdVariable> variables(call.results_left());
  std::vector<const float*> old_weights;
  std::vector<int64_t> sizes;
  for (SgdVariable& variable : variables) {
    const Shape shape = call.next_shape();
    sizes.push_back(call.in(old_weights.emplace_back(), shape));
    if (call.next_is<int32_t>() && shape.size() == 2) {
      variable.vocabulary_size = shape[0];
      variable.row_size = shape[1];
      variable.num_rows = call.in(variable.rows, {call.next_shape().size() == 1 ? call.next_shape()[0] : 0});
      variable.size = call.in(variable.gradient, {variable.num_rows, variable.row_size});
    } else {
      variable.size = call.in(variable.gradient, shape);
    }
    call.out(variable.weights, shape);
  }
  if (ffi::Error error = call.check("kerasptb_clipped_sgd"); error.failure()) return error;
  call.use_huge_pages();
  for (size_t i = 0; i < variables.size(); ++i)
    if (variables[i].weights != old_weights[i])
      std::memcpy(variables[i].weights, old_weights[i], sizes[i] * sizeof(float));
  return run([&] { KERASPTB_DISPATCH(clipped_sgd)(variables.data(), variables.size(), *learning_rate, *clip); });
}

}  // namespace

std::vector<Handler> optimizer_handlers() {
  return {{"kerasptb_global_norm_float32", "Host", on_cpu<global_norm>},
          {"kerasptb_clipped_sgd_float32", "Host", on_cpu<clipped_sgd>}};
}

}  // namespace kerasptb
