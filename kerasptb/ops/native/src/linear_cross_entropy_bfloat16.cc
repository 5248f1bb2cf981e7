// Cross-entropy of a linear layer's softmax in bfloat16. Equations and shape letters: linear_cross_entropy.h.
//
// The vocabulary falls into panels of 128 words, which the threads share; the N rows of h into chunks that stay in the
// L2 cache. For every chunk: a first pass over the panels makes the logits, 32 rows at a time in the L1 cache, and
// keeps each row's maximum and sum of exponentials. A second pass makes them again, now as softmax, and takes dW of the
// panel and the panel's share of dh from it. The softmax has base 2: W and b are packed times log2(e).
#include "linear_cross_entropy.h"

#include <math.h>

#include "bfloat16.h"
#include "threads.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

constexpr int64_t kPanel = 128;                          // words of the vocabulary
constexpr int kPanelVectors = kPanel / 16, kPanelTiles = kPanel / kTileRows;
constexpr int64_t kChunkBytes = 5 << 19;                 // of all that is touched once a panel, for a thread
constexpr int64_t kLeastChunkRows = 512;
constexpr float kLog2E = 1.44269504088896f, kLn2 = 0.693147180559945f;
constexpr float kNoLogit = -1e30f;                       // of padding: its exponential is 0
constexpr float kNoSum = 1e30f;                          // log-sum-exp of padding rows: their softmax is 0

// 2^x. Where the operands are bfloat16 (2^-9) a relative error of 2.6e-6 is little; polynomial as that of simd.h.
template <int kParts>
KERASPTB_INLINE Float exp2(Float x) {
  if (kParts > 1) return KERASPTB_LEVEL::exp2(x);
  const Float fraction = _mm512_reduce_ps(x, 1);
  Float p = fraction * 1.353416755e-02f + 5.201146387e-02f;
  p = p * fraction + 2.414427529e-01f;
  p = p * fraction + 6.930038359e-01f;
  p = p * fraction + 1.000002593e+00f;
  return _mm512_scalef_ps(p, x);
}

// Memory of one thread.
struct ThreadBuffers {
  bfloat16* columns;      // [word / 16][D' / 32][tile]: the panel as B of the logits
  bfloat16* rows;         // [D' / 16][4][tile]: the panel as B of dh
  bfloat16* residuals;    // [rows / 2][word][2]: softmax - onehot of the chunk, as B of dW (paired along the rows)
  float* dh;              // [rows][dh_stride]
  float *maximum, *sum;   // [rows][16]: of the logits in lane v % 16, over the panels of this thread
  float bias[kPanel];     // of the panel, times log2(e)
};

template <int kParts>
struct Task {
  explicit Task(const LinearCrossEntropy& io) : io(io) {}

  const LinearCrossEntropy& io;
  int threads;
  int64_t depth;       // D' = D rounded up to 32
  int64_t panels;
  int64_t most_rows;   // of a chunk, multiple of 32
  int64_t h_stride, h_transposed_stride, dh_stride;
  // Distances of the parts.
  int64_t h_low, h_transposed_low, panel_low, residuals_low;
  static constexpr int64_t kBlockLow = kBlock * kPanel;

  bfloat16* h;             // [rows][h_stride]
  bfloat16* h_transposed;  // [D'][h_transposed_stride], times scale
  float *log_sum_exp, *target_logit;           // [rows], base 2
  int32_t *first_target, *rows_by_target;      // rows of the chunk ordered by their target's panel: start of each panel
  ThreadBuffers* buffers;

  // The chunk.
  int64_t begin, num_rows, padded_rows;

  // ---- preparation of a chunk ----

  void pack_h(Range rows) const {
    for (int64_t r = rows.begin; r < rows.end; ++r)
      for (int64_t d = 0; d < depth; d += 2 * kLanes) {
        const float* from = io.h + (begin + r) * io.features + d;
        const int64_t first = r < num_rows ? lanes_before(d, io.features) : 0;
        const int64_t second = r < num_rows ? lanes_before(d + kLanes, io.features) : 0;
        const Parts<kParts> parts = split_in_parts<kParts>(load(from, first), load(from + kLanes, second));
        for (int part = 0; part < kParts; ++part) store(h + part * h_low + r * h_stride + d, parts.part[part]);
      }
  }

