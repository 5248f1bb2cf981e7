// Cross-entropy of a linear layer's softmax in bfloat16. Equations and shape letters: linear_cross_entropy.h.
//
// The vocabulary is split into panels of 128 words, which the threads share, and the N rows of h into chunks. For every
// chunk:
//
// 1. A first pass over the panels computes the logits z, of 32 rows and a strip of words at a time; keeps the
//    exponentials e = 2^(z - m) in bfloat16; sums them; and computes dh from them while they are in the L1 cache.
// 2. The sums over all threads give the loss, and the factor f of each row, so that dz = f e.
// 3. A second pass computes dW = (f h)^T e. dh is multiplied by f.
//
// The reference m belongs to a row and a thread. It is the largest logit of the thread's first strip, rounded up to an
// integer, and is raised when a later logit is so far above it that exponentials could overflow. Raising multiplies
// what depends on m by a power of two, which is exact. f = scale 2^(m - largest) / total. For a target dz = f e -
// scale, which may be much smaller than both terms: so targets are left out of dh in the first pass, and their share is
// added when the softmax is known.
//
// The softmax has base 2 (softmax_base2.h): W and b are packed times log2(e).
#include "linear_cross_entropy/linear_cross_entropy_bfloat16.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

// Bytes of e that are saved, for all threads; but a chunk has at least kMinChunkRows rows, since with smaller chunks W
// is packed, and dW added to, more often.
constexpr int64_t kSavedBytes = 16 << 20, kMinChunkRows = 512;
// Bytes of h and dh, which a thread reads or writes once for each panel: they stay in its L2 cache.
constexpr int64_t kChunkBytes = 1 << 20;
// Rows of a chunk if W is not large: e takes less memory then, and as much time. From 7 % less to 4 % more was measured
// on a Xeon of model 167, at 1,200 to 25,600 words and vocabularies of 1,000 to 25,000.
constexpr int64_t kChunkRowsOfSmallKernel = 300;

template <int kParts>
int64_t chunk_count(const LinearCrossEntropy& io, int64_t depth) {
  const int64_t saved_rows = kSavedBytes / (2 * kParts * io.vocabulary_size);
  const int64_t max_rows = larger(kMinChunkRows, smaller(saved_rows, kChunkBytes / (depth * (4 + 4 * kParts))));
  const int64_t count = ceil_div(io.num_words, max_rows);
  const bool small = io.features * io.vocabulary_size <= kLargeKernel;
  return small ? larger(count, io.num_words / kChunkRowsOfSmallKernel) : count;
}

// 2^x of an integer x, exactly.
KERASPTB_INLINE float power_of_two(float x) { return _mm512_scalef_ps(splat(1.0f), splat(x))[0]; }

// e of one of the thread's panels.
template <int kParts>
KERASPTB_INLINE bfloat16* exponentials_at(const Task<kParts>& task, Range my_panels, int64_t panel,
                                          const ThreadBuffers& my) {
  return my.exponentials + (panel - my_panels.begin) * kParts * task.exponentials_part_stride;
}

