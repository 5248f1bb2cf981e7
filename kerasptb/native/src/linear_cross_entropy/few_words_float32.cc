// Cross-entropy of a linear layer's softmax for a few words. Equations and shape letters: linear_cross_entropy.h.
//
// With so few rows of h, reading W from memory takes longer than multiplying. So W is read in place, once for the
// logits and once for the gradients, and dW is written during the second reading: no packed, transposed or other copy
// of that size is made. The vocabulary falls into blocks of words, which the threads share. "Rows" are those of h, [N].
// For every block:
//
// 1. The logits z [rows][kBlock] are computed, and replaced by e = 2^(z - m), where m is the largest z of a row in the
//    block.
// 2. The sums of e over all blocks and threads give the loss and dz, which replaces e.
// 3. The gradients are computed. W [D, V]: for each row of W, its part in the block times dz is added to dh, and the
//    same part of dW is computed on the way. W [V, D]: dz times the block's rows of W is added to dh, and the same rows
//    of dW are dz^T h.
#include "linear_cross_entropy/few_words.h"

#include <math.h>

#include "linear_cross_entropy/softmax_base2.h"
#include "common/tiles_float32.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

// Words of a block. With more of them dz of a block would not stay in the L1 cache.
constexpr int64_t kBlock = 512;
// Rows of W of which all columns of a block are read before the next rows. Each row lies in another page: with more
// rows their addresses would be looked up again for each tile.
constexpr int64_t kRowsAtOnce = 64;
constexpr int64_t kLine = 16;               // floats of a cache line
constexpr int kSums = (kRows + 3) / 4 * 4;  // kRows, rounded up to the four sums that simd.h's `sums` makes at a time

// Vectors of columns in a tile of R rows: as many as the registers have room for sums.
template <int R>
constexpr int width() {
  int width = 1;
  while (width < 8 && 2 * width * R + (R < 2 * width ? R : 2 * width) + 1 <= kRegisters) width *= 2;
  return width;
}

// C = A B, or C += A B, for a tile of C of R rows by W vectors of columns.
struct Product {
  int64_t depth;  // columns of A, rows of B
  const float *a, *b;
  int64_t b_stride;
  float* c;
  int64_t c_stride;
  int64_t columns;          // columns left in B and C, which may be fewer, or more, than the tile's
  bool accumulate = false;  // C += A B
};

// A[r, k] is at a[r * kRowStride + k * kColumnStride]. kKeepPanel: the columns of B are copied into `panel`
// [depth][kPanel], for the next tiles of rows.
template <int R, int W, int kRowStride, int kColumnStride, bool kKeepPanel = false>
KERASPTB_NOINLINE void product(const Product& of, float* panel = nullptr) {
  const auto columns = [&](int j) { return lanes_before(j * kLanes, of.columns); };
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < W * kLanes; i += kLine) prefetch_to_write(of.c + r * of.c_stride + W * kLanes + i);  // the next
  for (int64_t begin = 0; begin < of.depth; begin += kSumBlock) {
    const int64_t end = smaller(of.depth, begin + kSumBlock);
    Float total[R][W];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
      for (int j = 0; j < W; ++j) total[r][j] = Float{};
    const auto add = [&](const auto& get) {
      for (int64_t k = begin; k < end; ++k) {
        const float* row = of.b + k * of.b_stride;
        for (int i = 0; i < W * kLanes; i += kLine) prefetch(row + W * kLanes + i);  // the next columns
#pragma GCC unroll 16
        for (int j = 0; j < W; ++j) {
          const Float column = get(row + j * kLanes, j);
          if (kKeepPanel) store(panel + k * kPanel + j * kLanes, column);
#pragma GCC unroll 16
          for (int r = 0; r < R; ++r) total[r][j] += splat(of.a[r * kRowStride + k * kColumnStride]) * column;
        }
      }
    };
    const bool full = of.columns >= W * kLanes, accumulate = of.accumulate || begin > 0;
    if (full)
      add([](const float* p, int) { return load(p); });
    else
      add([&](const float* p, int j) { return load(p, columns(j)); });
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
      for (int j = 0; j < W; ++j) {
        float* c = of.c + r * of.c_stride + j * kLanes;
        if (full)
          store(c, accumulate ? load(c) + total[r][j] : total[r][j]);
        else
          store(c, accumulate ? load(c, columns(j)) + total[r][j] : total[r][j], columns(j));
      }
  }
}

// The gradients that R rows of h and one row of W, row d, give to each other.
template <int R>
struct RowGradient {
  Float h[R];   // h[r, d] in all lanes
  Float dh[R];  // dh[r, d] is the sum over the lanes

