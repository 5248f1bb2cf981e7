// Keeps the helper threads of a pool off the processor of the thread that calls them. Included by threads.cc.
//
// A helper that slept is woken on whatever processor the system finds. If another thread happens to run on the one that
// is meant for it, such as one of the framework's, that may be the caller's: the two then take turns until the system
// parts them, which takes milliseconds. It was so in one of ten training steps.
#pragma once

#include <pthread.h>
#include <sched.h>

#include <mutex>

namespace kerasptb {

#if defined(__linux__)

class HelperPlacement {
 public:
  // `helper` has just been started by this thread, whose processors it has inherited.
  void add(pthread_t helper) {
    std::lock_guard<std::mutex> lock(mutex_);
    known_ = count_ < kMax && sched_getaffinity(0, sizeof(allowed_), &allowed_) == 0;
    latest_ = allowed_;
    if (known_) helpers_[count_++] = helper;
  }

  void keep_off_this_processor() {
    std::lock_guard<std::mutex> lock(mutex_);
    const int processor = known_ ? sched_getcpu() : -1;
    if (processor < 0 || processor == avoided_) return;
    cpu_set_t others = allowed_;
    CPU_CLR(processor, &others);
    // False: too few for the helpers, or they have been placed by somebody else, who shall have it so.
    known_ = CPU_COUNT(&others) >= count_ && are_there();
    if (!known_) return;
    for (int i = 0; i < count_; ++i) pthread_setaffinity_np(helpers_[i], sizeof(others), &others);
    latest_ = others;
    avoided_ = processor;
  }

 private:
  static constexpr int kMax = 16;  // helpers, at most: moving each takes two system calls

  bool are_there() const {
    for (int i = 0; i < count_; ++i) {
      cpu_set_t now;
      if (pthread_getaffinity_np(helpers_[i], sizeof(now), &now) != 0 || !CPU_EQUAL(&now, &latest_)) return false;
    }
    return true;
  }

  std::mutex mutex_;
  int count_ = 0;
  pthread_t helpers_[kMax];
  bool known_ = false;  // whether the helpers may be moved
  cpu_set_t allowed_;   // the processors that they had when they were started
  cpu_set_t latest_;    // those they were last given
  int avoided_ = -1;
};

#else

class HelperPlacement {
 public:
  void add(pthread_t) {}
  void keep_off_this_processor() {}
};

#endif

}  // namespace kerasptb
