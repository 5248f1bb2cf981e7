// The way without AMX: the first pass computes dh from the exponentials e = 2^(z - m) while they are in the L1 cache,
// and keeps them in bfloat16; the second pass computes dW from them. Included by linear_cross_entropy_bfloat16.cc.
//
// The reference m belongs to a row and a thread. It is the largest logit of the thread's first panel, rounded up to an
// integer, and is raised when a later logit is so far above it that exponentials could overflow. Raising multiplies
// what depends on m by a power of two, which is exact. dz = f e with f = scale 2^(m - largest) / total; h is multiplied
// by f for dW, and dh is multiplied by f at the end. For a target dz = f e - scale, which may be much smaller than both
// terms: so targets are left out of dh in the first pass, and their share is added when the softmax is known.
#pragma once

#include "linear_cross_entropy_bfloat16.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

// Bytes of e that are kept, for all threads; but a chunk has at least kLeastChunkRows rows, since with smaller chunks W
// is packed, and dW added to, more often.
constexpr int64_t kKeptBytes = 16 << 20, kLeastChunkRows = 512;
// Bytes of h and dh, which a thread reads or writes once for each panel: they stay in its L2 cache.
constexpr int64_t kChunkBytes = 1 << 20;

template <int kParts>
int64_t chunk_rows(const LinearCrossEntropy& io, int64_t depth) {
  const int64_t kept = kKeptBytes / (2 * kParts * io.vocabulary_size);
  return larger(kLeastChunkRows, smaller(kept, kChunkBytes / (depth * (4 + 4 * kParts))));
}

// ThreadBuffers::largest is m, [rows]; sum is [rows][16], of the words v with the same v % 16.
template <int kParts>
void allocate(Workers& workers, Task<kParts>& task) {
  task.largest = workers.scratch<float>(task.most_rows);
  task.total = workers.scratch<float>(task.most_rows);
  if (task.with_gradients()) task.target_kernel = workers.scratch<bfloat16>(kParts * task.most_rows * task.depth);
  for (int thread = 0; thread < task.threads; ++thread) {
    ThreadBuffers& my = task.buffers[thread];
    my.largest = workers.scratch<float>(task.most_rows);
    my.sum = workers.scratch<float>(task.most_rows * kLanes);
    if (!task.with_gradients()) continue;
    my.softmax = workers.scratch<bfloat16>(ceil_div(task.panels, task.threads) * kParts * task.softmax_part_stride);
    my.h_transposed = workers.scratch<bfloat16>(kParts * task.h_transposed_part_stride);
  }
}

template <int kParts>
void prepare(const Task<kParts>&, Range) {}

// 2^x of an integer x, exactly.
KERASPTB_INLINE float power_of_two(float x) { return _mm512_scalef_ps(splat(1.0f), splat(x))[0]; }

// e of one of the thread's panels.
template <int kParts>
KERASPTB_INLINE bfloat16* kept(const Task<kParts>& task, Range my_panels, int64_t panel, const ThreadBuffers& my) {
  return my.softmax + (panel - my_panels.begin) * kParts * task.softmax_part_stride;
}

// Raises m of a row to `least`, rounded up, and rescales what depends on it: its sums, its e of `panels` and its dh.
template <int kParts>
KERASPTB_NOINLINE void raise_reference(const Task<kParts>& task, Range panels, int64_t row, float least,
                                       const ThreadBuffers& my) {
  const float reference = ceilf(least), ratio = power_of_two(my.largest[row] - reference);
  my.largest[row] = reference;
  store(my.sum + row * kLanes, load(my.sum + row * kLanes) * ratio);
  if (!task.with_gradients() || panels.size() == 0) return;
  float* dh = my.dh + row * task.dh_stride;
  for (int64_t d = 0; d < task.depth; d += kLanes) store(dh + d, load(dh + d) * ratio);
  // The rows lie in pairs, an even row in the low halves of 32 bits and an odd one in the high halves.
  const __m512i mine = _mm512_set1_epi32(row % 2 == 0 ? 0x0000ffff : 0xffff0000);
  const int shift = row % 2 == 0 ? 16 : 0;
  bfloat16* e = my.softmax + task.place_in_pairs(row - row % 2, 0);
  for (int64_t i = 0; i < panels.size() * kParts; ++i, e += task.softmax_part_stride)
    for (int64_t v = 0; v < 2 * kPanel; v += 32) {
      const __m512i pairs = _mm512_loadu_si512(e + v);
      const __m512i own = _mm512_slli_epi32(_mm512_and_si512(pairs, mine), shift);
      const __m512i raised = reinterpret_cast<__m512i>(reinterpret_cast<Float>(own) * ratio);
      _mm512_storeu_si512(e + v, _mm512_or_si512(_mm512_andnot_si512(mine, pairs),
                                                 _mm512_and_si512(_mm512_srli_epi32(raised, shift), mine)));
    }
}

