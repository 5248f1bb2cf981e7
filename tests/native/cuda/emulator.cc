#include "emulator.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <string>
#include <vector>

#if !defined(__x86_64__)
#error "fibers are switched in x86-64 assembly"
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

// Saves the registers that a call must keep, and the stack pointer; goes on where another fiber did the same.
extern "C" void emulator_switch(void** save_stack_pointer, void* stack_pointer);
asm(R"(
.text
.globl emulator_switch
.hidden emulator_switch
.type emulator_switch, @function
emulator_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size emulator_switch, .-emulator_switch
)");

namespace emulator {

Fiber* current = nullptr;
Index block_size = {1, 1, 1};
unsigned schedule = 0;

namespace {

constexpr unsigned kLanes = 32;
constexpr size_t kStack = 64 * 1024;
// Bytes behind shared memory that have to stay as they are; none where a sanitizer watches.
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kCanary = 0;
#else
constexpr size_t kCanary = 64;
#endif

Kernel* kernels = nullptr;

struct Block {
  unsigned char* shared;
  unsigned warps_waiting, threads_done;
  bool begun;
};
struct Warp {
  unsigned runnable, priority;
  unsigned waiting[4];  // lanes at each kind of barrier
};

struct Cluster {
  std::vector<Block> blocks;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  unsigned threads;          // of a block
  unsigned arrivals, phase;  // of the cluster's barrier
  const Kernel* kernel;
  const void* arguments;
  std::string error;
} cluster;

void* scheduler_stack_pointer;

#if defined(__SANITIZE_ADDRESS__)
void* scheduler_fake_stack;
const void* scheduler_stack;
size_t scheduler_stack_size;

void enter(Fiber& fiber) {
  __sanitizer_start_switch_fiber(&scheduler_fake_stack, fiber.stack, kStack);
  current = &fiber;
  emulator_switch(&scheduler_stack_pointer, fiber.stack_pointer);
  __sanitizer_finish_switch_fiber(scheduler_fake_stack, nullptr, nullptr);
  // The frames of a fiber that has ended never returned; the next one on this stack may not trip over their ends.
  const auto* const top = static_cast<unsigned char*>(fiber.stack_pointer);
  if (fiber.done) __asan_unpoison_memory_region(top, static_cast<size_t>(fiber.stack + kStack - top));
}
void leave() {
  void* fake_stack = nullptr;
  Fiber* fiber = current;
  __sanitizer_start_switch_fiber(fiber->done ? nullptr : &fake_stack, scheduler_stack, scheduler_stack_size);
  emulator_switch(&fiber->stack_pointer, scheduler_stack_pointer);
  __sanitizer_finish_switch_fiber(fake_stack, &scheduler_stack, &scheduler_stack_size);
}
void begin() { __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_size); }
#else
void enter(Fiber& fiber) {
  current = &fiber;
  emulator_switch(&scheduler_stack_pointer, fiber.stack_pointer);
}
void leave() { emulator_switch(&current->stack_pointer, scheduler_stack_pointer); }
void begin() {}
#endif

void end() {
  current->done = true;
  --cluster.warps[current->warp].runnable;
  ++cluster.blocks[current->block].threads_done;
  leave();  // for good; not said to the compiler, because the sanitizer clears whole stacks before calls without return
}

void fail(const std::string& what) {
  if (cluster.error.empty())
    cluster.error = what + " (block " + std::to_string(current->block_index.x) + ", thread " +
                    std::to_string(current->thread_index.x) + ")";
  end();
}

void fiber_main() {
  begin();
  cluster.blocks[current->block].begun = true;
  cluster.kernel->body(cluster.arguments);
  if (current->arrived) fail("a thread ends without waiting for the cluster's barrier that it arrived at");
  end();
}

void release(Fiber& fiber) {
  Warp& warp = cluster.warps[fiber.warp];
  --warp.waiting[static_cast<int>(fiber.waits)];
  ++warp.runnable;
  fiber.waits = Barrier::kNone;
}

void release_all(Barrier barrier, size_t first, size_t count) {
  for (size_t i = first; i < first + count; ++i)
    if (cluster.fibers[i].waits == barrier) release(cluster.fibers[i]);
}

// Runs what can run of a warp; then opens the barriers that this has completed.
void run_warp(unsigned w) {
  Warp& warp = cluster.warps[w];
  Fiber* const lanes = &cluster.fibers[w * kLanes];
  for (unsigned lane = 0; lane < kLanes && cluster.error.empty(); ++lane)
    if (!lanes[lane].done && lanes[lane].waits == Barrier::kNone) enter(lanes[lane]);
  if (warp.waiting[static_cast<int>(Barrier::kWarp)] == kLanes) release_all(Barrier::kWarp, w * kLanes, kLanes);
  if (warp.waiting[static_cast<int>(Barrier::kBlock)] == kLanes) {
    const unsigned block = lanes[0].block;
    if (++cluster.blocks[block].warps_waiting == cluster.threads / kLanes) {
      cluster.blocks[block].warps_waiting = 0;
      release_all(Barrier::kBlock, static_cast<size_t>(block) * cluster.threads, cluster.threads);
    }
  }
}

void let_others_run() {
  if (schedule != 0) leave();
}

uint32_t draw(uint32_t& state) {
  state = state * 1664525u + 1013904223u;
  return state >> 8;
}

// The warp to run next, or -1.
int choose_warp(unsigned turn) {
  const unsigned count = static_cast<unsigned>(cluster.warps.size());
  int best = -1;
  for (unsigned i = 0; i < count; ++i) {
    const unsigned w = (turn + i) % count;
    if (cluster.warps[w].runnable == 0) continue;
    if (schedule == 0) return static_cast<int>(w);
    if (best < 0 || cluster.warps[w].priority > cluster.warps[best].priority) best = static_cast<int>(w);
  }
  return best;
}

std::string where_all_wait() {
  const char* const names[] = {"nothing", "a shuffle", "the block's barrier", "the cluster's barrier"};
  unsigned waiting[4] = {}, done = 0;
  for (const Fiber& fiber : cluster.fibers) fiber.done ? ++done : ++waiting[static_cast<int>(fiber.waits)];
  std::string text = "deadlock: " + std::to_string(done) + " threads have ended";
  for (int i = 1; i < 4; ++i)
    if (waiting[i]) text += ", " + std::to_string(waiting[i]) + " wait at " + names[i];
  return text;
}

void prepare_fibers(unsigned first_block, unsigned char* stacks) {
  for (size_t i = 0; i < cluster.fibers.size(); ++i) {
    Fiber& fiber = cluster.fibers[i];
    fiber = {};
    fiber.block = static_cast<unsigned>(i / cluster.threads);
    fiber.thread_index.x = static_cast<unsigned>(i % cluster.threads);
    fiber.block_index.x = first_block + fiber.block;
    fiber.lane = i % kLanes;
    fiber.warp = static_cast<unsigned>(i / kLanes);
    fiber.stack = stacks + i * kStack;
    // Stacks that began at equal places of their pages would all fall into the same few sets of the cache.
    void** top = reinterpret_cast<void**>(fiber.stack + kStack - 64 - i % 32 * 128);
    *--top = nullptr;  // where a caller's return address would be, which leaves the alignment that a function expects
    *--top = reinterpret_cast<void*>(fiber_main);
    for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
    fiber.stack_pointer = top;
  }
}

void run_cluster(uint32_t& random) {
  for (Warp& warp : cluster.warps) warp = {kLanes, draw(random), {}};
  cluster.arrivals = cluster.phase = 0;
  for (unsigned turn = 0; cluster.error.empty(); ++turn) {
    const int w = choose_warp(turn);
    if (w < 0) break;
    if (schedule == 0) turn = static_cast<unsigned>(w);
    run_warp(static_cast<unsigned>(w));
    if (draw(random) % 64 == 0) cluster.warps[w].priority = draw(random);
  }
  if (!cluster.error.empty()) return;
  for (const Fiber& fiber : cluster.fibers)
    if (!fiber.done) {
      cluster.error = where_all_wait();
      return;
    }
}

bool allocate_shared(Block& block, size_t bytes) {
  void* memory = nullptr;
  if (posix_memalign(&memory, 16, bytes + kCanary) != 0) return false;
  block = {static_cast<unsigned char*>(memory), 0, 0, false};
  memset(memory, 0xFF, bytes);  // NaN
  memset(block.shared + bytes, 0xA5, kCanary);
  return true;
}

void free_shared(Block& block, size_t bytes) {
  for (size_t i = 0; i < kCanary; ++i)
    if (block.shared[bytes + i] != 0xA5 && cluster.error.empty())
      cluster.error = "a block wrote behind the end of its shared memory";
  free(block.shared);
}

}  // namespace

