#include "common/huge_pages.h"

#if defined(__linux__)

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <mutex>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  // since Linux 6.1; others refuse it
#endif

namespace kerasptb {
namespace {

constexpr uintptr_t kPage = uintptr_t{2} << 20;
constexpr size_t kSmall = size_t{512} << 10;  // arrays of fewer bytes are left alone
// Pages that are moved, at most. Memory is used again and again, so that a process comes to an end of them.
constexpr size_t kMaxMoved = 4096;

bool switched_off() {
  FILE* file = std::fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
  if (file == nullptr) return true;
  char choice[64] = {};  // such as "always [madvise] never"
  const bool known = std::fgets(choice, sizeof(choice), file) != nullptr;
  std::fclose(file);
  return !known || std::strstr(choice, "[never]") != nullptr;
}

// Whether the page at this address, one of at most kMaxMoved, is asked for for the first time.
bool first_time(uintptr_t page) {
  static std::mutex mutex;
  static uintptr_t pages[kMaxMoved];  // the first `count`, sorted; no container, since a hint must not fail
  static size_t count = 0;
  // After a fork it may be held by a thread that is no more; it is only a hint.
  std::unique_lock<std::mutex> lock(mutex, std::try_to_lock);
  if (!lock) return false;
  uintptr_t* place = std::lower_bound(pages, pages + count, page);
  if ((place != pages + count && *place == page) || count == kMaxMoved) return false;
  std::copy_backward(place, pages + count, pages + count + 1);
  *place = page;
  ++count;
  return true;
}

}  // namespace

void prefer_huge_pages(const void* array, size_t bytes) {
  static const bool off = switched_off();
  if (off || bytes < kSmall) return;
  // The pages at its ends too, which it shares with its neighbours: XLA's arrays lie side by side in one block.
  const uintptr_t address = reinterpret_cast<uintptr_t>(array);
  const uintptr_t begin = address / kPage * kPage, end = (address + bytes + kPage - 1) / kPage * kPage;
  // Every time, because the memory may be new: its pages become huge when they are first touched.
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
  for (uintptr_t page = begin; page < end; page += kPage)
    if (first_time(page)) madvise(reinterpret_cast<void*>(page), kPage, MADV_COLLAPSE);
}

}  // namespace kerasptb

#else

namespace kerasptb {

void prefer_huge_pages(const void*, size_t) {}

}  // namespace kerasptb

#endif
