// Threads of our own, and memory to work in that outlives a call.
//
// Kernels last a few milliseconds and come one after the other, so helpers spin for half a millisecond before they
// sleep: waking them costs more than many kernels take. Work is split by thread number, never by who comes first, so
// sums are formed in the same order on every run.
//
//   Workers workers;                                    // waits until no other kernel runs
//   float* packed = workers.scratch<float>(size);       // 64-byte aligned, not initialised
//   Barrier barrier(workers.count());
//   workers.run([&](int thread) { ...; barrier.wait(); ... });
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace kerasptb {

// Threads a kernel may use: KERASPTB_THREADS, else the processors that the host has counted, else those of the affinity
// mask of the thread that asks first.
int thread_count();

// The number of processors that this process may use; to be told before the first kernel runs.
void set_processors(int count);

// All `count` threads leave wait() once the last of them has entered it. Reusable.
class Barrier {
 public:
  __attribute__((always_inline)) explicit Barrier(int count = 1) : count_(count) {}
  void wait();

 private:
  const int count_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int> generation_{0};
};

// The threads and the scratch memory, held for the length of one kernel call. While it lives, denormals are zero in
// every thread of it, the calling one included, whose former setting the destructor restores.
class Workers {
 public:
  Workers();
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  __attribute__((always_inline)) int count() const { return count_; }

  // Calls function(thread) for thread = 0 .. count() - 1, number 0 on the caller, and returns when all have returned.
  // `rest`: the helpers sleep at once, since what comes next is no kernel of ours and wants all processors.
  template <class Function>
  __attribute__((always_inline)) void run(const Function& function, bool rest = false) {
    run_erased([](const void* f, int thread) { (*static_cast<const Function*>(f))(thread); }, &function, rest);
  }

  // `number` barriers, each for `count` threads; valid as scratch memory is.
  Barrier* barriers(int number, int count);

  // Memory valid until the destructor; call it before or between run(), not inside. Throws a std::bad_alloc
  // that says how much was asked for. A block that was large stays for the next calls, until many in a row were small.
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

// [begin, end) of `part` when `total` things are split as evenly as can be into `parts`.
struct Range {
  int64_t begin, end;
  __attribute__((always_inline)) int64_t size() const { return end - begin; }
};
static inline __attribute__((always_inline)) Range split(int64_t total, int64_t parts, int64_t part) {
  return {total * part / parts, total * (part + 1) / parts};
}

}  // namespace kerasptb
