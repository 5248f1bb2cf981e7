// The buffers of linear_cross_entropy_bfloat16.cc, and the work that it does on a chunk of rows and a panel of the
// vocabulary: packing and products.
#pragma once

#include "linear_cross_entropy/linear_cross_entropy.h"

#include <math.h>

#include "linear_cross_entropy/softmax_base2.h"
#include "common/threads.h"
#include "common/tiles_bfloat16.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

constexpr int64_t kPanel = 128;  // words of the vocabulary
// Words of a panel whose logits are computed at once: these words' columns of W, and logits of 32 rows, stay in the L1
// cache.
constexpr int64_t kStrip = 64;
constexpr int64_t kStrips = kPanel / kStrip;
constexpr int kStripVectors = kStrip / kTileRows;
constexpr int64_t kRowsAhead = 8;      // how many rows of W ahead are prefetched
constexpr float kNoLogit = -INFINITY;  // the bias of padding: its exponential is 0

// 2^x, for kParts = 1 with a relative error of 2.6e-6, much less than that of bfloat16 operands (2^-9). The polynomial
// is fitted as that in simd.h.
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
  bfloat16* columns;   // [kPanel / 16][D' / 32][paired tile]: the panel of W, as B of the logits
  float bias[kPanel];  // of the panel, times log2(e)
  float* largest;      // [rows]: the reference m
  float* sum;          // [rows][16]: of e, over the thread's words v with the same v % 16
  // For the gradients:
  bfloat16* rows;          // [D' / 16][kPanel / 32][paired tile]: the panel of W^T, as B of dh
  bfloat16* exponentials;  // [panels of the thread][rows / 2][kPanel][2]: e, as B of dW
  bfloat16* h_transposed;  // [D'][h_transposed_stride]: f h, as A of dW
  float* factor;           // [rows]: f
  float* dh;               // [rows][dh_stride]: the thread's share, without f
};

template <int kParts>
struct Task {
  explicit Task(const LinearCrossEntropy& io) : io(io) {}

  const LinearCrossEntropy& io;
  int threads;
  int64_t depth;  // D' = D rounded up to 32
  int64_t panels;
  int64_t max_rows;  // of a chunk, multiple of 32
  int64_t h_stride, h_transposed_stride, dh_stride;
  // Elements from the first parts of an array to the second.
  int64_t h_part_stride, h_transposed_part_stride, panel_part_stride, exponentials_part_stride;
  static constexpr int64_t kBlockPartStride = kBlock * kPanel;

  bfloat16* h;                        // [rows][h_stride]
  bfloat16* target_kernel;            // [rows][D']: the column of W of each row's target
  float *largest, *total;             // [rows]: the largest m of all threads, and the sum of e in its scale
  float *log_sum_exp, *target_logit;  // [rows], base 2
  int32_t* first_target;              // [panels kStrips + 1]: where the rows of each strip begin in:
  int32_t* rows_by_target;            // [rows]: the rows of the chunk, ordered by the strip of their target
  ThreadBuffers* buffers;

  // The chunk: its first row in h, its rows, and these rounded up to 32.
  int64_t begin, num_rows, padded_rows;

  bool with_gradients() const { return io.scale != nullptr; }

  // ---- preparation of a chunk ----

  void pack_h(Range rows) const {
    for (int64_t r = rows.begin; r < rows.end; ++r)
      for (int64_t d = 0; d < depth; d += 2 * kLanes) {
        const float* from = io.h + (begin + r) * io.features + d;
        const int64_t first = r < num_rows ? lanes_before(d, io.features) : 0;
        const int64_t second = r < num_rows ? lanes_before(d + kLanes, io.features) : 0;
        const Parts<kParts> parts = split_in_parts<kParts>(load(from, first), load(from + kLanes, second));
        for (int part = 0; part < kParts; ++part) store(h + part * h_part_stride + r * h_stride + d, parts.part[part]);
      }
  }

