"""The threads of the kernels, in a small program of C++."""

import os
import platform
import subprocess

import pytest

from kerasptb.native import build

PROGRAM = r"""
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "common/threads.h"

// Stands before the system's own: the limit of processes is reached after so many threads.
static int allowed = 0;
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                              void* argument) {
  static const auto real = reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
  return allowed-- > 0 ? real(thread, attributes, start, argument) : EAGAIN;
}

int main() {
  setenv("KERASPTB_THREADS", "8", 1);
  for (int attempt = 0; attempt < 2; ++attempt) {
    allowed = 3;
    try {
      kerasptb::Workers workers;
      std::puts("no error");
    } catch (const std::exception& error) {
      std::puts(error.what());
    }
  }
  allowed = 100;
  for (int call = 0; call < 1000; ++call) {
    kerasptb::Workers workers;
    kerasptb::Barrier barrier(workers.count());
    std::atomic<int> sum{0};
    workers.run([&](int thread) {
      sum += 1 << thread;
      barrier.wait();
    });
    if (sum != 255) return std::printf("call %d had %d\n", call, sum.load()), 1;
  }
  std::printf("%d threads started at last\n", 100 - allowed);
}
"""

MEMORY = r"""
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <new>

#include "common/threads.h"

long resident_mib() {
  long pages = 0, resident = 0;
  FILE* file = std::fopen("/proc/self/statm", "r");
  if (std::fscanf(file, "%ld %ld", &pages, &resident) != 2) return -1;
  std::fclose(file);
  return resident * sysconf(_SC_PAGESIZE) >> 20;
}

void use(size_t mib) {
  kerasptb::Workers workers;
  std::memset(workers.scratch<char>(mib << 20), 1, mib << 20);
}

int main() {
  const long before = resident_mib();
  use(256);
  for (int call = 0; call < 255; ++call) use(1);
  std::printf("%ld\n", resident_mib() - before);
  use(256);  // such as the one large call of a training step
  for (int call = 0; call < 255; ++call) use(1);
  std::printf("%ld\n", resident_mib() - before);
  for (int call = 0; call < 10; ++call) use(1);
  std::printf("%ld\n", resident_mib() - before);
  use(256);
  const rlimit limit{rlim_t{1} << 30, rlim_t{1} << 30};
  setrlimit(RLIMIT_AS, &limit);
  try {
    use(2048);
  } catch (const std::bad_alloc& error) {
    std::puts(error.what());
  }
  use(1);
}
"""

GROWTH = r"""
#include <malloc.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "common/threads.h"

int main() {
  // malloc() keeps all that is freed, as some programs tell it to.
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  const auto resident_mib = [] {
    long pages = 0, resident = 0;
    FILE* file = std::fopen("/proc/self/statm", "r");
    const bool read = std::fscanf(file, "%ld %ld", &pages, &resident) == 2;
    std::fclose(file);
    return read ? resident * sysconf(_SC_PAGESIZE) >> 20 : -1;
  };
  const long before = resident_mib();
  for (int call = 0; call < 2; ++call) {
    {
      kerasptb::Workers workers;
      for (int i = 0; i < 3; ++i) std::memset(workers.scratch<char>(40 << 20), 1, 40 << 20);
      std::printf("%ld\n", resident_mib() - before);
    }
    std::printf("%ld\n", resident_mib() - before);
  }
}
"""

PLACEMENT = r"""
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include <cstdio>

#include "common/threads.h"

// The helper's processors while the caller is on this one.
cpu_set_t helper_processors(int callers) {
  cpu_set_t set, result;
  CPU_ZERO(&set);
  CPU_SET(callers, &set);
  pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
  kerasptb::Workers workers;
  workers.run([&](int thread) {
    if (thread == 1) pthread_getaffinity_np(pthread_self(), sizeof(result), &result);
  });
  return result;
}

int main() {
  setenv("KERASPTB_THREADS", "2", 1);
  cpu_set_t allowed;
  sched_getaffinity(0, sizeof(allowed), &allowed);
  int processors[2], found = 0;
  for (int i = 0; i < CPU_SETSIZE && found < 2; ++i)
    if (CPU_ISSET(i, &allowed)) processors[found++] = i;
  { kerasptb::Workers workers; }  // starts the helper
  for (int call = 0; call < 4; ++call) {
    const int callers = processors[call % 2];
    cpu_set_t others = allowed, helpers = helper_processors(callers);
    CPU_CLR(callers, &others);
    std::printf("%s\n", CPU_EQUAL(&helpers, &others) ? "others" : "wrong");
  }
  {
    kerasptb::Workers workers;
    workers.run([&](int thread) {
      if (thread == 1) pthread_setaffinity_np(pthread_self(), sizeof(allowed), &allowed);
    });
  }
  for (int call = 0; call < 4; ++call) {
    const cpu_set_t helpers = helper_processors(processors[call % 2]);
    std::printf("%s\n", CPU_EQUAL(&helpers, &allowed) ? "left alone" : "wrong");
  }
}
"""


def run(folder, program):
    """Returns the lines that a program over the threads' sources prints."""
    try:
        compiler = build.find_compiler()
    except build.NativeBuildError as error:
        pytest.skip(str(error))
    (folder / "program.cc").write_text(program)
    sources = [folder / "program.cc", build.SOURCES / "common" / "threads.cc", build.SOURCES / "common" / "cpu.cc"]
    flags = ["-std=c++17", "-O1", "-pthread", "-rdynamic", f"-I{build.SOURCES}"]
    command = [*compiler, *flags, *map(str, sources), "-ldl", "-o", str(folder / "program")]
    subprocess.run(command, check=True, capture_output=True)
    result = subprocess.run(folder / "program", capture_output=True, text=True, check=True, timeout=60)
    return result.stdout.splitlines()


def test_threads_that_cannot_be_started_are_told_and_started_later(tmp_path):
    first, second, last = run(tmp_path, PROGRAM)
    assert first.startswith("Only 4 of 8 threads could be started")
    assert second.startswith("Only 7 of 8 threads could be started")
    assert "KERASPTB_THREADS" in first
    assert last == "1 threads started at last"


@pytest.mark.skipif(platform.system() != "Linux", reason="asks Linux how much memory a process has")
def test_memory_that_calls_no_longer_use_is_given_back_and_a_lack_of_it_told(tmp_path):
    after_255_calls, after_another_255, after_ten_more, error = run(tmp_path, MEMORY)
    assert 256 <= int(after_255_calls) < 300
    assert 256 <= int(after_another_255) < 300
    assert int(after_ten_more) < 30
    assert error.startswith("The system refused 2048 MiB of memory for the work of a kernel. Use smaller batches")


@pytest.mark.skipif(platform.system() != "Linux", reason="asks Linux how much memory a process has")
def test_memory_that_a_larger_block_replaces_is_given_back(tmp_path):
    in_first, after_first, in_second, after_second = map(int, run(tmp_path, GROWTH))
    assert 120 <= in_first < 135
    assert after_first < 15  # one block for another call like this one, not touched yet
    assert 120 <= in_second < 135
    assert 120 <= after_second < 135


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs Linux and two processors"
)
def test_helpers_keep_off_the_caller_s_processor_unless_somebody_else_has_placed_them(tmp_path):
    assert run(tmp_path, PLACEMENT) == ["others"] * 4 + ["left alone"] * 4