  // Rows in blocks of 32.
  void pack_h_transposed(Range blocks) const {
    for (int64_t block = blocks.begin; block < blocks.end; ++block)
      for (int64_t d = 0; d < depth; d += kLanes) {
        __m512i rows[2][16];
        for (int64_t i = 0; i < kBlock; ++i) {
          const int64_t r = block * kBlock + i;
          const int64_t lanes = r < num_rows ? lanes_before(d, io.features) : 0;
          const float scale = r < num_rows ? io.scale[begin + r] : 0.0f;
          rows[i / 16][i % 16] =
              reinterpret_cast<__m512i>(load(io.h + (begin + r) * io.features + d, lanes) * scale);
        }
        transpose(rows[0]);
        transpose(rows[1]);
        for (int64_t i = 0; i < kLanes; ++i) {
          const Parts<kParts> parts =
              split_in_parts<kParts>(reinterpret_cast<Float>(rows[0][i]), reinterpret_cast<Float>(rows[1][i]));
          for (int part = 0; part < kParts; ++part)
            store(h_transposed + part * h_transposed_low + (d + i) * h_transposed_stride + block * kBlock,
                  parts.part[part]);
        }
      }
  }

  // A counting sort, stable: within a panel the rows ascend.
  void order_targets() const {
    const int32_t* targets = io.targets + begin;
    for (int64_t panel = 0; panel <= panels; ++panel) first_target[panel] = 0;
    for (int64_t r = 0; r < num_rows; ++r) ++first_target[targets[r] / kPanel + 1];
    for (int64_t panel = 0; panel < panels; ++panel) first_target[panel + 1] += first_target[panel];
    // Places are taken by moving each start to its panel's end, the next panel's start; then all move back by one.
    for (int64_t r = 0; r < num_rows; ++r)
      rows_by_target[first_target[targets[r] / kPanel]++] = static_cast<int32_t>(r);
    for (int64_t panel = panels; panel > 0; --panel) first_target[panel] = first_target[panel - 1];
    first_target[0] = 0;
  }

  // ---- panels of W ----

  int64_t words_of(int64_t panel) const { return smaller(kPanel, io.vocabulary_size - panel * kPanel); }

  void pack_panel(int64_t panel, ThreadBuffers& my) const {
    const int64_t words = words_of(panel);
    const float* kernel = io.kernel + panel * kPanel;
    for (int64_t v = 0; v < kPanel; ++v)
      my.bias[v] = v < words ? io.bias[panel * kPanel + v] * kLog2E : kNoLogit;
    for (int64_t d = 0; d < depth; d += 2)
      for (int64_t v = 0; v < kPanel; v += kLanes) {
        const int64_t lanes = lanes_before(v, words);
        const float* from = kernel + d * io.vocabulary_size + v;
        const Float first = load(from, d < io.features ? lanes : 0) * kLog2E;
        const Float second = load(from + io.vocabulary_size, d + 1 < io.features ? lanes : 0) * kLog2E;
        const Parts<kParts> parts = split_in_parts<kParts>(first, second);
        bfloat16* to = my.columns + v * depth + d * kTileRows;
        for (int part = 0; part < kParts; ++part) store(to + part * panel_low, pair_rows(parts.part[part]));
      }
  }

  // From the panel's columns: pairs of d for 16 words become pairs of words for 32 d.
  void pack_panel_rows(ThreadBuffers& my) const {
    for (int part = 0; part < kParts; ++part)
      for (int64_t v = 0; v < kPanel; v += kTileRows)
        for (int64_t d = 0; d < depth; d += kTileDepth) {
          __m512i words[16];
          const bfloat16* from = my.columns + part * panel_low + v * depth + d * kTileRows;
          for (int64_t i = 0; i < 16; ++i) words[i] = _mm512_loadu_si512(from + i * 32);
          transpose(words);
          bfloat16* to = my.rows + part * panel_low + d * kPanel + v * kTileRows;
          for (int64_t i = 0; i < 8; ++i) {
            const __m512i a = words[2 * i], b = words[2 * i + 1];
            store(to + i * 32, pair_rows(join(first_half(a), first_half(b))));
            store(to + kTileRows * kPanel + i * 32, pair_rows(join(second_half(a), second_half(b))));
          }
        }
  }