  // h_transposed [D'][h_transposed_stride] of some blocks of 32 rows, each row times its weight.
  void pack_h_transposed(Range blocks, const float* weights, bfloat16* h_transposed) const {
    for (int64_t block = blocks.begin; block < blocks.end; ++block)
      for (int64_t d = 0; d < depth; d += kLanes) {
        __m512i rows[2][16];
        for (int64_t i = 0; i < kBlock; ++i) {
          const int64_t r = block * kBlock + i;
          const int64_t lanes = r < num_rows ? lanes_before(d, io.features) : 0;
          const float weight = r < num_rows ? weights[r] : 0.0f;
          rows[i / 16][i % 16] = reinterpret_cast<__m512i>(load(io.h + (begin + r) * io.features + d, lanes) * weight);
        }
        transpose(rows[0]);
        transpose(rows[1]);
        for (int64_t i = 0; i < kLanes; ++i) {
          const Parts<kParts> parts =
              split_in_parts<kParts>(reinterpret_cast<Float>(rows[0][i]), reinterpret_cast<Float>(rows[1][i]));
          for (int part = 0; part < kParts; ++part)
            store(h_transposed + part * h_transposed_part_stride + (d + i) * h_transposed_stride + block * kBlock,
                  parts.part[part]);
        }
      }
  }

  // A counting sort, stable: within a strip the rows ascend.
  void order_targets() const {
    const int32_t* targets = io.targets + begin;
    const int64_t strips = panels * kStrips;
    for (int64_t strip = 0; strip <= strips; ++strip) first_target[strip] = 0;
    for (int64_t r = 0; r < num_rows; ++r) ++first_target[targets[r] / kStrip + 1];
    for (int64_t strip = 0; strip < strips; ++strip) first_target[strip + 1] += first_target[strip];
    // Places are taken by moving each start to its strip's end, the next strip's start; then all move back by one.
    for (int64_t r = 0; r < num_rows; ++r)
      rows_by_target[first_target[targets[r] / kStrip]++] = static_cast<int32_t>(r);
    for (int64_t strip = strips; strip > 0; --strip) first_target[strip] = first_target[strip - 1];
    first_target[0] = 0;
  }

  // ---- panels of W ----

  int64_t words_of(int64_t panel) const { return smaller(kPanel, io.vocabulary_size - panel * kPanel); }

  void pack_panel(int64_t panel, ThreadBuffers& my) const {
    const int64_t words = words_of(panel);
    for (int64_t v = 0; v < kPanel; ++v) my.bias[v] = v < words ? io.bias[panel * kPanel + v] * kLog2E : kNoLogit;
    const auto pack = [&](int64_t d, int64_t v, Float first, Float second) __attribute__((always_inline)) {
      const Parts<kParts> parts = split_in_parts<kParts>(first * kLog2E, second * kLog2E);
      bfloat16* to = my.columns + v * depth + d * kTileRows;
      for (int part = 0; part < kParts; ++part) store(to + part * panel_part_stride, pair_rows(parts.part[part]));
    };
    if (io.transpose_kernel) {
      const float* kernel = io.kernel + panel * kPanel * io.features;
      for (int64_t v = 0; v < kPanel; v += kLanes)
        for (int64_t d = 0; d < depth; d += kLanes) {
          __m512i rows[16];
          for (int64_t i = 0; i < kLanes; ++i) {
            prefetch(kernel + (v + kLanes + i) * io.features + d);
            rows[i] = reinterpret_cast<__m512i>(
                load(kernel + (v + i) * io.features + d, v + i < words ? lanes_before(d, io.features) : 0));
          }
          transpose(rows);
          for (int64_t i = 0; i < kLanes; i += 2)
            pack(d + i, v, reinterpret_cast<Float>(rows[i]), reinterpret_cast<Float>(rows[i + 1]));
        }
      return;
    }
    const float* kernel = io.kernel + panel * kPanel;
    int64_t d = 0;
    if (words == kPanel)  // the masks of partial loads cost 2 % of the whole output layer
      for (; d + 2 <= io.features; d += 2)
        for (int64_t v = 0; v < kPanel; v += kLanes) {
          const float* from = kernel + d * io.vocabulary_size + v;
          prefetch(from + kRowsAhead * io.vocabulary_size);
          prefetch(from + (kRowsAhead + 1) * io.vocabulary_size);
          pack(d, v, load(from), load(from + io.vocabulary_size));
        }
    for (; d < depth; d += 2)
      for (int64_t v = 0; v < kPanel; v += kLanes) {
        const int64_t lanes = lanes_before(v, words);
        const float* from = kernel + d * io.vocabulary_size + v;
        pack(d, v, load(from, d < io.features ? lanes : 0),
             load(from + io.vocabulary_size, d + 1 < io.features ? lanes : 0));
      }
  }

