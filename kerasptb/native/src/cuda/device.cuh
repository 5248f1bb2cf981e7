// The small part of CUDA that the kernels use, for two compilers: nvcc; and, with -DKERASPTB_EMULATE, a C++ compiler,
// which takes the same names from emulator.h of the tests.
//
// A kernel takes one struct by value, `a`, and is defined as
//
//   KERASPTB_KERNEL(name, Arguments, threads) { ... }
//   KERASPTB_CLUSTER_KERNEL(name, Arguments, blocks of a cluster, threads of a block) { ... }
#pragma once

#include <math.h>
#include <stdint.h>

#if defined(KERASPTB_EMULATE)

#include "emulator.h"

#else

#define KERASPTB_DEVICE __device__ __forceinline__
#define KERASPTB_KERNEL(name, Arguments, threads) \
  extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ Arguments a)
// One block per multiprocessor: the compiler may share all of its registers among the threads of one block.
#define KERASPTB_CLUSTER_KERNEL(name, Arguments, blocks, threads)                         \
  extern "C" __global__ void __cluster_dims__(blocks, 1, 1) __launch_bounds__(threads, 1) \
      name(const __grid_constant__ Arguments a)
// The block's dynamic shared memory.
#define KERASPTB_SHARED(type, name)                                \
  extern __shared__ __align__(16) unsigned char kerasptb_shared[]; \
  type* const name = reinterpret_cast<type*>(kerasptb_shared)

namespace kerasptb {
namespace cuda {

KERASPTB_DEVICE float shuffle_xor(float value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }
KERASPTB_DEVICE uint32_t shuffle_xor(uint32_t value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }
// x / y to 2 units of the last place, for y up to 2^126; 0 beyond.
KERASPTB_DEVICE float divide(float x, float y) { return __fdividef(x, y); }

// Rounds two numbers to bfloat16, to nearest with ties to even; `low` is in the lower half of the result.
KERASPTB_DEVICE uint32_t pack_bfloat16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

// C += A B by the tensor cores, with all lanes of the warp: A [16, 16] and B [16, 8] in bfloat16, C [16, 8] in float32.
// Lane 4 g + q holds these elements (PTX ISA, "Matrix Fragments for mma.m16n8k16"), two in each word of A or B:
//
//   a[0], a[1]   A[g, 2q], A[g + 8, 2q], and of both the next column
//   a[2], a[3]   A[g, 2q + 8], A[g + 8, 2q + 8], and of both the next column
//   b0, b1       B[2q, g], B[2q + 8, g], and of both the next row
//   c            C[g, 2q], C[g, 2q + 1], C[g + 8, 2q], C[g + 8, 2q + 1]
KERASPTB_DEVICE void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

KERASPTB_DEVICE int cluster_rank() {
  int rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

// The two halves of a barrier of all threads of the cluster: what every thread read and wrote before it arrived is done
// when a thread has waited. Between the two a thread can do work that no other thread waits for.
KERASPTB_DEVICE void cluster_arrive() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
KERASPTB_DEVICE void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }

// The address in the shared memory of block `rank` that corresponds to `p` in this block's.
KERASPTB_DEVICE uint32_t map_shared_rank(const void* p, int rank) {
  const uint32_t own = static_cast<uint32_t>(__cvta_generic_to_shared(p));
  uint32_t mapped;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(mapped) : "r"(own), "r"(rank));
  return mapped;
}
// *p = value in the shared memory of block `rank` of the cluster.
KERASPTB_DEVICE void store_to_rank(float* p, int rank, float value) {
  asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(map_shared_rank(p, rank)), "f"(value) : "memory");
}
KERASPTB_DEVICE void store_to_rank(float2* p, int rank, float2 value) {
  asm volatile("st.shared::cluster.v2.f32 [%0], {%1, %2};" ::"r"(map_shared_rank(p, rank)), "f"(value.x), "f"(value.y)
               : "memory");
}
KERASPTB_DEVICE void store_to_rank(uint2* p, int rank, uint2 value) {
  asm volatile("st.shared::cluster.v2.b32 [%0], {%1, %2};" ::"r"(map_shared_rank(p, rank)), "r"(value.x), "r"(value.y)
               : "memory");
}
KERASPTB_DEVICE void store_to_rank(float4* p, int rank, float4 value) {
  asm volatile("st.shared::cluster.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(map_shared_rank(p, rank)), "f"(value.x),
               "f"(value.y), "f"(value.z), "f"(value.w)
               : "memory");
}

}  // namespace cuda
}  // namespace kerasptb

#endif

namespace kerasptb {
namespace cuda {

KERASPTB_DEVICE void cluster_sync() {
  cluster_arrive();
  cluster_wait();
}

}  // namespace cuda
}  // namespace kerasptb
