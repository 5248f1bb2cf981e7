"""The threads of the kernels, in a small program of C++."""

import subprocess

import pytest

from kerasptb.ops.native import build

PROGRAM = r"""
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "threads.h"

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


def test_threads_that_cannot_be_started_are_told_and_started_later(tmp_path):
    try:
        compiler = build.find_compiler()
    except build.NativeBuildError as error:
        pytest.skip(str(error))
    (tmp_path / "program.cc").write_text(PROGRAM)
    sources = [tmp_path / "program.cc", build.SOURCES / "threads.cc", build.SOURCES / "cpu.cc"]
    flags = ["-std=c++17", "-O1", "-pthread", "-rdynamic", f"-I{build.SOURCES}"]
    command = [*compiler, *flags, *map(str, sources), "-ldl", "-o", str(tmp_path / "program")]
    subprocess.run(command, check=True, capture_output=True)
    result = subprocess.run(tmp_path / "program", capture_output=True, text=True, check=True, timeout=60)
    first, second, last = result.stdout.splitlines()
    assert first.startswith("Only 4 of 8 threads could be started")
    assert second.startswith("Only 7 of 8 threads could be started")
    assert "KERASPTB_THREADS" in first
    assert last == "1 threads started at last"
