// Softmax cross-entropy and its gradient, one block for each row. Equations: ../softmax_cross_entropy.h.
//
// There are two kernels. `cached` keeps the row in shared memory, so that it is read from memory once. `streamed`, for
// rows that do not fit, reads it twice, and computes maximum and sum together in the first pass (Milakov & Gimelshein
// 2018). Both subtract the maximum before exp, so that logits of any magnitude give the right result.
//
// A target outside [0, V) makes loss and gradient of its row NaN, as TensorFlow does on a GPU.
#include "linear_cross_entropy/softmax_cross_entropy.h"
#include "cuda/device.cuh"
#include "cuda/layout.h"

namespace kerasptb {
namespace cuda {

// The least a maximum can be. Not -infinity: that minus itself is NaN.
constexpr float kLeast = -3.402823466e38f;

// `width` neighbouring numbers, moved by one instruction.
template <int width>
KERASPTB_DEVICE void load(const float* p, float (&v)[width]) {
  if constexpr (width == 4) {
    const float4 four = *reinterpret_cast<const float4*>(p);
    v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
  } else {
    v[0] = *p;
  }
}
template <int width>
KERASPTB_DEVICE void store(float* p, const float (&v)[width]) {
  if constexpr (width == 4)
    *reinterpret_cast<float4*>(p) = make_float4(v[0], v[1], v[2], v[3]);
  else
    *p = v[0];
}

KERASPTB_DEVICE float at_least(float x, float y) { return fmaxf(x, y); }  // drops NaN, which comes back through exp
KERASPTB_DEVICE float add(float x, float y) { return x + y; }

// Combines one number of every thread, in a fixed order, and returns the result to all threads. Each use needs scratch
// of its own, one float for each warp.
template <float (*combine)(float, float)>
KERASPTB_DEVICE float over_block(float value, float* scratch) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) value = combine(value, shuffle_xor(value, mask));
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  value = scratch[0];
  for (int warp = 1; warp < static_cast<int>(blockDim.x) / 32; ++warp) value = combine(value, scratch[warp]);
  return value;
}

struct Row {
  const float* logits;
  const float* bias;
  float* dlogits;  // null: loss only. May be `logits`.
  int64_t size, target;

  KERASPTB_DEVICE bool target_is_there() const { return target >= 0 && target < size; }
  KERASPTB_DEVICE float z(int64_t v) const { return logits[v] + bias[v]; }
  template <int width>
  KERASPTB_DEVICE void read(int64_t v, float (&z)[width]) const {
    float b[width];
    load(logits + v, z);
    load(bias + v, b);
#pragma unroll
    for (int j = 0; j < width; ++j) z[j] += b[j];
  }
  // dlogits[v] from exp(z[v] - maximum); factor = scale / total.
  template <int width>
  KERASPTB_DEVICE void write(int64_t v, float (&e)[width], float total, float factor) const {
#pragma unroll
    for (int j = 0; j < width; ++j) e[j] = (v + j == target ? e[j] - total : e[j]) * factor;
    store(dlogits + v, e);
  }
};

// Calls use(v, z) for each part of the row that is this thread's, in order. kAtOnce reads are in flight at a time,
// because a multiprocessor holds too few blocks to keep the memory busy with one.
template <int width, class Use>
KERASPTB_DEVICE void read_own(const Row& row, Use use) {
  constexpr int kAtOnce = 4;
  const int64_t stride = static_cast<int64_t>(blockDim.x) * width;
  int64_t v = threadIdx.x * width;
  for (; v + (kAtOnce - 1) * stride < row.size; v += kAtOnce * stride) {
    float z[kAtOnce][width];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) row.read(v + i * stride, z[i]);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) use(v + i * stride, z[i]);
  }
  for (; v < row.size; v += stride) {
    float z[width];
    row.read(v, z);
    use(v, z);
  }
}

KERASPTB_DEVICE Row row_of(const SoftmaxCrossEntropy& a) {
  const int64_t r = blockIdx.x, begin = r * a.vocabulary;
  return {a.logits + begin, a.bias, a.dlogits == nullptr ? nullptr : a.dlogits + begin, a.vocabulary, a.targets[r]};
}

KERASPTB_DEVICE bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }
// Whether every row begins at a multiple of 16 bytes.
KERASPTB_DEVICE bool in_fours(const SoftmaxCrossEntropy& a) {
  return a.vocabulary % 4 == 0 && aligned(a.logits) && aligned(a.bias) && aligned(a.dlogits);
}

