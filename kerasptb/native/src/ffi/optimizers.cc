// XLA FFI handlers of what optimizers need. Signatures: optimizers/global_norm.h, and trained_variable.h for the steps.
#include <cstring>

#include "common/cpu.h"
#include "ffi/call.h"
#include "ffi/handlers.h"
#include "optimizers/clipped_adamw.h"
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

// The arguments and results of a step that trained_variable.h describes.
class StepOfAll {
 public:
  // Takes all of them; `further_scalars` after those of ClippedStep.
  StepOfAll(Call& call, int64_t further_scalars, int num_states) {
    const bool averages = call.attribute("averages");
    call.in(scalars_, {kScalars + further_scalars});
    variables.resize(call.results_left() / (1 + averages + num_states));
    call.in(weight_decays_, {static_cast<int64_t>(variables.size())});
    for (TrainedVariable& variable : variables) {
      const Shape shape = call.next_shape();
      updated(call, variable.weights, shape);
      if (averages) updated(call, variable.average, shape);
      for (int i = 0; i < num_states; ++i) updated(call, variable.state[i], shape);
      if (call.next_is<int32_t>() && shape.size() == 2) {
        variable.vocabulary_size = shape[0];
        variable.row_size = shape[1];
        variable.num_rows = call.in(variable.rows, {call.next_shape().size() == 1 ? call.next_shape()[0] : 0});
        static constexpr int32_t kNoRow = -1;
        if (variable.rows == nullptr) variable.rows = &kNoRow;  // an array without elements may have no address
        variable.size = call.in(variable.gradient, {variable.num_rows, variable.row_size});
      } else {
        variable.size = call.in(variable.gradient, shape);
      }
    }
  }

  // Once the call has been checked.
  void prepare(const Call& call) {
    call.use_huge_pages();
    for (const Array& array : arrays_)
      if (array.after != array.before) std::memcpy(array.after, array.before, array.size * sizeof(float));
    for (size_t i = 0; i < variables.size(); ++i) variables[i].weight_decay = weight_decays_[i];
  }

  ClippedStep step() const { return {scalars_[0], scalars_[1], scalars_[2]}; }
  const float* further_scalars() const { return scalars_ + kScalars; }

  std::vector<TrainedVariable> variables;

 private:
  static constexpr int64_t kScalars = 3;
  struct Array {
    const float* before;
    float* after;
    int64_t size;
  };

  void updated(Call& call, float*& data, const Shape& shape) {
    const float* before;
    const int64_t size = call.in(before, shape);
    call.out(data, shape);
    arrays_.push_back({before, data, size});
  }

  const float *scalars_, *weight_decays_;
  std::vector<Array> arrays_;
};

ffi::Error clipped_sgd(Call& call) {
  StepOfAll all(call, 0, 0);
  if (ffi::Error error = call.check("kerasptb_clipped_sgd"); error.failure()) return error;
  all.prepare(call);
  return run([&] { KERASPTB_DISPATCH(clipped_sgd)(all.variables.data(), all.variables.size(), all.step()); });
}

ffi::Error clipped_adamw(Call& call) {
  StepOfAll all(call, 4, 2);
  if (ffi::Error error = call.check("kerasptb_clipped_adamw"); error.failure()) return error;
  all.prepare(call);
  const float* const of_adam = all.further_scalars();
  const AdamStep adam = {of_adam[0], of_adam[1], of_adam[2], of_adam[3]};
  return run([&] { KERASPTB_DISPATCH(clipped_adamw)(all.variables.data(), all.variables.size(), all.step(), adam); });
}

}  // namespace

std::vector<Handler> optimizer_handlers() {
  return {{"kerasptb_global_norm_float32", "Host", on_cpu<global_norm>},
          {"kerasptb_clipped_sgd_float32", "Host", on_cpu<clipped_sgd>},
          {"kerasptb_clipped_adamw_float32", "Host", on_cpu<clipped_adamw>}};
}

}  // namespace kerasptb