  KERASPTB_INLINE_METHOD explicit RowGradient(const float* a) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      h[r] = splat(a[r]);
      dh[r] = Float{};
    }
  }

  // Adds to dh the share of one vector of the row of W, `w`, given dz [R][kBlock] of the same words. Returns d_w, the
  // same vector of dW, plus these rows' share of it.
  KERASPTB_INLINE_METHOD Float add(const float* dz, Float w, Float d_w) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Float g = load(dz + r * kBlock);
      dh[r] += g * w;
      d_w += h[r] * g;
    }
    return d_w;
  }

  KERASPTB_INLINE_METHOD void add_to(float* total) const {
#pragma GCC unroll 4
    for (int r = 0; r < R; r += 4) {
      const Float none = {}, four[4] = {dh[r], r + 1 < R ? dh[r + 1] : none, r + 2 < R ? dh[r + 2] : none,
                                        r + 3 < R ? dh[r + 3] : none};
      float sum[4];
      sums(four, sum);
      for (int k = 0; k < 4; ++k) total[r + k] += sum[k];
    }
  }
};

// Memory of one thread.
struct ThreadBuffers {
  float* panel;      // [D][kPanel]: columns of W, packed; only if W is [V, D] or there are several tiles of rows
  float* bias;       // [kBlock]: of the block, times log2(e)
  float* dz;         // [blocks][rows][kBlock]: z, then e, then dz. Loss only: one block, used again for each
  float* reference;  // [blocks][rows]: m. Loss only: one block, likewise
  float* largest;    // [rows]: the largest m of the thread's blocks
  float* total;      // [rows]: sums of 2^(z - largest)
  float* top;        // [rows]: the largest m of all threads
  float* factor;     // [rows]: scale / (the sum of 2^(z - top) over the vocabulary)
  float* dh;         // the thread's share: [tiles][D][kSums] for W [D, V], [rows][D] for W [V, D]
};

struct Task {
  explicit Task(const LinearCrossEntropy& io) : io(io) {}

  const LinearCrossEntropy& io;
  int threads;
  float* h;             // [tiles][D][kRows]
  float* target_logit;  // [rows]
  ThreadBuffers* buffers;

  bool with_gradients() const { return io.scale != nullptr; }
  int64_t tiles() const { return ceil_div(io.num_words, kRows); }
  int64_t size_of_dh() const { return (io.transpose_kernel ? io.num_words : tiles() * kSums) * io.features; }

  Range words_of(int thread) const {
    const Range panels = split(ceil_div(io.vocabulary_size, kPanel), threads, thread);
    return {panels.begin * kPanel, smaller(panels.end * kPanel, io.vocabulary_size)};
  }

  void pack_h(Range features) const {
    for_each_tile(io.num_words, [&](auto height, int64_t tile, int64_t row) {
      float* to = h + tile * io.features * kRows;
      for (int64_t d = features.begin; d < features.end; ++d)
        for (int r = 0; r < height; ++r) to[d * kRows + r] = io.h[(row + r) * io.features + d];
    });
  }

  // ---- logits, exponentials and their sums ----

  // z [rows][kBlock] = h W for a block of words, the first of which is v.
  void products(int64_t v, int64_t words, float* z, const ThreadBuffers& my) const {
    const int64_t D = io.features, V = io.vocabulary_size;
    if (!io.transpose_kernel && tiles() == 1) {
      for_each_tile(io.num_words, [&](auto height, int64_t, int64_t) {
        constexpr int W = width<height>();
        for (int64_t d = 0; d < D; d += kRowsAtOnce)
          for (int64_t i = 0; i < words; i += W * kLanes)
            product<height, W, 1, kRows>({smaller(kRowsAtOnce, D - d), h + d * kRows, io.kernel + d * V + v + i, V,
                                          z + i, kBlock, words - i, d > 0});
      });
      return;
    }
    for (int64_t i = 0; i < words; i += kPanel) {
      if (io.transpose_kernel) pack_transposed<kPanel>(io.kernel + (v + i) * D, D, words - i, D, my.panel);
      for_each_tile(io.num_words, [&](auto height, int64_t tile, int64_t row) {
        Product of{D, h + tile * D * kRows, my.panel, kPanel, z + row * kBlock + i, kBlock, words - i};
        if (tile > 0 || io.transpose_kernel) return product<height, 2, 1, kRows>(of);
        of.b = io.kernel + v + i;
        of.b_stride = V;
        product<height, 2, 1, kRows, true>(of, my.panel);
      });
    }
  }

