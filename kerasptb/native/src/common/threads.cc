#include "common/threads.h"

#include <pthread.h>
#include <sched.h>
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "common/cpu.h"
#include "common/helper_placement.h"
#if KERASPTB_X86
#include <immintrin.h>
#endif

namespace kerasptb {
namespace {

constexpr int kMaxThreads = 1024;
constexpr std::chrono::microseconds kSpinTime{500};  // a thread that waits spins so long before it sleeps
constexpr int kSpinsPerClockRead = 128;
constexpr int64_t kOperationsOfCaller = 1 << 20;  // multiply-adds of a kernel from which helpers are woken
constexpr size_t kHugePage = size_t{2} << 20;     // bytes
// Scratch memory of more than kKept bytes is freed after kCallsBeforeRelease calls in a row that used less than a
// quarter of it.
constexpr size_t kKept = size_t{64} << 20;
constexpr int kCallsBeforeRelease = 256;
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kBlockForEach = true;  // a block for each array, so that the sanitizer sees accesses beyond its end
#else
constexpr bool kBlockForEach = false;
#endif

inline void pause() {
#if KERASPTB_X86
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Makes this thread treat denormals as zero, and returns its former setting. Exponentials of very negative numbers are
// denormals, and each operation on one takes about a hundred cycles.
uint64_t flush_denormals() {
#if KERASPTB_X86
  constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040;
  const unsigned mode = _mm_getcsr();
  _mm_setcsr(mode | kFlushToZero | kDenormalsAreZero);
  return mode;
#elif defined(__aarch64__)
  constexpr uint64_t kFlushToZero = uint64_t{1} << 24;
  uint64_t mode;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  asm volatile("msr fpcr, %0" ::"r"(mode | kFlushToZero));
  return mode;
#else
  return 0;
#endif
}

void restore_denormals(uint64_t mode) {
#if KERASPTB_X86
  _mm_setcsr(static_cast<unsigned>(mode));
#elif defined(__aarch64__)
  asm volatile("msr fpcr, %0" ::"r"(mode));
#else
  (void)mode;
#endif
}

std::atomic<int> processors{0};  // as given to set_processors(); 0 if it was not called

int available_processors() {
  if (const int count = processors.load()) return count;
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int choose_thread_count() {
  long count = available_processors();
  if (const char* wish = std::getenv("KERASPTB_THREADS")) {
    // Anything but a number has been refused in Python.
    const long number = std::strtol(wish, nullptr, 10);
    if (number >= 1) count = number;
  }
  return static_cast<int>(count > kMaxThreads ? kMaxThreads : count);
}

#if defined(__linux__)
// Sleeps unless `word` is no longer `value`, until woken, or for no reason.
void sleep_while(std::atomic<uint32_t>& word, uint32_t value) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

void wake_all(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}
#else
void sleep_while(std::atomic<uint32_t>&, uint32_t) { std::this_thread::sleep_for(std::chrono::microseconds(50)); }
void wake_all(std::atomic<uint32_t>&) {}
#endif

class NoMemory : public std::bad_alloc {
 public:
  explicit NoMemory(size_t bytes) {
    std::snprintf(text_, sizeof(text_),
                  "The system refused %zu MiB of memory for the work of a kernel. Use smaller batches or a smaller "
                  "model, or raise the process's limit of memory",
                  bytes >> 20);
  }
  const char* what() const noexcept override { return text_; }

 private:
  char text_[192];
};

OpenMp openmp = {};  // without functions for none
std::atomic<bool> has_openmp{false};

// A run on OpenMP's threads.
struct Run {
  void (*call)(const void*, int);
  const void* function;
  int count;
  bool done = false;
};

void take_part(void* data) {
  Run& run = *static_cast<Run*>(data);
  if (openmp.thread_count() != run.count) return;  // they would wait for those that are missing
  const int number = openmp.thread_number();
  const uint64_t mode = flush_denormals();
  run.call(run.function, number);
  restore_denormals(mode);
  if (number == 0) run.done = true;
}

// Returns whether it has run.
bool run_by_openmp(void (*call)(const void*, int), const void* function, int count) {
  if (!has_openmp.load(std::memory_order_acquire)) return false;
  Run run = {call, function, count};
  openmp.parallel(take_part, &run, static_cast<unsigned>(count), 0);
  return run.done;
}

// Scratch memory.
struct Block {
  void* begin;
  size_t bytes;
};

#if defined(__linux__)
constexpr bool kMapped = !kBlockForEach;

// Returns `bytes` bytes, a multiple of kHugePage, at a multiple of it.
void* map(size_t bytes) {
  const size_t mapped = bytes + kHugePage;
  void* pages = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) throw NoMemory(bytes);
  char* first = static_cast<char*>(pages);
  const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(first) % kHugePage) % kHugePage;
  if (before > 0) munmap(first, before);
  munmap(first + before + bytes, kHugePage - before);
  madvise(first + before, bytes, MADV_HUGEPAGE);
  return first + before;
}

void unmap(const Block& block) { munmap(block.begin, block.bytes); }
#else
constexpr bool kMapped = false;

void* map(size_t) { return nullptr; }
void unmap(const Block&) {}
#endif

// Mapped where that can be, because malloc() may keep what is freed: a block is replaced by a larger one when a call
// needs more than those before it.
Block new_block(size_t bytes) {
  if (kMapped) return {map(bytes), bytes};
  void* begin = nullptr;
  if (posix_memalign(&begin, kBlockForEach ? 64 : kHugePage, bytes) != 0) throw NoMemory(bytes);
  return {begin, bytes};
}

void free_block(const Block& block) {
  if (kMapped)
    unmap(block);
  else
    std::free(block.begin);
}

// Helper threads 1 .. count - 1; the caller is thread 0.
class Pool {
 public:
  explicit Pool(int count) : count_(count) {}

