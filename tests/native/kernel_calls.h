// Calls of every kernel, forward and backward, of any sizes: for programs that watch them with a sanitizer.
#pragma once

#include <cstdint>
#include <vector>

#include "optimizers/clipped_adamw.h"
#include "optimizers/clipped_sgd.h"
#include "common/cpu.h"
#include "dropout/dropout.h"
#include "linear_cross_entropy/few_words.h"
#include "optimizers/global_norm.h"
#include "linear_cross_entropy/linear_cross_entropy.h"
#include "cells/cells.h"
#include "linear_cross_entropy/softmax_cross_entropy.h"

namespace kernel_calls {

using Floats = std::vector<float>;

Floats numbers(int64_t size) {
  Floats result(size);
  for (int64_t i = 0; i < size; ++i) result[i] = static_cast<float>(i % 13 - 6) / 16;
  return result;
}

// The kernels of a cell.
struct Kernels {
  kerasptb::Cell cell;
  void (*forward)(const kerasptb::LayerForward&);
  void (*backward)(const kerasptb::LayerBackward&);
  void (*recurrence_forward)(const kerasptb::RecurrenceForward&);
  void (*recurrence_backward)(const kerasptb::RecurrenceBackward&);
  void (*forward_bfloat16)(int parts, const kerasptb::LayerForward&);
  void (*backward_bfloat16)(int parts, const kerasptb::LayerBackward&);
};
#define FLOAT32(cell)                                                                                                  \
  KERASPTB_DISPATCH(cell##_forward), KERASPTB_DISPATCH(cell##_backward), KERASPTB_DISPATCH(cell##_recurrence_forward), \
      KERASPTB_DISPATCH(cell##_recurrence_backward)
#define BFLOAT16(cell) KERASPTB_DISPATCH_BFLOAT16(cell##_forward), KERASPTB_DISPATCH_BFLOAT16(cell##_backward)
#define IN_FLOAT32(cell, Name) {kerasptb::k##Name, FLOAT32(cell), nullptr, nullptr},
#define IN_BFLOAT16(cell, Name) {kerasptb::k##Name, FLOAT32(cell), BFLOAT16(cell)},
// Those that have kernels for `parts`.
std::vector<Kernels> all_cells(int parts) {
  if (parts > 0) return {KERASPTB_FOR_EACH_CELL_IN_BFLOAT16(IN_BFLOAT16)};
  return {KERASPTB_FOR_EACH_CELL(IN_FLOAT32)};
}

// A layer, for `parts` as recurrence/layer.h has it, 0 for float32, with room for whatever any precision saves.
struct Layer {
  Kernels kernels;
  int parts;
  kerasptb::LayerSizes sizes;
  int64_t B = sizes.batch, T = sizes.steps, D = sizes.features, H = sizes.units, columns = kernels.cell.gates * H;
  Floats x = numbers(B * T * D), W = numbers(D * columns), U = numbers(H * columns),
         bias = numbers(kernels.cell.biases * columns), state = numbers(B * H), dh_seq = numbers(B * T * H);
  Floats h_seq = Floats(B * T * H), h_T = Floats(B * H), c_T = Floats(B * H), dx = Floats(B * T * D),
         dh0 = Floats(B * H), dc0 = Floats(B * H), dW = Floats(D * columns), dU = Floats(H * columns),
         dbias = Floats(kernels.cell.biases * columns), gates = Floats(T * B * 4 * sizes.padded_units()),
         cells = Floats((T + 1) * B * sizes.padded_units());
  std::vector<uint16_t> rows = std::vector<uint16_t>(parts * sizes.operands * sizes.num_rows() * sizes.row_stride());

  void run(const kerasptb::SpecialSteps& special) {
    kerasptb::LayerForward inference = {sizes,        x.data(),     W.data(),     U.data(),   bias.data(),
                                        state.data(), state.data(), h_seq.data(), h_T.data(), c_T.data()};
    inference.special = special;
    kerasptb::LayerForward forward = inference;
    forward.rows = rows.data();
    forward.gates = gates.data();
    forward.cells = cells.data();
    kerasptb::LayerBackward backward = {sizes,         x.data(),     W.data(),     U.data(),     state.data(),
                                        state.data(),  h_seq.data(), rows.data(),  gates.data(), cells.data(),
                                        dh_seq.data(), state.data(), state.data(), dx.data(),    dW.data(),
                                        dU.data(),     dbias.data(), dh0.data(),   dc0.data()};
    backward.special = special;
    for (const auto& io : {inference, forward}) parts == 0 ? kernels.forward(io) : kernels.forward_bfloat16(parts, io);
    parts == 0 ? kernels.backward(backward) : kernels.backward_bfloat16(parts, backward);
  }
};

void layer(const Kernels& kernels, int parts, int64_t B, int64_t T, int64_t D, int64_t H) {
  const Floats mask = numbers(B * H);
  std::vector<int32_t> kinds(B * T);
  for (int64_t i = 0; i < B * T; ++i) kinds[i] = static_cast<int32_t>(i % 4);
  for (const kerasptb::SpecialSteps& special :
       {kerasptb::SpecialSteps{}, kerasptb::SpecialSteps{kinds.data(), mask.data()}})
    Layer{kernels, parts, {B, T, D, H}}.run(special);
  const Floats of_gates = numbers(4 * B * H), of_inputs = numbers(4 * B * D);
  if (parts > 0) Layer{kernels, parts, {B, T, D, H, 4}}.run({nullptr, of_gates.data(), B * H, of_inputs.data()});
}

// The recurrence with a mask for each gate.
void recurrence(const Kernels& kernels, int64_t B, int64_t T, int64_t H) {
  const int64_t columns = kernels.cell.gates * H;
  const Floats xz = numbers(B * T * columns), U = numbers(H * columns), bias = numbers(2 * columns),
               state = numbers(B * H), masks = numbers(B * columns), dh_seq = numbers(B * T * H);
  Floats h_seq(B * T * H), h_T(B * H), c_T(B * H), gates(B * T * columns), c_seq(B * T * H), dz(B * T * columns),
      dz_recurrent(B * T * columns), dbias(2 * columns), dc0(B * H), dh0(B * H);
  kerasptb::RecurrenceForward forward = {B,
                                         T,
                                         H,
                                         xz.data(),
                                         U.data(),
                                         bias.data(),
                                         state.data(),
                                         state.data(),
                                         h_seq.data(),
                                         h_T.data(),
                                         c_T.data(),
                                         gates.data(),
                                         c_seq.data()};
  kerasptb::RecurrenceBackward backward = {B,
                                           T,
                                           H,
                                           U.data(),
                                           gates.data(),
                                           c_seq.data(),
                                           state.data(),
                                           dh_seq.data(),
                                           state.data(),
                                           state.data(),
                                           dz.data(),
                                           dbias.data(),
                                           dc0.data(),
                                           dh0.data()};
  forward.special = backward.special = {nullptr, masks.data(), B * H};
  backward.h0 = state.data();
  backward.h_seq = h_seq.data();
  backward.dz_recurrent = dz_recurrent.data();
  kernels.recurrence_forward(forward);
  kernels.recurrence_backward(backward);
}

void cross_entropies(bool bfloat16, int64_t N, int64_t D, int64_t V) {
  const Floats h = numbers(N * D), W = numbers(D * V), bias = numbers(V), scale = numbers(N), logits = numbers(N * V);
  std::vector<int32_t> targets(N);
  for (int64_t i = 0; i < N; ++i) targets[i] = static_cast<int32_t>(i * 7 % V);
  Floats loss(N), dh(N * D), dW(D * V), dbias(V), dlogits(N * V);
  for (const bool transposed : {false, true})
    for (const float* of_losses : {static_cast<const float*>(nullptr), scale.data()}) {
      const kerasptb::LinearCrossEntropy io{
          N,         D,           V,         h.data(),  W.data(),     bias.data(), targets.data(),
          of_losses, loss.data(), dh.data(), dW.data(), dbias.data(), transposed};
      KERASPTB_DISPATCH(linear_cross_entropy)(io);
      KERASPTB_DISPATCH(linear_cross_entropy_few_words)(io);
      if (bfloat16)
        for (const int parts : {1, 2}) KERASPTB_DISPATCH_BFLOAT16(linear_cross_entropy)(parts, io);
    }
  KERASPTB_DISPATCH(softmax_cross_entropy)
  ({N, V, logits.data(), bias.data(), targets.data(), scale.data(), loss.data(), dlogits.data(), dbias.data()});
}

void elementwise() {
  const Floats large = numbers(100'000), small = numbers(7);
  const kerasptb::FloatArray arrays[] = {{small.data(), 7}, {large.data(), 100'000}, {nullptr, 0}};
  KERASPTB_DISPATCH(global_norm)(arrays, 3);
  Floats dense = numbers(100'000), matrix = numbers(50 * 70);
  const Floats values = numbers(400 * 70);
  std::vector<int32_t> rows(400);
  for (int i = 0; i < 400; ++i) rows[i] = i * 7919 % 50;
  Floats of_dense[3], of_matrix[3];
  for (Floats& array : of_dense) array = numbers(100'000);
  for (Floats& array : of_matrix) array = numbers(50 * 70);
  kerasptb::TrainedVariable variables[] = {{dense.data(), large.data(), 100'000},
                                           {matrix.data(), values.data(), 400 * 70, rows.data(), 400, 50, 70}};
  const kerasptb::ClippedStep step = {0.1f, 5.0f, 0.9f};
  KERASPTB_DISPATCH(clipped_sgd)(variables, 2, step);
  for (int i = 0; i < 2; ++i) {
    Floats* const arrays = i == 0 ? of_dense : of_matrix;
    variables[i].weight_decay = 0.1f;
    variables[i].average = arrays[0].data();
    for (int j = 0; j < 2; ++j) variables[i].state[j] = arrays[1 + j].data();
  }
  KERASPTB_DISPATCH(clipped_sgd)(variables, 2, step);
  KERASPTB_DISPATCH(clipped_adamw)(variables, 2, step, {0.1f, 0.1f, 0.01f, 1e-7f});
  Floats dropped(100'000);
  KERASPTB_DISPATCH(dropout)({100'000, large.data(), {1, 2}, 0.5f, dropped.data()});
}

}  // namespace kernel_calls