  void logits(int thread) const {
    const ThreadBuffers& my = buffers[thread];
    const Range mine = words_of(thread);
    for (int64_t n = 0; n < io.num_words; ++n) {
      my.largest[n] = kNoReference;
      my.total[n] = 0;
    }
    float *z = my.dz, *reference = my.reference;
    for (int64_t v = mine.begin; v < mine.end; v += kBlock) {
      const int64_t words = smaller(kBlock, mine.end - v);
      products(v, words, z, my);
      exponentials(v, words, z, reference, my);
      if (!with_gradients()) continue;
      z += io.num_words * kBlock;
      reference += io.num_words;
    }
  }

  void exponentials(int64_t v, int64_t words, float* e, float* reference, const ThreadBuffers& my) const {
    const int64_t padded = round_up(words, kLanes);
    for (int64_t i = 0; i < padded; ++i) my.bias[i] = i < words ? io.bias[v + i] * kLog2E : -INFINITY;
    for (int64_t n = 0; n < io.num_words; ++n, e += kBlock) {
      for (int64_t i = words; i < padded; ++i) e[i] = 0;
      Float top = splat(kNoReference);
      for (int64_t i = 0; i < padded; i += kLanes) {
        const Float z = load(e + i) * kLog2E + load(my.bias + i);
        store(e + i, z);
        top = at_least(z, top);
      }
      if (const int64_t target = io.targets[n] - v; target >= 0 && target < words) target_logit[n] = e[target];
      const float m = maximum(top);
      Float sum_of_e = Float{};
      for (int64_t i = 0; i < padded; i += kLanes) {
        const Float y = exp2(load(e + i) - m);
        store(e + i, y);
        sum_of_e += y;
      }
      reference[n] = m;
      const float largest = m > my.largest[n] ? m : my.largest[n];
      my.total[n] = my.total[n] * power(my.largest[n] - largest) + sum(sum_of_e) * power(m - largest);
      my.largest[n] = largest;
    }
  }

  static float power(float x) { return exp2(splat(x))[0]; }

  // ---- loss ----

  // The largest logit of row n over all threads, and the sum of 2^(z - largest).
  float largest(int64_t n) const {
    float result = kNoReference;
    for (int t = 0; t < threads; ++t) result = buffers[t].largest[n] > result ? buffers[t].largest[n] : result;
    return result;
  }
  float total(int64_t n, float largest) const {
    float result = 0;
    for (int t = 0; t < threads; ++t) result += buffers[t].total[n] * power(buffers[t].largest[n] - largest);
    return result;
  }

  void losses() const {
    for (int64_t n = 0; n < io.num_words; ++n) {
      const float top = largest(n);
      io.loss[n] = (log2f(total(n, top)) + (top - target_logit[n])) * kLn2;
    }
  }

  // ---- gradients ----

  void gradients(int thread) const {
    const ThreadBuffers& my = buffers[thread];
    const Range mine = words_of(thread);
    memset(my.dh, 0, size_of_dh() * sizeof(float));
    float *top = my.top, *scale = my.factor;
    for (int64_t n = 0; n < io.num_words; ++n) {
      top[n] = largest(n);
      scale[n] = io.scale[n] / total(n, top[n]);
    }
    float *dz = my.dz, *reference = my.reference;
    for (int64_t v = mine.begin; v < mine.end; v += kBlock, dz += io.num_words * kBlock, reference += io.num_words) {
      const int64_t words = smaller(kBlock, mine.end - v);
      for (int64_t n = 0; n < io.num_words; ++n) {
        float* row = dz + n * kBlock;
        const float factor = scale[n] * power(reference[n] - top[n]);
        for (int64_t i = 0; i < words; i += kLanes) store(row + i, load(row + i) * factor);
        if (const int64_t target = io.targets[n] - v; target >= 0 && target < words) row[target] -= io.scale[n];
      }
      for (int64_t i = 0; i < words; i += kLanes) {
        Float sum = Float{};
        for (int64_t n = 0; n < io.num_words; ++n) sum += load(dz + n * kBlock + i);
        store(io.d_bias + v + i, sum, lanes_before(i, words));
      }
      if (io.transpose_kernel) {
        gradients_by_word(v, words, v > mine.begin, dz, my);
        continue;
      }
      for (int64_t d = 0; d < io.features; ++d)
        for_each_tile(io.num_words, [&](auto height, int64_t tile, int64_t row) {
          float* to = my.dh + (tile * io.features + d) * kSums;
          const float* a = h + (tile * io.features + d) * kRows;
          if (tile > 0)
            gradient_tile<height, false>(d, v, words, a, dz + row * kBlock, to);
          else
            gradient_tile<height, true>(d, v, words, a, dz, to);
        });
    }
  }