  // From the panel's columns: pairs of d for 16 words become pairs of words for 32 d.
  void pack_panel_rows(ThreadBuffers& my) const {
    for (int part = 0; part < kParts; ++part)
      for (int64_t v = 0; v < kPanel; v += kTileRows)
        for (int64_t d = 0; d < depth; d += kTileDepth) {
          __m512i words[16];
          const bfloat16* from = my.columns + part * panel_part_stride + v * depth + d * kTileRows;
          for (int64_t i = 0; i < 16; ++i) words[i] = _mm512_loadu_si512(from + i * 32);
          transpose(words);
          bfloat16* to = my.rows + part * panel_part_stride + d * kPanel + v * kTileRows;
          for (int64_t i = 0; i < 8; ++i) {
            const __m512i a = words[2 * i], b = words[2 * i + 1];
            store(to + i * 32, pair_rows(join(first_half(a), first_half(b))));
            store(to + kTileRows * kPanel + i * 32, pair_rows(join(second_half(a), second_half(b))));
          }
        }
  }

  // z [32][kStrip] of the rows from r and the panel's words from v on, without bias, times log2(e). For meanwhile see
  // tiles_bfloat16.h.
  template <class Meanwhile>
  KERASPTB_INLINE_METHOD void logits(int64_t r, int64_t v, const ThreadBuffers& my, float* z,
                                     const Meanwhile& meanwhile) const {
    const Operand rows = rows_operand(h + r * h_stride, h_stride, h_part_stride);
    for (int64_t i = 0; i < kStrip; i += kBlock)
      multiply_32x32<kParts>(depth / kTileDepth, kBlock, rows,
                             paired_operand(my.columns + (v + i) * depth, depth, panel_part_stride), nullptr,
                             sums_32x32(z + i, kStrip), meanwhile);
  }

  // The index in ThreadBuffers::exponentials of a row and a word of a panel.
  static KERASPTB_INLINE_METHOD int64_t place_in_pairs(int64_t row, int64_t v) {
    return row / 2 * 2 * kPanel + 2 * v + row % 2;
  }

  // softmax - 1 of a row's target.
  float residual(int64_t row) const { return exp2<2>(splat(target_logit[row] - log_sum_exp[row]))[0] - 1.0f; }

  // ---- gradients ----

  // block [32][kPanel]: dz of the rows from r on, without the factor, as A.
  void add_to_dh(int64_t r, bool first, const bfloat16* block, const ThreadBuffers& my) const {
    const Operand residuals = rows_operand(block, kPanel, kBlockPartStride);
    for (int64_t d = 0; d < depth; d += kBlock) {
      const SumTiles dh = sums_32x32(my.dh + r * dh_stride + d, dh_stride);
      multiply_32x32<kParts>(kPanel / kTileDepth, kBlock, residuals,
                             paired_operand(my.rows + d * kPanel, kPanel, panel_part_stride), first ? nullptr : &dh,
                             dh);
    }
  }

  void store_d_bias(int64_t panel, const float* d_bias) const {
    for (int64_t v = 0; v < words_of(panel); ++v) {
      float* place = io.d_bias + panel * kPanel + v;
      *place = begin > 0 ? *place + d_bias[v] : d_bias[v];
    }
  }