Kernel::Kernel(const char* name, unsigned cluster, unsigned threads, void (*body)(const void*))
    : name(name), cluster(cluster), threads(threads), body(body), next(kernels) {
  kernels = this;
}

Kernel* Kernel::find(const char* name) {
  Kernel* kernel = kernels;
  while (kernel != nullptr && strcmp(name, kernel->name) != 0) kernel = kernel->next;
  return kernel;
}

std::string run(const Kernel& kernel, const void* arguments, unsigned blocks, unsigned threads, size_t shared_bytes) {
  if (threads % kLanes != 0) return "a block is not made of whole warps";
  const size_t count = static_cast<size_t>(kernel.cluster) * threads;
  void* stacks =
      mmap(nullptr, kStack * count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stacks == MAP_FAILED) return "no memory for stacks";
  cluster.kernel = &kernel;
  cluster.arguments = arguments;
  cluster.threads = threads;
  cluster.error.clear();
  cluster.fibers.resize(count);
  cluster.warps.resize(count / kLanes);
  cluster.blocks.resize(kernel.cluster);
  block_size = {threads, 1, 1};
  uint32_t random = schedule * 2654435761u + 12345;
  for (unsigned first = 0; first < blocks && cluster.error.empty(); first += kernel.cluster) {
    for (Block& block : cluster.blocks)
      if (!allocate_shared(block, shared_bytes)) return "no memory for shared memory";
    prepare_fibers(first, static_cast<unsigned char*>(stacks));
    run_cluster(random);
    for (Block& block : cluster.blocks) free_shared(block, shared_bytes);
  }
  munmap(stacks, kStack * count);
  return cluster.error;
}

