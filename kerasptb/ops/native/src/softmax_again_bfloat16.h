// The way with AMX: the second pass computes logits and softmax again, so that no more of them than a panel is ever
// kept. Included by linear_cross_entropy_bfloat16.cc.
#pragma once

#include "linear_cross_entropy_bfloat16.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

// Bytes that a thread reads or writes once for each panel: what its L2 cache holds (2 MB on Sapphire Rapids) and a
// little more.
constexpr int64_t kChunkBytes = 5 << 19;
constexpr int64_t kLeastChunkRows = 512;
constexpr float kNoSum = 1e30f;  // the log-sum-exp of padding rows, with which their softmax is 0

template <int kParts>
int64_t chunk_rows(const LinearCrossEntropy&, int64_t depth) {
  return larger(kLeastChunkRows, kChunkBytes / (depth * (4 + 4 * kParts) + kPanel * 2 * kParts));
}

// ThreadBuffers::largest and sum are [rows][16]: of the logits of the words v with the same v % 16.
template <int kParts>
void allocate(Workers& workers, const Task<kParts>& task) {
  bfloat16* h_transposed =
      task.with_gradients() ? workers.scratch<bfloat16>(kParts * task.h_transposed_part_stride) : nullptr;
  for (int thread = 0; thread < task.threads; ++thread) {
    ThreadBuffers& my = task.buffers[thread];
    my.largest = workers.scratch<float>(task.most_rows * kLanes);
    my.sum = workers.scratch<float>(task.most_rows * kLanes);
    my.h_transposed = h_transposed;
    if (task.with_gradients()) my.softmax = workers.scratch<bfloat16>(kParts * task.softmax_part_stride);
  }
}

template <int kParts>
void prepare(const Task<kParts>& task, Range blocks) {
  task.pack_h_transposed(blocks, task.io.scale + task.begin, task.buffers[0].h_transposed);
}

// Adds a panel's exponentials of a row to its sums. z [kPanel]: its logits without bias.
template <int kParts>
KERASPTB_INLINE void add_to_sums(const float* z, int64_t row, const ThreadBuffers& my) {
  float* largest = my.largest + row * kLanes;
  float* sum = my.sum + row * kLanes;
  Float x[kPanelVectors];
  const Float before = load(largest);
  Float top = before;
  for (int j = 0; j < kPanelVectors; ++j) {
    x[j] = load(z + j * kLanes) + load(my.bias + j * kLanes);
    top = at_least(x[j], top);
  }
  // exp2<2> is exactly 1 if `top` was not raised; the small error of exp2<1> would add up over many panels.
  Float total = load(sum) * exp2<2>(before - top);
  for (int j = 0; j < kPanelVectors; ++j) total += exp2<kParts>(x[j] - top);
  store(largest, top);
  store(sum, total);
}

template <int kParts>
void first_pass(const Task<kParts>& task, Range my_panels, ThreadBuffers& my) {
  alignas(64) float z[kBlock * kPanel];
  for (int64_t i = 0; i < task.padded_rows * kLanes; i += kLanes) {
    store(my.largest + i, splat(-3e38f));
    store(my.sum + i, Float{});
  }
  for (int64_t panel = my_panels.begin; panel < my_panels.end; ++panel) {
    task.pack_panel(panel, my);
    int32_t target = task.first_target[panel];
    for (int64_t r = 0; r < task.padded_rows; r += kBlock) {
      task.logits(r, my, z);
      for (int64_t i = 0; i < kBlock; ++i) add_to_sums<kParts>(z + i * kPanel, r + i, my);
      task.pick_target_logits(r, panel, my, z, &target);
    }
  }
}