  // z [32][kPanel] of the rows from r, without bias, times log2(e).
  void logits(int64_t r, const ThreadBuffers& my, float* z) const {
    const Operand rows = rows_operand(h + r * h_stride, h_stride, h_low);
    for (int64_t v = 0; v < kPanel; v += kBlock) {
      SumBlock sums;
      sums.zero();
      sums.add_32x32<kParts>(depth / kTileDepth, rows, paired_operand(my.columns + v * depth, depth, panel_low));
      store_32x32(sums, z + v, kPanel);
    }
  }

  // ---- first pass ----

  void log_sums(Range my_panels, ThreadBuffers& my) const {
    alignas(64) float z[kBlock * kPanel];
    for (int64_t i = 0; i < padded_rows * kLanes; i += kLanes) {
      store(my.maximum + i, splat(-3e38f));
      store(my.sum + i, Float{});
    }
    for (int64_t panel = my_panels.begin; panel < my_panels.end; ++panel) {
      pack_panel(panel, my);
      int32_t target = first_target[panel];
      for (int64_t r = 0; r < padded_rows; r += kBlock) {
        logits(r, my, z);
        for (int64_t i = 0; i < kBlock; ++i) add_to_sums(z + i * kPanel, my.bias, (r + i) * kLanes, my);
        for (; target < first_target[panel + 1] && rows_by_target[target] < r + kBlock; ++target) {
          const int64_t row = rows_by_target[target], v = io.targets[begin + row] - panel * kPanel;
          target_logit[row] = z[(row - r) * kPanel + v] + my.bias[v];
        }
      }
    }
  }

  KERASPTB_INLINE_METHOD void add_to_sums(const float* z, const float* bias, int64_t place, ThreadBuffers& my) const {
    Float x[kPanelVectors];
    const Float before = load(my.maximum + place);
    Float maximum = before;
    for (int j = 0; j < kPanelVectors; ++j) {
      x[j] = load(z + j * kLanes) + load(bias + j * kLanes);
      maximum = at_least(x[j], maximum);
    }
    Float total = load(my.sum + place) * exp2<kParts>(before - maximum);
    for (int j = 0; j < kPanelVectors; ++j) total += exp2<kParts>(x[j] - maximum);
    store(my.maximum + place, maximum);
    store(my.sum + place, total);
  }