void wait(Barrier barrier) {
  Warp& warp = cluster.warps[current->warp];
  current->waits = barrier;
  --warp.runnable;
  ++warp.waiting[static_cast<int>(barrier)];
  leave();
}

unsigned char* shared_memory() { return cluster.blocks[current->block].shared; }

void cluster_arrive() {
  if (current->arrived) fail("a thread arrives twice at the cluster's barrier");
  current->arrived = true;
  current->phase = cluster.phase;
  if (++cluster.arrivals == cluster.fibers.size()) {
    cluster.arrivals = 0;
    ++cluster.phase;
    release_all(Barrier::kCluster, 0, cluster.fibers.size());
  }
  let_others_run();  // who has arrived may be late with what comes after
}

void cluster_wait() {
  if (!current->arrived) fail("a thread waits for the cluster's barrier without having arrived");
  if (cluster.phase == current->phase) wait(Barrier::kCluster);
  current->arrived = false;
}

uint32_t shuffle_xor(uint32_t value, unsigned mask) {
  Fiber* const partner = current - current->lane + (current->lane ^ mask);
  const unsigned turn = current->turn;
  current->given[turn] = {{value}};
  current->turn ^= 1;
  wait(Barrier::kWarp);
  return partner->given[turn].words[0];
}

uint32_t bfloat16_bits(float value) {
  if (isnan(value)) return 0x7fff;
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

// Every lane gives its part of A and B, and takes those of the lanes that hold what its part of C is made of. See
// device.cuh for who holds what.
void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const Fiber* const warp = current - current->lane;
  const unsigned turn = current->turn, group = current->lane / 4, quarter = current->lane % 4;
  current->given[turn] = {{a[0], a[1], a[2], a[3], b0, b1}};
  current->turn ^= 1;
  wait(Barrier::kWarp);
  // A's row g (+ 8) or B's column g, at k of the sum. Lane 4 g + q has the pairs of k from 2 q on and from 2 q + 8 on:
  // the first in `word`, the other `step` words after.
  const auto number = [&](unsigned g, unsigned k, unsigned word, unsigned step) {
    const uint32_t pair = warp[4 * g + k / 2 % 4].given[turn].words[word + k / 8 * step];
    const uint32_t bits = k % 2 ? pair & 0xffff0000u : pair << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
  };
  for (unsigned row = 0; row < 2; ++row)
    for (unsigned column = 0; column < 2; ++column)
      for (unsigned k = 0; k < 16; ++k)
        c[2 * row + column] += number(group, k, row, 2) * number(2 * quarter + column, k, 4, 1);
}

unsigned char* in_rank(const void* own, int rank) {
  let_others_run();
  if (rank < 0 || rank >= static_cast<int>(cluster.blocks.size())) fail("a block outside of the cluster is written to");
  const Block& block = cluster.blocks[rank];
  if (!block.begun) fail("a block is written to before it has begun");
  if (block.threads_done == cluster.threads) fail("a block is written to after it has ended");
  return block.shared + (static_cast<const unsigned char*>(own) - shared_memory());
}

}  // namespace emulator