  // The hardware does not prefetch from one row of a matrix to the next. Called a block early: a product may begin by
  // loading dW, and takes less time than a read from memory.
  void prefetch_block_of_d_kernel(int64_t panel, int64_t d, int64_t v) const {
    const int64_t words = smaller(kBlock, words_of(panel) - v), first_word = panel * kPanel + v;
    if (io.transpose_kernel) {
      for (int64_t j = 0; j < words; ++j)
        for (int64_t i = 0; i < kBlock; i += kLanes)
          prefetch_to_write(io.d_kernel + (first_word + j) * io.features + d + i);
    } else {
      for (int64_t i = 0; i < smaller(kBlock, io.features - d); ++i)
        for (int64_t j = 0; j < kBlock; j += kLanes)
          prefetch_to_write(io.d_kernel + (d + i) * io.vocabulary_size + first_word + j);
    }
  }

  // dW of the panel. Whole blocks are computed in place, those at the edges in a buffer.
  void kernel_gradient(int64_t panel, const bfloat16* exponentials, const ThreadBuffers& my) const {
    alignas(64) float edge[kBlock * kBlock];
    const int64_t words = words_of(panel);
    for (int64_t d = 0; d < depth; d += kBlock)
      for (int64_t v = 0; v < words; v += kBlock) {
        const Operand rows =
            rows_operand(my.h_transposed + d * h_transposed_stride, h_transposed_stride, h_transposed_part_stride);
        const Operand residuals{exponentials + 2 * v, 2 * kTileRows, 2 * kPanel * int64_t{sizeof(bfloat16)},
                                kTileDepth * kPanel, exponentials_part_stride};
        float* place = io.d_kernel + d * io.vocabulary_size + panel * kPanel + v;
        const bool full = !io.transpose_kernel && v + kBlock <= words && d + kBlock <= io.features;
        if (d + kBlock < depth) prefetch_block_of_d_kernel(panel, d + kBlock, v);
        const SumTiles sums = full ? sums_32x32(place, io.vocabulary_size) : sums_32x32(edge, kBlock);
        multiply_32x32<kParts>(padded_rows / kTileDepth, kBlock, rows, residuals, full && begin > 0 ? &sums : nullptr,
                               sums);
        if (full) continue;
        if (io.transpose_kernel) {
          add_transposed(edge, d, panel * kPanel + v);
          continue;
        }
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

  // Adds sums [kBlock][kBlock], of features from d on and words from v on, to dW [V, D].
  void add_transposed(const float* sums, int64_t d, int64_t v) const {
    for (int64_t j = 0; j < kBlock && v + j < io.vocabulary_size; j += kLanes)
      for (int64_t i = 0; i < kBlock && d + i < io.features; i += kLanes) {
        __m512i rows[16];
        for (int64_t k = 0; k < kLanes; ++k) rows[k] = reinterpret_cast<__m512i>(load(sums + (i + k) * kBlock + j));
        transpose(rows);
        const int64_t lanes = lanes_before(d + i, io.features);
        for (int64_t k = 0; k < smaller(kLanes, io.vocabulary_size - v - j); ++k) {
          float* to = io.d_kernel + (v + j + k) * io.features + d + i;
          const Float sum = reinterpret_cast<Float>(rows[k]);
          store(to, begin > 0 ? sum + load(to, lanes) : sum, lanes);
        }
      }
  }

  // dh of the rows: the sum of the threads' shares, and of the target's share, which they left out. Divided by log2(e),
  // which the packed panels contain.
  void combine_dh(Range rows) const {
    for (int64_t r = rows.begin; r < smaller(rows.end, num_rows); ++r) {
      const float of_target = io.scale[begin + r] * residual(r);
      for (int64_t d = 0; d < io.features; d += kLanes) {
        Float total = Float{};
        for (int t = 0; t < threads; ++t) total += buffers[t].factor[r] * load(buffers[t].dh + r * dh_stride + d);
        for (int part = 0; part < kParts; ++part)
          total += of_target * widen(load_bfloat16x16(target_kernel + (part * max_rows + r) * depth + d));
        store(io.dh + (begin + r) * io.features + d, total * kLn2, lanes_before(d, io.features));
      }
    }
  }
};

}  // namespace
}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