  // Starts the helpers that do not run yet. They use the pool for ever, so it must never be destroyed.
  void start() {
    try {
      for (; started_ < count_; ++started_) {
        const int number = started_;
        std::thread helper([this, number] { loop(number); });
        placement_.add(helper.native_handle());
        helper.detach();
      }
    } catch (const std::system_error& error) {
      throw std::runtime_error("Only " + std::to_string(started_) + " of " + std::to_string(count_) +
                               " threads could be started (" + error.what() +
                               "). Raise the limit of processes, or set KERASPTB_THREADS to fewer");
    }
  }

  void run(void (*call)(const void*, int), const void* function, bool rest) {
    if (count_ > 1 && run_by_openmp(call, function, count_)) return;
    call_ = call;
    function_ = function;
    rest_ = rest;
    if (count_ > 1) {
      placement_.keep_off_this_processor();
      at_work_.store(count_ - 1, std::memory_order_relaxed);
      begun_.add_one();
    }
    call(function, 0);
    if (count_ > 1) ended_.wait_while(runs_++);
  }

  void free_blocks() {
    for (const Block& block : blocks) free_block(block);
    blocks.clear();
    capacity = 0;
  }

  std::mutex turn;            // held by the Workers whose kernel runs
  std::vector<Block> blocks;  // scratch memory in use, or kept for the next call
  size_t capacity = 0;        // bytes of the last block
  size_t used = 0;            // bytes of the last block that are taken
  size_t total = 0;           // bytes asked for during this call
  int allocations = 0;        // number of them during this call
  int small_calls = 0;        // number of them in a row, see kCallsBeforeRelease

 private:
  void loop(int number) {
    flush_denormals();
    bool spin = false;
    for (uint32_t seen = 0;; ++seen) {
      begun_.wait_while(seen, spin);
      call_(function_, number);
      spin = !rest_;
      if (at_work_.fetch_sub(1, std::memory_order_acq_rel) == 1) ended_.add_one();
    }
  }