// Stores the loss, by a thread that has read z of the target before dlogits may have overwritten it.
KERASPTB_DEVICE void write_loss(const SoftmaxCrossEntropy& a, float total, float maximum, float z_target) {
  if (threadIdx.x == 0) a.loss[blockIdx.x] = logf(total) + (maximum - z_target);
}
KERASPTB_DEVICE float gradient_factor(const SoftmaxCrossEntropy& a, const Row& row, float total) {
  return row.target_is_there() ? a.scale[blockIdx.x] / total : NAN;
}

template <int width>
KERASPTB_DEVICE void cached(const SoftmaxCrossEntropy& a, float* shared) {
  const Row row = row_of(a);
  float* const cache = shared + kSoftmaxScratch;
  const int64_t begin = threadIdx.x * width, stride = static_cast<int64_t>(blockDim.x) * width;
  const float z_target = threadIdx.x == 0 && row.target_is_there() ? row.z(row.target) : NAN;

  float maximum = kLeast;
  read_own<width>(row, [&](int64_t v, float (&z)[width]) {
#pragma unroll
    for (int j = 0; j < width; ++j) maximum = at_least(maximum, z[j]);
    store(cache + v, z);  // read again by this thread alone: no barrier
  });
  maximum = over_block<at_least>(maximum, shared);

  float total = 0.0f;
  for (int64_t v = begin; v < row.size; v += stride) {
    float z[width];
    load(cache + v, z);
#pragma unroll
    for (int j = 0; j < width; ++j) {
      z[j] = expf(z[j] - maximum);
      total += z[j];
    }
    store(cache + v, z);
  }
  total = over_block<add>(total, shared + kSoftmaxScratch / 2);
  write_loss(a, total, maximum, z_target);
  if (row.dlogits == nullptr) return;

  const float factor = gradient_factor(a, row, total);
  for (int64_t v = begin; v < row.size; v += stride) {
    float e[width];
    load(cache + v, e);
    row.write(v, e, total, factor);
  }
}

template <int width>
KERASPTB_DEVICE void streamed(const SoftmaxCrossEntropy& a, float* shared) {
  const Row row = row_of(a);
  const float z_target = threadIdx.x == 0 && row.target_is_there() ? row.z(row.target) : NAN;

  float largest = kLeast, own_total = 0.0f;  // own_total: of exp(z - largest)
  read_own<width>(row, [&](int64_t, const float (&z)[width]) {
    float larger = largest;
#pragma unroll
    for (int j = 0; j < width; ++j) larger = at_least(larger, z[j]);
    own_total *= expf(largest - larger);
    largest = larger;
#pragma unroll
    for (int j = 0; j < width; ++j) own_total += expf(z[j] - largest);
  });
  const float maximum = over_block<at_least>(largest, shared);
  const float total = over_block<add>(own_total * expf(largest - maximum), shared + kSoftmaxScratch / 2);
  write_loss(a, total, maximum, z_target);
  if (row.dlogits == nullptr) return;

  const float factor = gradient_factor(a, row, total);
  read_own<width>(row, [&](int64_t v, float (&z)[width]) {
#pragma unroll
    for (int j = 0; j < width; ++j) z[j] = expf(z[j] - maximum);
    row.write(v, z, total, factor);
  });
}

}  // namespace cuda
}  // namespace kerasptb

KERASPTB_KERNEL(kerasptb_softmax_cross_entropy_cached, kerasptb::SoftmaxCrossEntropy, kerasptb::cuda::kSoftmaxThreads) {
  KERASPTB_SHARED(float, shared);
  if (kerasptb::cuda::in_fours(a))
    kerasptb::cuda::cached<4>(a, shared);
  else
    kerasptb::cuda::cached<1>(a, shared);
}
KERASPTB_KERNEL(kerasptb_softmax_cross_entropy_streamed, kerasptb::SoftmaxCrossEntropy,
                kerasptb::cuda::kSoftmaxThreads) {
  KERASPTB_SHARED(float, shared);
  if (kerasptb::cuda::in_fours(a))
    kerasptb::cuda::streamed<4>(a, shared);
  else
    kerasptb::cuda::streamed<1>(a, shared);
}