// Given 32 words of each of two rows, pairs up the first 16 words (half = 0) or the last 16 (half = 1).
KERASPTB_INLINE __m512i pair_words(__m512i first, __m512i second, int half) {
  const __m512i order = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8,  //
                                         39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  return _mm512_permutex2var_epi16(first, _mm512_add_epi16(order, _mm512_set1_epi16(static_cast<short>(16 * half))),
                                   second);
}

// e of two rows of a panel, from z [2][kPanel], their logits without bias. Adds e to the sums and stores it twice: in
// pairs of rows, to be kept, and by rows in `block`, as A of dh.
template <int kParts>
KERASPTB_INLINE void exponentials(const Task<kParts>& task, Range my_panels, int64_t panel, int64_t row, const float* z,
                                  bfloat16* block, const ThreadBuffers& my) {
  Float e[2][kPanelVectors];
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < kPanelVectors; ++j) e[i][j] = load(z + i * kPanel + j * kLanes) + load(my.bias + j * kLanes);
    Float top = e[i][0];
    for (int j = 1; j < kPanelVectors; ++j) top = at_least(e[i][j], top);
    if (any_above(top, my.largest[row + i] + kMostAbove))
      raise_reference(task, Range{my_panels.begin, panel}, row + i, maximum(top), my);
    const Float m = splat(my.largest[row + i]);
    Float total = load(my.sum + (row + i) * kLanes);
    for (int j = 0; j < kPanelVectors; ++j) {
      e[i][j] = exp2<kParts>(e[i][j] - m);
      total += e[i][j];
    }
    store(my.sum + (row + i) * kLanes, total);
  }
  if (!task.with_gradients()) return;
  bfloat16* to = kept(task, my_panels, panel, my) + task.place_in_pairs(row, 0);
  for (int j = 0; j < kPanelVectors; j += 2) {
    const Parts<kParts> first = split_in_parts<kParts>(e[0][j], e[0][j + 1]);
    const Parts<kParts> second = split_in_parts<kParts>(e[1][j], e[1][j + 1]);
    for (int part = 0; part < kParts; ++part) {
      store(block + part * task.kBlockPartStride + j * kLanes, first.part[part]);
      store(block + part * task.kBlockPartStride + kPanel + j * kLanes, second.part[part]);
      for (int half = 0; half < 2; ++half)
        store(to + part * task.softmax_part_stride + (2 * j + 2 * half) * kLanes,
              pair_words(first.part[part], second.part[part], half));
    }
  }
}

// Leaves a row's target out of `block`, whose first row is r, and keeps the target's column of W for combine_dh.
template <int kParts>
void leave_out(const Task<kParts>& task, int64_t panel, int64_t row, int64_t r, bfloat16* block,
               const ThreadBuffers& my) {
  const int64_t v = task.io.targets[task.begin + row] - panel * kPanel;
  for (int part = 0; part < kParts; ++part) {
    block[part * task.kBlockPartStride + (row - r) * kPanel + v] = 0;
    const bfloat16* from =
        my.columns + part * task.panel_part_stride + v / kTileRows * kTileRows * task.depth + v % kTileRows * 2;
    bfloat16* to = task.target_kernel + (part * task.most_rows + row) * task.depth;
    for (int64_t d = 0; d < task.depth; d += 2) memcpy(to + d, from + d * kTileRows, 2 * sizeof(bfloat16));
  }
}

template <int kParts>
void first_pass(const Task<kParts>& task, Range my_panels, ThreadBuffers& my) {
  constexpr int64_t kBlocks =
      4;  // blocks of rows in turn, so that the packed panel is read from L2 once for all of them
  constexpr int64_t kBlockSize = kParts * Task<kParts>::kBlockPartStride;
  alignas(64) float z[kBlock * kPanel];
  alignas(64) bfloat16 blocks[kBlocks * kBlockSize];
  for (int64_t r = 0; r < task.padded_rows; ++r) {
    my.largest[r] = kNoReference;
    store(my.sum + r * kLanes, Float{});
  }
  for (int64_t panel = my_panels.begin; panel < my_panels.end; ++panel) {
    task.pack_panel(panel, my);
    if (task.with_gradients()) task.pack_panel_rows(my);
    int32_t target = task.first_target[panel];
    for (int64_t first = 0; first < task.padded_rows; first += kBlocks * kBlock) {
      const int64_t end = smaller(first + kBlocks * kBlock, task.padded_rows);
      bfloat16* block = blocks;
      for (int64_t r = first; r < end; r += kBlock, block += kBlockSize) {
        task.logits(r, my, z);
        for (int64_t i = 0; i < kBlock; i += 2)
          exponentials(task, my_panels, panel, r + i, z + i * kPanel, block + i * kPanel, my);
        const int32_t first_target = target;
        task.pick_target_logits(r, panel, my, z, &target);
        if (task.with_gradients())
          for (int32_t i = first_target; i < target; ++i) leave_out(task, panel, task.rows_by_target[i], r, block, my);
      }
      block = blocks;
      if (task.with_gradients())
        for (int64_t r = first; r < end; r += kBlock, block += kBlockSize)
          task.add_to_dh(r, panel == my_panels.begin, block, my);
    }
  }
}