  const int count_;
  int started_ = 1;  // the caller is the first
  HelperPlacement placement_;
  Signal begun_;  // the number of runs that have begun; wraps around after days
  Signal ended_;  // the number of runs that all helpers have finished
  uint32_t runs_ = 0;
  alignas(64) std::atomic<int> at_work_{0};  // helpers
  void (*call_)(const void*, int) = nullptr;
  const void* function_ = nullptr;
  bool rest_ = false;
};

std::mutex pool_mutex;
Pool* pool_instance = nullptr;

// Never destroyed: its threads sleep until the process ends.
Pool* pool() {
  std::lock_guard<std::mutex> lock(pool_mutex);
  if (pool_instance == nullptr) {
    static const int registered = [] {
      // A forked child has only the thread that forked: it needs a pool of its own, made at its first kernel.
      return pthread_atfork([] { pool_mutex.lock(); }, [] { pool_mutex.unlock(); },
                            [] {
                              pool_mutex.unlock();
                              pool_instance = nullptr;
                              has_openmp = false;  // of which nothing works in a child
                            });
    }();
    (void)registered;
    pool_instance = new Pool(thread_count());
  }
  pool_instance->start();
  return pool_instance;
}

thread_local Pool* acquired_pool = nullptr;

}  // namespace

void set_processors(int count) { processors.store(count); }

void use_openmp(const OpenMp& threads) {
  openmp = threads;
  has_openmp.store(true, std::memory_order_release);
}

int thread_count() {
  static const int count = choose_thread_count();
  return count;
}

void Signal::add_one() {
  value_.fetch_add(1);  // in one order with the two of sleepers_: either it is seen here, or this is seen there
  if (sleepers_.load() > 0) wake_all(value_);
}

void Signal::wait_while(uint32_t value, bool spin) {
  // With more threads than processors, a thread that spins keeps another from working.
  static const bool has_processor = thread_count() <= available_processors();
  if (spin && has_processor) {
    const auto end = std::chrono::steady_clock::now() + kSpinTime;
    do {
      for (int spins = 0; spins < kSpinsPerClockRead; ++spins) {
        if (load() != value) return;
        pause();
      }
    } while (std::chrono::steady_clock::now() < end);
  }
  sleepers_.fetch_add(1);
  while (value_.load() == value) sleep_while(value_, value);
  sleepers_.fetch_sub(1);
}

void Barrier::wait() {
  const uint32_t generation = generation_.load();
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) < count_ - 1) return generation_.wait_while(generation);
  arrived_.store(0, std::memory_order_relaxed);
  generation_.add_one();
}

Workers::Workers(int64_t operations) : count_(thread_count()) {
  static const char* const wish = std::getenv("KERASPTB_THREADS");
  static const bool named = wish && *wish;
  if (operations < kOperationsOfCaller && !named) count_ = 1;
  acquired_pool = pool();
  acquired_pool->turn.lock();
  denormal_mode_ = flush_denormals();
}

Workers::~Workers() {
  Pool& p = *acquired_pool;
  if (kBlockForEach) {
    p.free_blocks();
  } else if (p.blocks.size() > 1) {
    // Replaced by a single block that is large enough for another call like this one.
    p.free_blocks();
    try {
      const size_t bytes = (p.total + kHugePage - 1) / kHugePage * kHugePage;
      p.blocks.push_back(new_block(bytes));
      p.capacity = bytes;
    } catch (const std::bad_alloc&) {
      p.blocks.clear();
    }
  } else if (p.capacity > kKept) {
    p.small_calls = p.total < p.capacity / 4 ? p.small_calls + 1 : 0;
    if (p.small_calls == kCallsBeforeRelease) {
      p.free_blocks();
      p.small_calls = 0;
    }
  }
  p.used = p.total = 0;
  p.allocations = 0;
  acquired_pool = nullptr;
  restore_denormals(denormal_mode_);
  p.turn.unlock();
}

void Workers::run_erased(void (*call)(const void*, int), const void* function, bool rest) {
  if (count_ == 1) return call(function, 0);
  acquired_pool->run(call, function, rest);
}

Barrier* Workers::barriers(int number, int count) {
  Barrier* result = scratch<Barrier>(number);
  for (int i = 0; i < number; ++i) new (result + i) Barrier(count);
  return result;
}

void* Workers::allocate(size_t bytes) {
  Pool& p = *acquired_pool;
  // Arrays that start at the same offset within a 4 KB page, and are read side by side, evict each other from the L1
  // cache: successive arrays start five cache lines apart.
  const size_t shift = size_t(p.allocations++ % 8) * 5 * 64;
  const size_t size = (bytes + 63) / 64 * 64 + shift;
  p.total += size;
  if (kBlockForEach || p.blocks.empty() || p.used + size > p.capacity) {
    const size_t block = kBlockForEach ? bytes + shift : (size + kHugePage - 1) / kHugePage * kHugePage;
    p.blocks.push_back(new_block(block));
    p.capacity = block;
    p.used = 0;
  }
  void* result = static_cast<char*>(p.blocks.back().begin) + p.used + shift;
  p.used += size;
  return result;
}

}  // namespace kerasptb