  // Over lanes and threads.
  void combine_sums(Range rows) const {
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      if (r >= num_rows) {
        log_sum_exp[r] = kNoSum;
        continue;
      }
      Float lanes = load(buffers[0].maximum + r * kLanes);
      for (int t = 1; t < threads; ++t) lanes = at_least(load(buffers[t].maximum + r * kLanes), lanes);
      const float largest = maximum(lanes);
      Float total = Float{};
      for (int t = 0; t < threads; ++t)
        total += load(buffers[t].sum + r * kLanes) * exp2<2>(load(buffers[t].maximum + r * kLanes) - largest);
      log_sum_exp[r] = largest + log2f(sum(total));
      io.loss[begin + r] = (log_sum_exp[r] - target_logit[r]) * kLn2;
    }
  }

  // ---- second pass ----

  void gradients(Range my_panels, ThreadBuffers& my) const {
    alignas(64) float z[kBlock * kPanel];
    alignas(64) bfloat16 block[kParts * kBlockLow];  // softmax - onehot of 32 rows, as A of dh
    alignas(64) float d_bias[kPanel];
    if (my_panels.size() == 0) memset(my.dh, 0, padded_rows * dh_stride * sizeof(float));
    for (int64_t panel = my_panels.begin; panel < my_panels.end; ++panel) {
      pack_panel(panel, my);
      pack_panel_rows(my);
      memset(d_bias, 0, sizeof(d_bias));
      int32_t target = first_target[panel];
      for (int64_t r = 0; r < padded_rows; r += kBlock) {
        logits(r, my, z);
        for (int j = 0; j < kPanelVectors; ++j) softmax_of_block(r, j * kLanes, z, block, d_bias, my);
        for (; target < first_target[panel + 1] && rows_by_target[target] < r + kBlock; ++target)
          subtract_target(r, rows_by_target[target], panel, block, d_bias, my);
        add_to_dh(r, panel == my_panels.begin, block, my);
      }
      store_d_bias(panel, d_bias);
      kernel_gradient(panel, my);
    }
  }

  // Words v .. v + 15 of 32 rows.
  KERASPTB_INLINE_METHOD void softmax_of_block(int64_t r, int64_t v, const float* z, bfloat16* block, float* d_bias,
                                               ThreadBuffers& my) const {
    const Float bias = load(my.bias + v);
    Float total = load(d_bias + v);
    for (int64_t i = 0; i < kBlock; i += 2) {
      const Float first = exp2<kParts>(load(z + i * kPanel + v) + (bias - log_sum_exp[r + i]));
      const Float second = exp2<kParts>(load(z + (i + 1) * kPanel + v) + (bias - log_sum_exp[r + i + 1]));
      total += first * scale_of(r + i) + second * scale_of(r + i + 1);
      const Parts<kParts> parts = split_in_parts<kParts>(first, second);
      for (int part = 0; part < kParts; ++part) {
        bfloat16* to = block + part * kBlockLow + i * kPanel + v;
        store(to, first_half(parts.part[part]));
        store(to + kPanel, second_half(parts.part[part]));
        store(my.residuals + part * residuals_low + (r + i) * kPanel + 2 * v, pair_rows(parts.part[part]));
      }
    }
    store(d_bias + v, total);
  }

  KERASPTB_INLINE_METHOD float scale_of(int64_t r) const { return r < num_rows ? io.scale[begin + r] : 0.0f; }

  void subtract_target(int64_t r, int64_t row, int64_t panel, bfloat16* block, float* d_bias, ThreadBuffers& my) const {
    const int64_t v = io.targets[begin + row] - panel * kPanel;
    const float residual = exp2<2>(splat(target_logit[row] - log_sum_exp[row]))[0] - 1.0f;
    store_in_parts<kParts>(block + (row - r) * kPanel + v, kBlockLow, residual);
    store_in_parts<kParts>(my.residuals + row / 2 * 2 * kPanel + 2 * v + row % 2, residuals_low, residual);
    d_bias[v] -= scale_of(row);
  }

  void add_to_dh(int64_t r, bool first, const bfloat16* block, ThreadBuffers& my) const {
    const Operand residuals = rows_operand(block, kPanel, kBlockLow);
    for (int64_t d = 0; d < depth; d += kBlock) {
      float* dh = my.dh + r * dh_stride + d;
      SumBlock sums;
      if (first)
        sums.zero();
      else
        load_32x32(sums, dh, dh_stride);
      sums.add_32x32<kParts>(kPanel / kTileDepth, residuals,
                             paired_operand(my.rows + d * kPanel, kPanel, panel_low));
      store_32x32(sums, dh, dh_stride);
    }
  }

  void store_d_bias(int64_t panel, const float* d_bias) const {
    for (int64_t v = 0; v < words_of(panel); ++v) {
      float* place = io.d_bias + panel * kPanel + v;
      *place = begin > 0 ? *place + d_bias[v] : d_bias[v];
    }
  }

  // dW of the panel, whole blocks straight to their place.
  void kernel_gradient(int64_t panel, const ThreadBuffers& my) const {
    alignas(64) float edge[kBlock * kBlock];
    const int64_t words = words_of(panel);
    for (int64_t d = 0; d < depth; d += kBlock)
      for (int64_t v = 0; v < words; v += kBlock) {
        const Operand rows =
            rows_operand(h_transposed + d * h_transposed_stride, h_transposed_stride, h_transposed_low);
        const Operand residuals{my.residuals + 2 * v, 2 * kTileRows, 2 * kPanel * int64_t{sizeof(bfloat16)},
                                kTileDepth * kPanel, residuals_low};
        float* place = io.d_kernel + d * io.vocabulary_size + panel * kPanel + v;
        SumBlock sums;
        const bool whole = v + kBlock <= words && d + kBlock <= io.features;
        if (whole && begin > 0)
          load_32x32(sums, place, io.vocabulary_size);
        else
          sums.zero();
        sums.add_32x32<kParts>(padded_rows / kTileDepth, rows, residuals);
        if (whole) {
          store_32x32(sums, place, io.vocabulary_size);
          continue;
        }
        store_32x32(sums, edge, kBlock);
        for (int64_t i = 0; i < smaller(kBlock, io.features - d); ++i)
          for (int64_t j = 0; j < kBlock; j += kLanes) {
            const int64_t lanes = lanes_before(v + j, words);
            if (lanes == 0) continue;
            float* to = place + i * io.vocabulary_size + j;
            const Float sum = load(edge + i * kBlock + j);
            store(to, begin > 0 ? sum + load(to, lanes) : sum, lanes);
          }
      }
  }

  // Over the threads' panels; log2(e), which is in the packed panels, is taken out again.
  void combine_dh(Range rows) const {
    for (int64_t r = rows.begin; r < smaller(rows.end, num_rows); ++r)
      for (int64_t d = 0; d < io.features; d += kLanes) {
        Float total = load(buffers[0].dh + r * dh_stride + d);
        for (int t = 1; t < threads; ++t) total += load(buffers[t].dh + r * dh_stride + d);
        total *= io.scale[begin + r] * kLn2;
        store(io.dh + (begin + r) * io.features + d, total, lanes_before(d, io.features));
      }
  }

  void chunk(int thread, Barrier& all) const {
    const Range blocks = split(padded_rows / kBlock, threads, thread);
    const Range rows{blocks.begin * kBlock, blocks.end * kBlock};
    const Range my_panels = split(panels, threads, thread);
    ThreadBuffers& my = buffers[thread];
    pack_h(rows);
    if (io.scale != nullptr) pack_h_transposed(blocks);
    if (thread == threads - 1) order_targets();
    all.wait();
    log_sums(my_panels, my);
    all.wait();
    combine_sums(rows);
    all.wait();
    if (io.scale == nullptr) return;
    gradients(my_panels, my);
    all.wait();
    combine_dh(rows);
  }
};

