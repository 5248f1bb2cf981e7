// The float32 kernels as a program, for a processor that the tests' Python does not run on:
//
//     kernels OPERATION SIZE ... < arrays > arrays
//
// reads the operation's inputs one after the other and writes its outputs. Sizes and arrays as in the headers.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vector>

#include "optimizers/clipped_adamw.h"
#include "optimizers/clipped_sgd.h"
#include "common/cpu.h"
#include "dropout/dropout.h"
#include "optimizers/global_norm.h"
#include "linear_cross_entropy/linear_cross_entropy.h"
#include "cells/cells.h"
#include "linear_cross_entropy/softmax_cross_entropy.h"

namespace {

using kerasptb::KERASPTB_LEVEL::clipped_adamw;
using kerasptb::KERASPTB_LEVEL::clipped_sgd;
using kerasptb::KERASPTB_LEVEL::dropout;
using kerasptb::KERASPTB_LEVEL::global_norm;
using kerasptb::KERASPTB_LEVEL::linear_cross_entropy;
using kerasptb::KERASPTB_LEVEL::softmax_cross_entropy;

template <class T>
std::vector<T> read(int64_t size) {
  std::vector<T> array(size);
  if (fread(array.data(), sizeof(T), size, stdin) != static_cast<size_t>(size)) exit(3);
  return array;
}
std::vector<float> nothing(int64_t size) { return std::vector<float>(size, -12345.0f); }
void write(const std::vector<float>& array) { fwrite(array.data(), sizeof(float), array.size(), stdout); }

// Of a cell with c, or without: then nothing is read or written of it.
void layer(const kerasptb::Cell& cell, void (*run_forward)(const kerasptb::LayerForward&),
           void (*run_backward)(const kerasptb::LayerBackward&), int64_t B, int64_t T, int64_t D, int64_t H) {
  const int64_t columns = cell.gates * H, of_c = cell.has_c ? B * H : 0;
  const auto x = read<float>(B * T * D), h0 = read<float>(B * H), c0 = read<float>(of_c), W = read<float>(D * columns),
             U = read<float>(H * columns), bias = read<float>(cell.biases * columns);
  const auto dh_seq = read<float>(B * T * H), dh_T = read<float>(B * H), dc_T = read<float>(of_c);
  const kerasptb::LayerSizes sizes{B, T, D, H};
  auto h_seq = nothing(B * T * H), h_T = nothing(B * H), c_T = nothing(of_c),
       gates = nothing(B * T * sizes.packed_columns(cell.gates)), cells = nothing(B * T * H);
  run_forward({sizes, x.data(), W.data(), U.data(), bias.data(), h0.data(), c0.data(), h_seq.data(), h_T.data(),
               c_T.data(), nullptr, gates.data(), cells.data()});
  auto dx = nothing(B * T * D), dh0 = nothing(B * H), dc0 = nothing(of_c), dW = nothing(D * columns),
       dU = nothing(H * columns), dbias = nothing(cell.biases * columns);
  run_backward({sizes, x.data(), W.data(), U.data(), h0.data(), c0.data(), h_seq.data(), nullptr, gates.data(),
                cells.data(), dh_seq.data(), dh_T.data(), dc_T.data(), dx.data(), dW.data(), dU.data(), dbias.data(),
                dh0.data(), dc0.data()});
  for (const auto* output : {&h_seq, &h_T, &c_T, &dx, &dh0, &dc0, &dW, &dU, &dbias}) write(*output);
}

void linear(int64_t N, int64_t D, int64_t V) {
  const auto h = read<float>(N * D), W = read<float>(D * V), bias = read<float>(V);
  const auto targets = read<int32_t>(N);
  const auto scale = read<float>(N);
  auto loss = nothing(N), dh = nothing(N * D), dW = nothing(D * V), dbias = nothing(V);
  linear_cross_entropy({N, D, V, h.data(), W.data(), bias.data(), targets.data(), scale.data(), loss.data(), dh.data(),
                        dW.data(), dbias.data()});
  for (const auto* output : {&loss, &dh, &dW, &dbias}) write(*output);
}

void softmax(int64_t N, int64_t V) {
  const auto logits = read<float>(N * V), bias = read<float>(V);
  const auto targets = read<int32_t>(N);
  const auto scale = read<float>(N);
  auto loss = nothing(N), dlogits = nothing(N * V), dbias = nothing(V);
  softmax_cross_entropy(
      {N, V, logits.data(), bias.data(), targets.data(), scale.data(), loss.data(), dlogits.data(), dbias.data()});
  for (const auto* output : {&loss, &dlogits, &dbias}) write(*output);
}

void drop(int64_t size) {
  const auto x = read<float>(size);
  const auto key = read<uint32_t>(2);
  const auto keep_prob = read<float>(1);
  auto y = nothing(size);
  dropout({size, x.data(), {key[0], key[1]}, keep_prob[0], y.data()});
  write(y);
}

void norm(int64_t size) {
  const auto x = read<float>(size);
  const kerasptb::FloatArray array{x.data(), size};
  write({global_norm(&array, 1)});
}

// A dense variable and a matrix [V, D] of which N rows have a gradient; for each its weights, its average, and the
// means and squares of Adam.
void step(bool adam, int64_t size, int64_t V, int64_t D, int64_t N) {
  const auto scalars = read<float>(7), decays = read<float>(2);
  std::vector<float> arrays[2][4];
  for (auto& array : arrays[0]) array = read<float>(size);
  const auto of_dense = read<float>(size);
  for (auto& array : arrays[1]) array = read<float>(V * D);
  const auto rows = read<int32_t>(N);
  const auto values = read<float>(N * D);
  kerasptb::TrainedVariable variables[] = {{nullptr, of_dense.data(), size},
                                           {nullptr, values.data(), N * D, rows.data(), N, V, D}};
  for (int i = 0; i < 2; ++i) {
    variables[i].weights = arrays[i][0].data();
    variables[i].weight_decay = decays[i];
    variables[i].average = arrays[i][1].data();
    for (int j = 0; j < 2; ++j) variables[i].state[j] = arrays[i][2 + j].data();
  }
  const kerasptb::ClippedStep common = {scalars[0], scalars[1], scalars[2]};
  if (adam)
    clipped_adamw(variables, 2, common, {scalars[3], scalars[4], scalars[5], scalars[6]});
  else
    clipped_sgd(variables, 2, common);
  for (const auto& of_variable : arrays)
    for (const auto& array : of_variable) write(array);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<int64_t> sizes;
  for (int i = 2; i < argc; ++i) sizes.push_back(atoll(argv[i]));
  if (argc < 2) return 2;
#define CALL_OF_CELL(cell, Name)                                                                                  \
  if (strcmp(argv[1], #cell) == 0 && sizes.size() == 4)                                                           \
    layer(kerasptb::k##Name, kerasptb::KERASPTB_LEVEL::cell##_forward, kerasptb::KERASPTB_LEVEL::cell##_backward, \
          sizes[0], sizes[1], sizes[2], sizes[3]);                                                                \
  else
  KERASPTB_FOR_EACH_CELL(CALL_OF_CELL)
  if (strcmp(argv[1], "linear_cross_entropy") == 0 && sizes.size() == 3)
    linear(sizes[0], sizes[1], sizes[2]);
  else if (strcmp(argv[1], "softmax_cross_entropy") == 0 && sizes.size() == 2)
    softmax(sizes[0], sizes[1]);
  else if (strcmp(argv[1], "global_norm") == 0 && sizes.size() == 1)
    norm(sizes[0]);
  else if (strcmp(argv[1], "clipped_sgd") == 0 && sizes.size() == 4)
    step(false, sizes[0], sizes[1], sizes[2], sizes[3]);
  else if (strcmp(argv[1], "clipped_adamw") == 0 && sizes.size() == 4)
    step(true, sizes[0], sizes[1], sizes[2], sizes[3]);
  else if (strcmp(argv[1], "dropout") == 0 && sizes.size() == 1)
    drop(sizes[0]);
  else
    return 2;
  return 0;
}