template <int kParts>
void losses(const Task<kParts>& task, Range rows) {
  const ThreadBuffers* buffers = task.buffers;
  for (int64_t r = rows.begin; r < smaller(rows.end, task.num_rows); ++r) {
    float largest = kNoReference, total = 0;
    for (int t = 0; t < task.threads; ++t) largest = buffers[t].largest[r] > largest ? buffers[t].largest[r] : largest;
    for (int t = 0; t < task.threads; ++t)
      total += power_of_two(buffers[t].largest[r] - largest) * sum(load(buffers[t].sum + r * kLanes));
    task.largest[r] = largest;
    task.total[r] = total;
    const float logarithm = log2f(total);
    task.log_sum_exp[r] = largest + logarithm;
    // In this order of additions the logarithm keeps its digits even if the logits are large.
    task.io.loss[task.begin + r] = (logarithm + (largest - task.target_logit[r])) * kLn2;
  }
}

// Computes f of each row, and replaces e of the thread's targets by their residual, softmax - 1, in the same scale.
template <int kParts>
void factors(const Task<kParts>& task, Range my_panels, const ThreadBuffers& my) {
  for (int64_t r = 0; r < task.padded_rows; ++r) my.factor[r] = 0.0f;
  for (int64_t r = 0; r < task.num_rows; ++r) {
    // So that the residual of a target cannot overflow in the scale of e.
    if (task.largest[r] - my.largest[r] > kMostAbove) raise_reference(task, my_panels, r, task.largest[r], my);
    const float distance = my.largest[r] - task.largest[r];
    my.factor[r] = task.io.scale[task.begin + r] * (power_of_two(distance) / task.total[r]);
    const int64_t target = task.io.targets[task.begin + r], panel = target / kPanel;
    if (panel >= my_panels.begin && panel < my_panels.end)
      store_in_parts<kParts>(kept(task, my_panels, panel, my) + task.place_in_pairs(r, target % kPanel),
                             task.softmax_part_stride, task.residual(r) * (task.total[r] * power_of_two(-distance)));
  }
}

// This chunk's share of db [kPanel] for a panel, from its e.
template <int kParts>
KERASPTB_INLINE void sum_over_rows(const Task<kParts>& task, const bfloat16* e, float* d_bias,
                                   const ThreadBuffers& my) {
  const __m512i high = _mm512_set1_epi32(0xffff0000);
  for (int64_t v = 0; v < kPanel; v += 4 * kLanes) {
    Float total[4] = {};
    for (int64_t r = 0; r < task.padded_rows; r += 2)
      for (int part = 0; part < kParts; ++part)
        for (int j = 0; j < 4; ++j) {
          const __m512i pairs =
              _mm512_loadu_si512(e + part * task.softmax_part_stride + task.place_in_pairs(r, v + j * kLanes));
          total[j] += reinterpret_cast<Float>(_mm512_slli_epi32(pairs, 16)) * my.factor[r] +
                      reinterpret_cast<Float>(_mm512_and_si512(pairs, high)) * my.factor[r + 1];
        }
    for (int j = 0; j < 4; ++j) store(d_bias + v + j * kLanes, total[j]);
  }
}

template <int kParts>
void gradients(const Task<kParts>& task, Range my_panels, ThreadBuffers& my) {
  alignas(64) float d_bias[kPanel];
  factors(task, my_panels, my);
  task.pack_h_transposed(Range{0, task.padded_rows / kBlock}, my.factor, my.h_transposed);
  for (int64_t panel = my_panels.begin; panel < my_panels.end; ++panel) {
    const bfloat16* e = kept(task, my_panels, panel, my);
    sum_over_rows(task, e, d_bias, my);
    task.store_d_bias(panel, d_bias);
    task.kernel_gradient(panel, e, my);
  }
}

}  // namespace
}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
