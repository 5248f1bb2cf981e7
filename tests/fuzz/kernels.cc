// A target of libFuzzer: every kernel, of sizes, steps, masks, rows and attributes that the fuzzer chooses.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernel_calls.h"

using namespace kernel_calls;

namespace {

// The fuzzer's bytes as numbers in ranges; zeros after their end.
class Choices {
 public:
  Choices(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  int64_t up_to(int64_t most) {
    const int64_t high = next();
    return (high * 256 + next()) % (most + 1);
  }
  int64_t from_one_to(int64_t most) { return 1 + up_to(most - 1); }

 private:
  uint8_t next() { return at_ < size_ ? data_[at_++] : 0; }
  const uint8_t* data_;
  size_t size_, at_ = 0;
};

void layer_of(Choices choose, int parts) {
  const std::vector<Kernels> cells = all_cells(parts);
  const Kernels& kernels = cells[choose.up_to(cells.size() - 1)];
  const int64_t B = choose.from_one_to(40), T = choose.from_one_to(6), D = choose.from_one_to(70),
                H = choose.from_one_to(70);
  std::vector<int32_t> kinds(B * T);
  for (int32_t& kind : kinds) kind = static_cast<int32_t>(choose.up_to(3));
  const Floats mask = numbers(B * H), of_gates = numbers(4 * B * H), of_inputs = numbers(4 * B * D);
  switch (choose.up_to(parts > 0 ? 3 : 2)) {
    case 0: return Layer{kernels, parts, {B, T, D, H}}.run({});
    case 1: return Layer{kernels, parts, {B, T, D, H}}.run({kinds.data(), nullptr});
    case 2: return Layer{kernels, parts, {B, T, D, H}}.run({kinds.data(), mask.data()});
    default: Layer{kernels, parts, {B, T, D, H, 4}}.run({nullptr, of_gates.data(), B * H, of_inputs.data()});
  }
}

void step_of(Choices choose) {
  const int64_t size = choose.up_to(9'000), rows = choose.up_to(60), height = choose.from_one_to(50),
                width = choose.from_one_to(70);
  Floats dense = numbers(size), matrix = numbers(height * width), state[2][3];
  const Floats gradient = numbers(size), values = numbers(rows * width);
  std::vector<int32_t> which(rows);
  for (int32_t& row : which) row = static_cast<int32_t>(choose.up_to(height - 1));
  kerasptb::TrainedVariable variables[] = {
      {dense.data(), gradient.data(), size},
      {matrix.data(), values.data(), rows * width, which.data(), rows, height, width}};
  const kerasptb::ClippedStep step = {0.1f, static_cast<float>(choose.up_to(9)), 0.9f};
  const bool has_state = choose.up_to(1), decays = choose.up_to(1), averages = choose.up_to(1);
  for (int i = 0; i < 2; ++i) {
    for (Floats& array : state[i]) array = numbers(i == 0 ? size : height * width);
    if (decays) variables[i].weight_decay = 0.1f;
    if (averages) variables[i].average = state[i][0].data();
    for (int j = 0; j < 2; ++j) variables[i].state[j] = state[i][1 + j].data();
  }
  if (has_state)
    KERASPTB_DISPATCH(clipped_adamw)(variables, 2, step, {0.1f, 0.1f, 0.01f, 1e-7f});
  else
    KERASPTB_DISPATCH(clipped_sgd)(variables, 2, step);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Choices choose(data, size);
  const bool bfloat16 = kerasptb::cpu_level() >= kerasptb::CpuLevel::kAvx512Bf16;
  switch (choose.up_to(4)) {
    case 0: layer_of(choose, 0); break;
    case 1:
      if (bfloat16) layer_of(choose, static_cast<int>(choose.from_one_to(2)));
      break;
    case 2:
      recurrence(all_cells(0)[choose.up_to(3)], choose.from_one_to(40), choose.from_one_to(6), choose.from_one_to(70));
      break;
    case 3: cross_entropies(bfloat16, choose.from_one_to(70), choose.from_one_to(70), choose.from_one_to(700)); break;
    default: step_of(choose);
  }
  return 0;
}
