// The library's thread pool, and scratch memory that is kept between calls.
//
// Kernels last a few milliseconds and follow one another closely, so threads that wait spin for a while before they
// sleep: waking a sleeping thread takes longer than many kernels do. They do sleep then: on a busy machine a thread
// that spins uses up the time that the system would give it when it has work again. Work is split by thread number, not
// first come, first served, so sums are formed in the same order on every run.
//
//   Workers workers;                                    // waits until no other kernel runs
//   float* packed = workers.scratch<float>(size);       // 64-byte aligned, not initialised
//   Barrier barrier(workers.count());
//   workers.run([&](int thread) { ...; barrier.wait(); ... });
//
// What is defined here is always_inline because kernels include it: see the note on inline functions in simd.h.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace kerasptb {

// The number of threads that a kernel may use: KERASPTB_THREADS if it is set; else the count given to set_processors();
// else the processors in the affinity mask of the thread that asks first.
int thread_count();

// Sets the number of processors that this process may use. Call it before the first kernel runs.
void set_processors(int count);

// A number that one thread changes and others wait for.
class alignas(64) Signal {
 public:
  __attribute__((always_inline)) Signal() = default;
  uint32_t load() const { return value_.load(std::memory_order_acquire); }
  // Adds 1 and wakes the threads that sleep.
  void add_one();
  // Returns once the number is no longer `value`: spins, and then sleeps, at once if not `spin`.
  void wait_while(uint32_t value, bool spin = true);

 private:
  std::atomic<uint32_t> value_{0};
  std::atomic<uint32_t> sleepers_{0};
};

// The threads of a host's OpenMP: its functions GOMP_parallel, omp_get_thread_num and omp_get_num_threads.
struct OpenMp {
  void (*parallel)(void (*function)(void*), void* data, unsigned threads, unsigned flags);
  int (*thread_number)();
  int (*thread_count)();
};

// Makes kernels run on these threads instead of ones of their own, unless the host limits how many there may be.
// Threads of both kinds spin when they wait for work, OpenMP's for milliseconds, and each kind would take the other's
// processors.
void use_openmp(const OpenMp& threads);

// All `count` threads leave wait() once the last of them has entered it. Reusable.
class Barrier {
 public:
  __attribute__((always_inline)) explicit Barrier(int count = 1) : count_(count) {}
  void wait();

 private:
  const int count_;
  alignas(64) std::atomic<int> arrived_{0};
  Signal generation_;
};

// Exclusive use of the thread pool and its scratch memory for one kernel call. All its threads treat denormals as zero;
// the destructor restores the calling thread's own setting.
class Workers {
 public:
  // Of a kernel of few multiply-adds the caller is the only thread, since waking another takes longer; unless
  // KERASPTB_THREADS is set.
  explicit Workers(int64_t operations = INT64_MAX);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  __attribute__((always_inline)) int count() const { return count_; }

  // Calls function(thread) for thread = 0 .. count() - 1, number 0 on the caller, and returns when all have returned.
  // `rest`: the helpers sleep at once instead of spinning, because the framework needs all processors next.
  template <class Function>
  __attribute__((always_inline)) void run(const Function& function, bool rest = false) {
    run_erased([](const void* f, int thread) { (*static_cast<const Function*>(f))(thread); }, &function, rest);
  }

  // `number` barriers, each for `count` threads, in scratch memory.
  Barrier* barriers(int number, int count);

  // Uninitialised memory for `size` elements, valid until the destructor. Call it before or between calls of run(), not
  // inside. Throws a std::bad_alloc that says how much was asked for. Memory is kept for the next calls; a large block
  // is freed after many calls in a row that needed little of it.
  template <class T>
  __attribute__((always_inline)) T* scratch(size_t size) {
    return static_cast<T*>(allocate(size * sizeof(T)));
  }

 private:
  void run_erased(void (*call)(const void*, int), const void* function, bool rest);
  void* allocate(size_t bytes);

  int count_;
  uint64_t denormal_mode_;
};

// The half-open range [begin, end).
struct Range {
  int64_t begin, end;
  __attribute__((always_inline)) int64_t size() const { return end - begin; }
};
// The range of number `part` when `total` items are split as evenly as possible into `parts`.
static inline __attribute__((always_inline)) Range split(int64_t total, int64_t parts, int64_t part) {
  return {total * part / parts, total * (part + 1) / parts};
}

}  // namespace kerasptb
