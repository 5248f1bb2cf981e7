// Runs CUDA kernels on the CPU: the names of CUDA and of cuda/device.cuh for a C++ compiler. Every CUDA thread is a
// fiber of one thread of the CPU; a barrier or a shuffle switches to another. Shared memory begins as NaN.
//
// What it shows: wrong indices, missing barriers and double buffers, deadlocks, writes into blocks of a cluster that
// have ended or not begun. What it cannot: weak memory ordering, the limits of a real launch, and speed; nor whether
// the tensor cores lay out their operands as PTX's manual says, which is what is emulated.
#pragma once

#include <math.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iosfwd>  // std::string, of which the kernels need no more: <string> would double their compilation
#include <type_traits>

#define KERASPTB_DEVICE inline
#define KERASPTB_KERNEL(name, Arguments, threads) KERASPTB_CLUSTER_KERNEL(name, Arguments, 1, threads)
#define KERASPTB_CLUSTER_KERNEL(name, Arguments, blocks, threads)                                             \
  static void name(const Arguments& a);                                                                       \
  static_assert(std::is_trivially_copyable_v<Arguments>, "an argument is copied to the device byte by byte"); \
  static emulator::Kernel emulated_##name(#name, blocks, threads,                                             \
                                          [](const void* a) { name(*static_cast<const Arguments*>(a)); });    \
  static void name(const Arguments& a)
#define KERASPTB_SHARED(type, name) type* const name = reinterpret_cast<type*>(emulator::shared_memory())

#define threadIdx (emulator::current->thread_index)
#define blockIdx (emulator::current->block_index)
#define blockDim (emulator::block_size)
#define __syncthreads() emulator::wait(emulator::Barrier::kBlock)

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace emulator {

struct Index {
  unsigned x, y, z;
};

// A kernel makes itself known by defining one of these.
struct Kernel {
  Kernel(const char* name, unsigned cluster, unsigned threads, void (*body)(const void*));
  static Kernel* find(const char* name);

  const char* name;
  unsigned cluster, threads;  // blocks of a cluster; threads of a block at most
  void (*body)(const void* arguments);
  Kernel* next;
};

// Runs a grid to its end. Empty, or what the kernel did wrong.
std::string run(const Kernel&, const void* arguments, unsigned blocks, unsigned threads, size_t shared_bytes);

// The order in which warps run. 0: in turns. Else adversarial, drawn from the seed: warps have random priorities, and
// only the first that can run does, so that it may be far ahead of all others.
extern unsigned schedule;

// For kernels only.
enum class Barrier { kNone, kWarp, kBlock, kCluster };
struct Fiber {
  Index thread_index, block_index;
  unsigned block, lane, warp;  // block: its rank in the cluster
  Barrier waits;
  bool done, arrived;  // arrived: at the cluster's barrier, not having waited for it yet
  unsigned phase;      // of that barrier, when it arrived
  unsigned turn;       // of its two `given`: what is given to the warp is read while the next may be written
  struct {
    uint32_t words[6];
  } given[2];
  void* stack_pointer;
  unsigned char* stack;
};
extern Fiber* current;
extern Index block_size;

void wait(Barrier);
unsigned char* shared_memory();
void cluster_arrive();
void cluster_wait();
uint32_t shuffle_xor(uint32_t value, unsigned mask);
void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
uint32_t bfloat16_bits(float);
unsigned char* in_rank(const void* own, int rank);

}  // namespace emulator

namespace kerasptb {
namespace cuda {

inline uint32_t shuffle_xor(uint32_t value, int mask) { return emulator::shuffle_xor(value, mask); }
inline float shuffle_xor(float value, int mask) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  bits = emulator::shuffle_xor(bits, mask);
  memcpy(&value, &bits, 4);
  return value;
}
inline uint32_t pack_bfloat16(float low, float high) {
  return emulator::bfloat16_bits(low) | emulator::bfloat16_bits(high) << 16;
}
inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  emulator::multiply_add(c, a, b0, b1);
}
inline float divide(float x, float y) { return x / y; }
inline int cluster_rank() { return static_cast<int>(emulator::current->block); }
inline void cluster_arrive() { emulator::cluster_arrive(); }
inline void cluster_wait() { emulator::cluster_wait(); }
template <class T>
void store_to_rank(T* p, int rank, T value) {
  *reinterpret_cast<T*>(emulator::in_rank(p, rank)) = value;
}

}  // namespace cuda
}  // namespace kerasptb