// Raises m of a row to `least`, rounded up, and rescales what depends on it: its sums, its e of `panels`, its dh if any
// of them is `in_dh`, and `block_row`, its row of the block that dh is about to be computed from, if not null.
template <int kParts>
KERASPTB_NOINLINE void raise_reference(const Task<kParts>& task, Range panels, bool in_dh, int64_t row, float least,
                                       bfloat16* block_row, const ThreadBuffers& my) {
  const float reference = ceilf(least), ratio = power_of_two(my.largest[row] - reference);
  my.largest[row] = reference;
  store(my.sum + row * kLanes, load(my.sum + row * kLanes) * ratio);
  if (!task.with_gradients()) return;
  float* dh = my.dh + row * task.dh_stride;
  if (in_dh)
    for (int64_t d = 0; d < task.depth; d += kLanes) store(dh + d, load(dh + d) * ratio);
  if (block_row != nullptr)
    for (int part = 0; part < kParts; ++part)
      for (int64_t v = 0; v < kPanel; v += kLanes) {
        bfloat16* to = block_row + part * task.kBlockPartStride + v;
        const Float raised = widen(load_bfloat16x16(to)) * ratio;
        store(to, first_half(round_to_bfloat16(raised, raised)));
      }
  // The rows lie in pairs, an even row in the low halves of 32 bits and an odd one in the high halves.
  const __m512i mine = _mm512_set1_epi32(row % 2 == 0 ? 0x0000ffff : 0xffff0000);
  const int shift = row % 2 == 0 ? 16 : 0;
  bfloat16* e = my.exponentials + task.place_in_pairs(row - row % 2, 0);
  for (int64_t i = 0; i < panels.size() * kParts; ++i, e += task.exponentials_part_stride)
    for (int64_t v = 0; v < 2 * kPanel; v += 32) {
      const __m512i pairs = _mm512_loadu_si512(e + v);
      const __m512i own = _mm512_slli_epi32(_mm512_and_si512(pairs, mine), shift);
      const __m512i raised = reinterpret_cast<__m512i>(reinterpret_cast<Float>(own) * ratio);
      _mm512_storeu_si512(e + v, _mm512_or_si512(_mm512_andnot_si512(mine, pairs),
                                                 _mm512_and_si512(_mm512_srli_epi32(raised, shift), mine)));
    }
}

// The exponentials of a strip and 32 rows, to be computed from its logits: two rows at a time, between the products of
// the next logits.
template <int kParts>
struct Exponentials {
  const Task<kParts>& task;
  const ThreadBuffers& my;
  const Range my_panels;
  const int64_t panel;
  // Of the strip: its first word in the panel, its first row, its logits [32][kStrip] without bias, and the rows'
  // block [32][kPanel], A of dh.
  int64_t v = 0, first_row = 0;
  const float* z = nullptr;
  bfloat16* block = nullptr;
  int32_t* target = nullptr;  // the index in rows_by_target of the first row whose target is in the strip
  int64_t next = kBlock;      // the next of the 32 rows

  KERASPTB_INLINE_METHOD void take(int64_t num_rows) {
    for (const int64_t end = smaller(next + num_rows, kBlock); next < end; next += 2) two_rows();
  }

  void finish() {
    if (z == nullptr) return;
    take(kBlock);
    const int64_t strip = panel * kStrips + v / kStrip;
    for (; *target < task.first_target[strip + 1] && task.rows_by_target[*target] < first_row + kBlock; ++*target)
      take_target(task.rows_by_target[*target]);
  }

 private:
  // Adds e to the sums, and stores it twice: in pairs of rows, to be saved, and by rows in the block.
  KERASPTB_INLINE_METHOD void two_rows() const {
    const float* bias = my.bias + v;
    Float e[2][kStripVectors];
    for (int i = 0; i < 2; ++i) {
      const int64_t row = first_row + next + i;
      for (int j = 0; j < kStripVectors; ++j)
        e[i][j] = load(z + (next + i) * kStrip + j * kLanes) + load(bias + j * kLanes);
      Float top = e[i][0];
      for (int j = 1; j < kStripVectors; ++j) top = at_least(e[i][j], top);
      if (any_above(top, my.largest[row] + kMaxAbove))
        raise_reference(task, Range{my_panels.begin, panel + (v > 0)}, panel > my_panels.begin, row, maximum(top),
                        v > 0 ? block + (next + i) * kPanel : nullptr, my);
      const Float m = splat(my.largest[row]);
      Float total = load(my.sum + row * kLanes);
      for (int j = 0; j < kStripVectors; ++j) {
        e[i][j] = exp2<kParts>(e[i][j] - m);
        total += e[i][j];
      }
      store(my.sum + row * kLanes, total);
    }
    if (!task.with_gradients()) return;
    bfloat16* by_rows = block + next * kPanel + v;
    bfloat16* in_pairs = exponentials_at(task, my_panels, panel, my) + task.place_in_pairs(first_row + next, v);
    for (int j = 0; j < kStripVectors; ++j) {
      const Parts<kParts> parts = split_in_parts<kParts>(e[0][j], e[1][j]);
      for (int part = 0; part < kParts; ++part) {
        bfloat16* to = by_rows + part * task.kBlockPartStride + j * kLanes;
        store(to, first_half(parts.part[part]));
        store(to + kPanel, second_half(parts.part[part]));
        store(in_pairs + part * task.exponentials_part_stride + 2 * j * kLanes, pair_rows(parts.part[part]));
      }
    }
  }

