// The first pass keeps the exponentials e = 2^(z - m) for the second, in bfloat16. Included by
// linear_cross_entropy_bfloat16.cc.
//
// m, of a row and a thread, is the largest logit of the first panel, rounded up to a whole number; it is raised when a
// logit is so far above it that exponentials could overflow. That multiplies what is kept by a power of two, and rounds
// nothing. dz is f e, where f = scale 2^(m - largest) / total goes into h for dW and, at the end, into dh.
#pragma once

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

// Of e, for all threads. Smaller chunks pack W, and add their share to dW, more often: so many rows at least.
constexpr int64_t kKeptBytes = 16 << 20, kLeastChunkRows = 512;
// Of h and dh, which are touched once a panel: they stay in the L2 cache.
constexpr int64_t kChunkBytes = 1 << 20;
// A logit may be so far above m. 2 to that, times any size of vocabulary, is far from the largest float32.
constexpr float kMostAbove = 58.0f;
constexpr float kNoReference = -3e38f;

template <int kParts>
int64_t chunk_rows(const LinearCrossEntropy& io, int64_t depth) {
  const int64_t kept = kKeptBytes / (2 * kParts * io.vocabulary_size);
  return larger(kLeastChunkRows, smaller(kept, kChunkBytes / (depth * (4 + 4 * kParts))));
}

// ThreadBuffers::largest is m, [rows]; sum is [rows][16].
template <int kParts>
void allocate(Workers& workers, Task<kParts>& task) {
  task.largest = workers.scratch<float>(task.most_rows);
  task.total = workers.scratch<float>(task.most_rows);
  for (int thread = 0; thread < task.threads; ++thread) {
    ThreadBuffers& my = task.buffers[thread];
    my.largest = workers.scratch<float>(task.most_rows);
    my.sum = workers.scratch<float>(task.most_rows * kLanes);
    if (!task.with_gradients()) continue;
    my.softmax = workers.scratch<bfloat16>(ceil_div(task.panels, task.threads) * kParts * task.softmax_low);
    my.h_transposed = workers.scratch<bfloat16>(kParts * task.h_transposed_low);
  }
}

template <int kParts>
void prepare(const Task<kParts>&, Range) {}

// 2^x of a whole number, exactly.
KERASPTB_INLINE float power_of_two(float x) { return _mm512_scalef_ps(splat(1.0f), splat(x))[0]; }

// e of one of the thread's panels.
template <int kParts>
KERASPTB_INLINE bfloat16* kept(const Task<kParts>& task, Range my_panels, int64_t panel, const ThreadBuffers& my) {
  return my.softmax + (panel - my_panels.begin) * kParts * task.softmax_low;
}

// Of a row of which e of `panels` is there.
template <int kParts>
KERASPTB_NOINLINE void raise_reference(const Task<kParts>& task, Range panels, int64_t row, float least,
                                       const ThreadBuffers& my) {
  const float reference = ceilf(least), ratio = power_of_two(my.largest[row] - reference);
  my.largest[row] = reference;
  store(my.sum + row * kLanes, load(my.sum + row * kLanes) * ratio);
  if (!task.with_gradients()) return;
  // One of each pair of rows: the low or the high half of 32 bits.
  const __m512i mine = _mm512_set1_epi32(row % 2 == 0 ? 0x0000ffff : 0xffff0000);
  const int shift = row % 2 == 0 ? 16 : 0;
  bfloat16* e = my.softmax + task.place_in_pairs(row - row % 2, 0);
  for (int64_t i = 0; i < panels.size() * kParts; ++i, e += task.softmax_low)
    for (int64_t v = 0; v < 2 * kPanel; v += 32) {
      const __m512i pairs = _mm512_loadu_si512(e + v);
      const __m512i own = _mm512_slli_epi32(_mm512_and_si512(pairs, mine), shift);
      const __m512i raised = reinterpret_cast<__m512i>(reinterpret_cast<Float>(own) * ratio);
      _mm512_storeu_si512(e + v, _mm512_or_si512(_mm512_andnot_si512(mine, pairs),
                                                 _mm512_and_si512(_mm512_srli_epi32(raised, shift), mine)));
    }
}

// e and its sums of two rows of a panel, from their logits without bias.
template <int kParts>
KERASPTB_INLINE void exponentials(const Task<kParts>& task, Range my_panels, int64_t panel, int64_t row, const float* z,
                                  const ThreadBuffers& my) {
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
  for (int j = 0; j < kPanelVectors; ++j) {
    const Parts<kParts> parts = split_in_parts<kParts>(e[0][j], e[1][j]);
    for (int part = 0; part < kParts; ++part)
      store(to + part * task.softmax_low + 2 * j * kLanes, pair_rows(parts.part[part]));
  }
}