  // The part of row d of W and dW in a block of words, for a tile of rows; the first tile's dW replaces what was there.
  template <int R, bool kFirst>
  __attribute__((noinline)) void gradient_tile(int64_t d, int64_t v, int64_t words, const float* a, const float* dz,
                                               float* dh) const {
    const float* from = io.kernel + d * io.vocabulary_size + v;
    float* to = io.d_kernel + d * io.vocabulary_size + v;
    RowGradient<R> row(a);
    int64_t i = 0;
    for (; i + kLanes <= words; i += kLanes) {
      if (kFirst && i % kLine == 0) {
        prefetch(from + io.vocabulary_size + i);
        prefetch_to_write(to + io.vocabulary_size + i);
      }
      store(to + i, row.add(dz + i, load(from + i), kFirst ? Float{} : load(to + i)));
    }
    if (const int64_t lanes = words - i; lanes > 0)
      store(to + i, row.add(dz + i, load(from + i, lanes), kFirst ? Float{} : load(to + i, lanes)), lanes);
    row.add_to(dh);
  }

  // For W [V, D]: dh (+)= dz W, dW = dz^T h.
  void gradients_by_word(int64_t v, int64_t words, bool accumulate, const float* dz, const ThreadBuffers& my) const {
    const int64_t D = io.features;
    for_each_tile(io.num_words, [&](auto height, int64_t, int64_t row) {
      constexpr int W = width<height>();
      for (int64_t d = 0; d < D; d += W * kLanes)
        product<height, W, kBlock, 1>(
            {words, dz + row * kBlock, io.kernel + v * D + d, D, my.dh + row * D + d, D, D - d, accumulate});
    });
    for_each_tile(words, [&](auto height, int64_t, int64_t i) {
      for (int64_t d = 0; d < D; d += kPanel)
        product<height, 2, 1, kBlock>({io.num_words, dz + i, io.h + d, D, io.d_kernel + (v + i) * D + d, D, D - d});
    });
  }

  void combine_dh(Range features) const {
    if (io.transpose_kernel) {
      for (int64_t n = 0; n < io.num_words; ++n)
        for (int64_t d = features.begin; d < features.end; ++d) {
          float sum = 0;
          for (int t = 0; t < threads; ++t) sum += buffers[t].dh[n * io.features + d];
          io.dh[n * io.features + d] = sum;
        }
      return;
    }
    for_each_tile(io.num_words, [&](auto height, int64_t tile, int64_t row) {
      for (int64_t d = features.begin; d < features.end; ++d)
        for (int r = 0; r < height; ++r) {
          float sum = 0;
          for (int t = 0; t < threads; ++t) sum += buffers[t].dh[(tile * io.features + d) * kSums + r];
          io.dh[(row + r) * io.features + d] = sum;
        }
    });
  }

  void work(int thread, Barrier& all) const {
    const Range features = split(io.features, threads, thread);
    pack_h(features);
    all.wait();
    logits(thread);
    all.wait();
    if (thread == 0) losses();
    if (!with_gradients()) return;
    gradients(thread);
    all.wait();
    combine_dh(features);
  }
};

}  // namespace

void linear_cross_entropy_few_words(const LinearCrossEntropy& io) {
  Workers workers;
  const int threads = workers.count();
  Task task(io);
  task.threads = threads;
  const int64_t D = io.features, N = io.num_words, tiles = task.tiles();
  task.h = workers.scratch<float>(tiles * D * kRows);
  task.target_logit = workers.scratch<float>(N);
  task.buffers = workers.scratch<ThreadBuffers>(threads);
  for (int thread = 0; thread < threads; ++thread) {
    const int64_t blocks = task.with_gradients() ? ceil_div(task.words_of(thread).size(), kBlock) : 1;
    ThreadBuffers& my = task.buffers[thread];
    my.panel = workers.scratch<float>(io.transpose_kernel || tiles > 1 ? D * kPanel : 0);
    my.bias = workers.scratch<float>(kBlock);
    my.dz = workers.scratch<float>(blocks * N * kBlock);
    my.reference = workers.scratch<float>(blocks * N);
    my.largest = workers.scratch<float>(N);
    my.total = workers.scratch<float>(N);
    if (!task.with_gradients()) continue;
    my.top = workers.scratch<float>(N);
    my.factor = workers.scratch<float>(N);
    my.dh = workers.scratch<float>(task.size_of_dh());
  }
  Barrier& all = *workers.barriers(1, threads);
  workers.run([&](int thread) { task.work(thread, all); });
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