// Rows of a chunk, and the same for all chunks but the last: as many as keep a thread's part in its L2 cache.
int64_t chunk_rows(const LinearCrossEntropy& io, int parts, int64_t depth) {
  const int64_t row_bytes = depth * (4 + 4 * parts) + kPanel * 2 * parts;
  const int64_t most = larger(kLeastChunkRows, kChunkBytes / row_bytes);
  const int64_t chunks = (io.num_words + most - 1) / most;
  return round_up((io.num_words + chunks - 1) / chunks, kBlock);
}

template <int kParts>
void run(const LinearCrossEntropy& io) {
  Workers workers;
  const int threads = workers.count();
  const bool with_gradients = io.scale != nullptr;
  Task<kParts> task(io);
  task.threads = threads;
  task.depth = round_up(io.features, kTileDepth);
  task.panels = (io.vocabulary_size + kPanel - 1) / kPanel;
  const int64_t rows = task.most_rows = chunk_rows(io, kParts, task.depth);
  task.h_stride = spread(task.depth);
  task.h_transposed_stride = spread(rows);
  task.dh_stride = spread(2 * task.depth) / 2;
  task.h_low = rows * task.h_stride;
  task.h_transposed_low = task.depth * task.h_transposed_stride;
  task.panel_low = kPanel * task.depth;
  task.residuals_low = rows * kPanel;
  task.h = workers.scratch<bfloat16>(kParts * task.h_low);
  task.h_transposed = with_gradients ? workers.scratch<bfloat16>(kParts * task.h_transposed_low) : nullptr;
  task.log_sum_exp = workers.scratch<float>(rows);
  task.target_logit = workers.scratch<float>(rows);
  task.first_target = workers.scratch<int32_t>(task.panels + 1);
  task.rows_by_target = workers.scratch<int32_t>(rows);
  task.buffers = workers.scratch<ThreadBuffers>(threads);
  for (int thread = 0; thread < threads; ++thread) {
    ThreadBuffers& buffers = task.buffers[thread];
    buffers.columns = workers.scratch<bfloat16>(kParts * task.panel_low);
    buffers.maximum = workers.scratch<float>(rows * kLanes);
    buffers.sum = workers.scratch<float>(rows * kLanes);
    if (!with_gradients) continue;
    buffers.rows = workers.scratch<bfloat16>(kParts * task.panel_low);
    buffers.residuals = workers.scratch<bfloat16>(kParts * task.residuals_low);
    buffers.dh = workers.scratch<float>(rows * task.dh_stride);
  }
  Barrier& all = *workers.barriers(1, threads);
  workers.run([&](int thread) {
    const Tiles tiles;
    Task<kParts> mine = task;
    for (mine.begin = 0; mine.begin < io.num_words; mine.begin += rows) {
      mine.num_rows = smaller(rows, io.num_words - mine.begin);
      mine.padded_rows = round_up(mine.num_rows, kBlock);
      mine.chunk(thread, all);
    }
  });
}

}  // namespace

void linear_cross_entropy(int parts, const LinearCrossEntropy& tensors) {
  parts == 1 ? run<1>(tensors) : run<2>(tensors);
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