  // Of a row whose target is in the strip: keeps the target's logit and its column of W, and leaves it out of the
  // block.
  void take_target(int64_t row) const {
    const int64_t word = task.io.targets[task.begin + row] - panel * kPanel;
    task.target_logit[row] = z[(row - first_row) * kStrip + word - v] + my.bias[word];
    if (!task.with_gradients()) return;
    for (int part = 0; part < kParts; ++part) {
      block[part * task.kBlockPartStride + (row - first_row) * kPanel + word] = 0;
      const bfloat16* from =
          my.columns + part * task.panel_part_stride + word / kTileRows * kTileRows * task.depth + word % kTileRows * 2;
      bfloat16* to = task.target_kernel + (part * task.max_rows + row) * task.depth;
      for (int64_t d = 0; d < task.depth; d += 2) memcpy(to + d, from + d * kTileRows, 2 * sizeof(bfloat16));
    }
  }
};

// The exponentials and their sums, and dh without the targets.
template <int kParts>
void first_pass(const Task<kParts>& task, Range my_panels, ThreadBuffers& my) {
  // Blocks of rows in turn, for all of which a strip's columns of W are read from the L2 cache once.
  constexpr int64_t kBlocks = 4;
  constexpr int64_t kBlockSize = kParts * Task<kParts>::kBlockPartStride;
  alignas(64) float z[2][kBlock * kStrip];
  alignas(64) bfloat16 blocks[kBlocks * kBlockSize];
  for (int64_t r = 0; r < task.padded_rows; ++r) {
    my.largest[r] = kNoReference;
    store(my.sum + r * kLanes, Float{});
  }
  // How many rows' exponentials are computed at each pause of the products: all in time for the next logits.
  const int64_t pauses = 2 * (kStrip / kBlock) * (task.depth / kTileDepth);
  const int64_t rows_at_once = round_up(ceil_div(kBlock, pauses), 2);
  for (int64_t panel = my_panels.begin; panel < my_panels.end; ++panel) {
    task.pack_panel(panel, my);
    if (task.with_gradients()) task.pack_panel_rows(my);
    int32_t targets[kStrips];
    memcpy(targets, task.first_target + panel * kStrips, sizeof(targets));
    for (int64_t first = 0; first < task.padded_rows; first += kBlocks * kBlock) {
      const int64_t end = smaller(first + kBlocks * kBlock, task.padded_rows);
      Exponentials<kParts> due{task, my, my_panels, panel};
      int turn = 0;
      for (int64_t strip = 0; strip < kStrips; ++strip)
        for (int64_t r = first; r < end; r += kBlock, turn = 1 - turn) {
          task.logits(r, strip * kStrip, my, z[turn], [&]() __attribute__((always_inline)) { due.take(rows_at_once); });
          due.finish();
          due.v = strip * kStrip;
          due.first_row = r;
          due.z = z[turn];
          due.block = blocks + (r - first) / kBlock * kBlockSize;
          due.target = &targets[strip];
          due.next = 0;
        }
      due.finish();
      if (!task.with_gradients()) continue;
      const bfloat16* block = blocks;
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
    if (task.largest[r] - my.largest[r] > kMaxAbove)
      raise_reference(task, my_panels, true, r, task.largest[r], nullptr, my);
    const float distance = my.largest[r] - task.largest[r];
    my.factor[r] = task.io.scale[task.begin + r] * (power_of_two(distance) / task.total[r]);
    const int64_t target = task.io.targets[task.begin + r], panel = target / kPanel;
    if (panel >= my_panels.begin && panel < my_panels.end)
      store_in_parts<kParts>(exponentials_at(task, my_panels, panel, my) + task.place_in_pairs(r, target % kPanel),
                             task.exponentials_part_stride,
                             task.residual(r) * (task.total[r] * power_of_two(-distance)));
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
              _mm512_loadu_si512(e + part * task.exponentials_part_stride + task.place_in_pairs(r, v + j * kLanes));
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
    const bfloat16* e = exponentials_at(task, my_panels, panel, my);
    sum_over_rows(task, e, d_bias, my);
    task.store_d_bias(panel, d_bias);
    task.kernel_gradient(panel, e, my);
  }
}

template <int kParts>
void chunk(const Task<kParts>& task, int thread, Barrier& all) {
  const Range blocks = split(task.padded_rows / kBlock, task.threads, thread);
  const Range rows{blocks.begin * kBlock, blocks.end * kBlock};
  const Range my_panels = split(task.panels, task.threads, thread);
  ThreadBuffers& my = task.buffers[thread];
  task.pack_h(rows);
  if (thread == task.threads - 1) task.order_targets();
  all.wait();
  if (my_panels.size() == 0 && task.with_gradients())
    memset(my.dh, 0, task.padded_rows * task.dh_stride * sizeof(float));
  first_pass(task, my_panels, my);
  all.wait();
  losses(task, rows);
  all.wait();
  if (!task.with_gradients()) return;
  gradients(task, my_panels, my);
  all.wait();
  task.combine_dh(rows);
}

template <int kParts>
void run(const LinearCrossEntropy& io) {
  Workers workers;
  const int threads = workers.count();
  Task<kParts> task(io);
  task.threads = threads;
  task.depth = round_up(io.features, kTileDepth);
  task.panels = ceil_div(io.vocabulary_size, kPanel);
  const int64_t chunks = chunk_count<kParts>(io, task.depth);
  const int64_t rows = task.max_rows = round_up(ceil_div(io.num_words, chunks), kBlock);
  task.h_stride = spread(task.depth);
  task.h_transposed_stride = spread(rows);
  task.dh_stride = spread(2 * task.depth) / 2;
  task.h_part_stride = rows * task.h_stride;
  task.h_transposed_part_stride = task.depth * task.h_transposed_stride;
  task.panel_part_stride = kPanel * task.depth;
  task.exponentials_part_stride = rows * kPanel;
  task.h = workers.scratch<bfloat16>(kParts * task.h_part_stride);
  task.log_sum_exp = workers.scratch<float>(rows);
  task.target_logit = workers.scratch<float>(rows);
  task.first_target = workers.scratch<int32_t>(task.panels * kStrips + 1);
  task.rows_by_target = workers.scratch<int32_t>(rows);
  task.largest = workers.scratch<float>(rows);
  task.total = workers.scratch<float>(rows);
  if (task.with_gradients()) task.target_kernel = workers.scratch<bfloat16>(kParts * rows * task.depth);
  task.buffers = workers.scratch<ThreadBuffers>(threads);
  for (int thread = 0; thread < threads; ++thread) {
    ThreadBuffers& my = task.buffers[thread];
    my.columns = workers.scratch<bfloat16>(kParts * task.panel_part_stride);
    my.largest = workers.scratch<float>(rows);
    my.sum = workers.scratch<float>(rows * kLanes);
    if (!task.with_gradients()) continue;
    my.rows = workers.scratch<bfloat16>(kParts * task.panel_part_stride);
    my.exponentials =
        workers.scratch<bfloat16>(ceil_div(task.panels, threads) * kParts * task.exponentials_part_stride);
    my.h_transposed = workers.scratch<bfloat16>(kParts * task.h_transposed_part_stride);
    my.factor = workers.scratch<float>(rows);
    my.dh = workers.scratch<float>(rows * task.dh_stride);
  }
  Barrier& all = *workers.barriers(1, threads);
  workers.run([&](int thread) {
    const Tiles tiles;
    Task<kParts> mine = task;
    for (mine.begin = 0; mine.begin < io.num_words; mine.begin += rows) {
      mine.num_rows = smaller(rows, io.num_words - mine.begin);
      mine.padded_rows = round_up(mine.num_rows, kBlock);
      chunk(mine, thread, all);
    }
  });
}

}  // namespace

void linear_cross_entropy(int parts, const LinearCrossEntropy& tensors) {
  parts == 1 ? run<1>(tensors) : run<2>(tensors);
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