template <int kParts>
void losses(const Task<kParts>& task, Range rows) {
  const ThreadBuffers* buffers = task.buffers;
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    if (r >= task.num_rows) {
      task.log_sum_exp[r] = kNoSum;
      continue;
    }
    Float lanes = load(buffers[0].largest + r * kLanes);
    for (int t = 1; t < task.threads; ++t) lanes = at_least(load(buffers[t].largest + r * kLanes), lanes);
    const float largest = maximum(lanes);
    Float total = Float{};
    for (int t = 0; t < task.threads; ++t)
      total += load(buffers[t].sum + r * kLanes) * exp2<2>(load(buffers[t].largest + r * kLanes) - largest);
    const float logarithm = log2f(sum(total));
    task.log_sum_exp[r] = largest + logarithm;
    // In this order of additions the logarithm keeps its digits even if the logits are large.
    task.io.loss[task.begin + r] = (logarithm + (largest - task.target_logit[r])) * kLn2;
  }
}

// The softmax of words v to v + 15 of the 32 rows from r on: stored as A of dh (block) and as B of dW (my.softmax), and
// summed for db.
template <int kParts>
KERASPTB_INLINE void softmax_of_block(const Task<kParts>& task, int64_t r, int64_t v, const float* z, bfloat16* block,
                                      float* d_bias, const ThreadBuffers& my) {
  const Float bias = load(my.bias + v);
  const float* log_sum_exp = task.log_sum_exp;
  Float total = load(d_bias + v);
  for (int64_t i = 0; i < kBlock; i += 2) {
    const Float first = exp2<kParts>(load(z + i * kPanel + v) + (bias - log_sum_exp[r + i]));
    const Float second = exp2<kParts>(load(z + (i + 1) * kPanel + v) + (bias - log_sum_exp[r + i + 1]));
    total += first * my.factor[r + i] + second * my.factor[r + i + 1];
    const Parts<kParts> parts = split_in_parts<kParts>(first, second);
    for (int part = 0; part < kParts; ++part) {
      bfloat16* to = block + part * task.kBlockPartStride + i * kPanel + v;
      store(to, first_half(parts.part[part]));
      store(to + kPanel, second_half(parts.part[part]));
      store(my.softmax + part * task.softmax_part_stride + (r + i) * kPanel + 2 * v, pair_rows(parts.part[part]));
    }
  }
  store(d_bias + v, total);
}

// Makes softmax - 1 of the softmax of a row's target, in block (whose first row is r), my.softmax and db.
template <int kParts>
void subtract_target(const Task<kParts>& task, int64_t r, int64_t row, int64_t panel, bfloat16* block, float* d_bias,
                     const ThreadBuffers& my) {
  const int64_t v = task.io.targets[task.begin + row] - panel * kPanel;
  const float residual = task.residual(row);
  store_in_parts<kParts>(block + (row - r) * kPanel + v, task.kBlockPartStride, residual);
  store_in_parts<kParts>(my.softmax + task.place_in_pairs(row, v), task.softmax_part_stride, residual);
  d_bias[v] -= my.factor[row];
}

template <int kParts>
void gradients(const Task<kParts>& task, Range my_panels, ThreadBuffers& my) {
  alignas(64) float z[kBlock * kPanel];
  alignas(64) bfloat16 block[kParts * Task<kParts>::kBlockPartStride];  // softmax - onehot of 32 rows, as A of dh
  alignas(64) float d_bias[kPanel];
  for (int64_t r = 0; r < task.padded_rows; ++r)
    my.factor[r] = r < task.num_rows ? task.io.scale[task.begin + r] : 0.0f;
  for (int64_t panel = my_panels.begin; panel < my_panels.end; ++panel) {
    task.pack_panel(panel, my);
    task.pack_panel_rows(my);
    memset(d_bias, 0, sizeof(d_bias));
    int32_t target = task.first_target[panel];
    for (int64_t r = 0; r < task.padded_rows; r += kBlock) {
      task.logits(r, my, z);
      for (int j = 0; j < kPanelVectors; ++j) softmax_of_block(task, r, j * kLanes, z, block, d_bias, my);
      for (; target < task.first_target[panel + 1] && task.rows_by_target[target] < r + kBlock; ++target)
        subtract_target(task, r, task.rows_by_target[target], panel, block, d_bias, my);
      task.add_to_dh(r, panel == my_panels.begin, block, my);
    }
    task.store_d_bias(panel, d_bias);
    task.kernel_gradient(panel, my.softmax, my);
  }
}

}  // namespace
}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