template <int kParts>
void first_pass(const Task<kParts>& task, Range my_panels, ThreadBuffers& my) {
  alignas(64) float z[kBlock * kPanel];
  for (int64_t r = 0; r < task.padded_rows; ++r) {
    my.largest[r] = kNoReference;
    store(my.sum + r * kLanes, Float{});
  }
  for (int64_t panel = my_panels.begin; panel < my_panels.end; ++panel) {
    task.pack_panel(panel, my);
    int32_t target = task.first_target[panel];
    for (int64_t r = 0; r < task.padded_rows; r += kBlock) {
      task.logits(r, my, z);
      for (int64_t i = 0; i < kBlock; i += 2) exponentials(task, my_panels, panel, r + i, z + i * kPanel, my);
      task.pick_target_logits(r, panel, my, z, &target);
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
    task.log_sum_exp[r] = largest + log2f(total);
    task.io.loss[task.begin + r] = (task.log_sum_exp[r] - task.target_logit[r]) * kLn2;
  }
}

// f of each row, and in e of the thread's targets the residual in the place of the softmax.
template <int kParts>
void factors(const Task<kParts>& task, Range my_panels, const ThreadBuffers& my) {
  for (int64_t r = 0; r < task.padded_rows; ++r) my.factor[r] = 0.0f;
  for (int64_t r = 0; r < task.num_rows; ++r) {
    // Else the residual of a target, which is one less than its softmax, could be too large for e's scale.
    if (task.largest[r] - my.largest[r] > kMostAbove) raise_reference(task, my_panels, r, task.largest[r], my);
    const float distance = my.largest[r] - task.largest[r];
    my.factor[r] = task.io.scale[task.begin + r] * (power_of_two(distance) / task.total[r]);
    const int64_t target = task.io.targets[task.begin + r], panel = target / kPanel;
    if (panel >= my_panels.begin && panel < my_panels.end)
      store_in_parts<kParts>(kept(task, my_panels, panel, my) + task.place_in_pairs(r, target % kPanel),
                             task.softmax_low, task.residual(r) * (task.total[r] * power_of_two(-distance)));
  }
}

// e of 32 rows as rows, as A of dh; and its share of db.
template <int kParts>
KERASPTB_INLINE void unpair_block(const Task<kParts>& task, int64_t r, const bfloat16* e, bfloat16* block,
                                  float* d_bias, const ThreadBuffers& my) {
  const __m512i step = _mm512_set_epi16(62, 60, 58, 56, 54, 52, 50, 48, 46, 44, 42, 40, 38, 36, 34, 32,  //
                                        30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  const __m512i even = step, odd = _mm512_add_epi16(step, _mm512_set1_epi16(1));
  const __m512i high = _mm512_set1_epi32(0xffff0000);
  for (int part = 0; part < kParts; ++part)
    for (int64_t v = 0; v < kPanel; v += 2 * kLanes) {
      Float total[2] = {load(d_bias + v), load(d_bias + v + kLanes)};
      for (int64_t i = 0; i < kBlock; i += 2) {
        const bfloat16* from = e + part * task.softmax_low + task.place_in_pairs(r + i, v);
        const __m512i pairs[2] = {_mm512_loadu_si512(from), _mm512_loadu_si512(from + 32)};
        for (int j = 0; j < 2; ++j)
          total[j] += reinterpret_cast<Float>(_mm512_slli_epi32(pairs[j], 16)) * my.factor[r + i] +
                      reinterpret_cast<Float>(_mm512_and_si512(pairs[j], high)) * my.factor[r + i + 1];
        bfloat16* to = block + part * task.kBlockLow + i * kPanel + v;
        store(to, _mm512_permutex2var_epi16(pairs[0], even, pairs[1]));
        store(to + kPanel, _mm512_permutex2var_epi16(pairs[0], odd, pairs[1]));
      }
      store(d_bias + v, total[0]);
      store(d_bias + v + kLanes, total[1]);
    }
}

template <int kParts>
void gradients(const Task<kParts>& task, Range my_panels, ThreadBuffers& my) {
  alignas(64) bfloat16 block[kParts * Task<kParts>::kBlockLow];
  alignas(64) float d_bias[kPanel];
  factors(task, my_panels, my);
  task.pack_h_transposed(Range{0, task.padded_rows / kBlock}, my.factor, my.h_transposed);
  for (int64_t panel = my_panels.begin; panel < my_panels.end; ++panel) {
    const bfloat16* e = kept(task, my_panels, panel, my);
    task.pack_panel(panel, my);
    task.pack_panel_rows(my);
    memset(d_bias, 0, sizeof(d_bias));
    for (int64_t r = 0; r < task.padded_rows; r += kBlock) {
      unpair_block(task, r, e, block, d_bias, my);
      task.add_to_dh(r, panel == my_panels.begin, block, my);
    }
    task.store_d_bias(panel, d_bias);
    task.kernel_gradient(panel, e, my);
  }
}

}  // namespace
}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
