"""Huge pages for the kernels' arrays, in a small program of C++."""

import platform
import re
import subprocess

import pytest

from kerasptb.native import build

PROGRAM = r"""
#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstring>

#include "common/huge_pages.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

constexpr size_t kPage = size_t{2} << 20;

// 8 MiB that have not been touched, at a multiple of 2 MiB, between memory that cannot be.
char* memory() {
  char* all = static_cast<char*>(mmap(nullptr, 12 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  char* begin = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(all) / kPage + 1) * kPage);
  mprotect(begin, 8 << 20, PROT_READ | PROT_WRITE);
  return begin;
}

// MiB of these 8 that lie in huge pages.
long huge_mib(const char* begin) {
  FILE* file = std::fopen("/proc/self/smaps", "r");
  char line[512];
  unsigned long begin_of_line, end_of_line, from = 0, to = 0, kib = 0, total = 0;
  const auto first = reinterpret_cast<unsigned long>(begin);
  while (std::fgets(line, sizeof(line), file)) {
    if (std::sscanf(line, "AnonHugePages: %lu", &kib) == 1) {
      if (from < first + (8 << 20) && to > first) total += kib;
    } else if (std::sscanf(line, "%lx-%lx ", &begin_of_line, &end_of_line) == 2) {
      from = begin_of_line;
      to = end_of_line;
    }
  }
  std::fclose(file);
  return total >> 10;
}

int main() {
  char* control = memory();
  madvise(control, 8 << 20, MADV_HUGEPAGE);
  std::memset(control, 1, 8 << 20);
  std::printf("%ld\n", huge_mib(control));

  char* fresh = memory();
  kerasptb::prefer_huge_pages(fresh, 8 << 20);
  std::memset(fresh, 1, 8 << 20);
  std::printf("%ld\n", huge_mib(fresh));

  // What the system does when it is asked to move pages: it may refuse, and do so for one page of several.
  char* control_touched = memory();
  std::memset(control_touched, 1, 8 << 20);
  madvise(control_touched, 8 << 20, MADV_HUGEPAGE);
  for (size_t page = 0; page < 4; ++page) madvise(control_touched + page * kPage, kPage, MADV_COLLAPSE);
  std::printf("%ld\n", huge_mib(control_touched));

  // In small pages already, and it begins and ends inside of huge ones.
  char* touched = memory();
  for (size_t i = 0; i < size_t{8} << 20; ++i) touched[i] = static_cast<char>(i % 251);
  std::printf("%ld\n", huge_mib(touched));
  kerasptb::prefer_huge_pages(touched + 4096, (size_t{8} << 20) - 8192);
  long wrong = 0;
  for (size_t i = 0; i < size_t{8} << 20; ++i) wrong += touched[i] != static_cast<char>(i % 251);
  std::printf("%ld %ld\n", huge_mib(touched), wrong);

  char* small = memory();
  kerasptb::prefer_huge_pages(small, 100 << 10);
  std::memset(small, 1, 8 << 20);
  std::printf("%ld\n", huge_mib(small));
}
"""


@pytest.mark.skipif(platform.system() != "Linux", reason="huge pages are asked for on Linux only")
def test_arrays_are_moved_to_huge_pages(tmp_path):
    try:
        compiler = build.find_compiler()
    except build.NativeBuildError as error:
        pytest.skip(str(error))
    (tmp_path / "program.cc").write_text(PROGRAM)
    sources = [tmp_path / "program.cc", build.SOURCES / "common" / "huge_pages.cc"]
    command = [*compiler, "-std=c++17", "-O1", f"-I{build.SOURCES}", *sources, "-o", tmp_path / "program"]
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    for _ in range(5):  # a system that is busy may refuse one time and not the next
        result = subprocess.run(tmp_path / "program", capture_output=True, text=True, check=True, timeout=60)
        control, fresh, control_touched, before, touched, small = result.stdout.splitlines()
        if touched == "8 0":
            break
    if control != "8":
        pytest.skip("this system gives no huge pages, or has none to give now")
    assert fresh == "8"
    if before != "0":
        pytest.skip("this system gives huge pages to all memory, asked or not")
    huge, wrong = touched.split()
    assert wrong == "0"
    assert small == "0"
    major, minor = re.match(r"(\d+)\.(\d+)", platform.release()).groups()
    if (int(major), int(minor)) >= (6, 1):  # earlier ones move them later
        if huge != "8" and control_touched != "8":
            pytest.skip("this system has too few huge pages left to move memory to")
        assert huge == "8"
