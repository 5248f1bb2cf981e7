// Runs every kernel in the threads of the library, called by two threads of its own, for the thread sanitizer to watch.
#include <cstdint>
#include <cstdio>
#include <thread>

#include "kernel_calls.h"

namespace {

using namespace kernel_calls;

void all() {
  const bool bfloat16 = kerasptb::cpu_level() >= kerasptb::CpuLevel::kAvx512Bf16;
  for (const Kernels& cell : all_cells(0)) {
    for (const int64_t B : {1, 6, 70}) layer(cell, 0, B, 3, 20, 37);
    layer(cell, 0, 2, 3, 20, 200);  // too few rows for the threads: they share the units
    layer(cell, 0, 70, 20, 8, 40);  // enough of them that the weights are packed
    for (const int64_t B : {2, 70}) recurrence(cell, B, 4, 40);
  }
  // Of a batch that is no multiple of 16 a product in bfloat16 also reads rows of the next step, which may be in the
  // making, and drops what it makes of them: harmless, but not to the sanitizer.
  for (const int parts : {1, 2})
    for (const Kernels& cell : all_cells(parts)) {
      if (!bfloat16) break;
      for (const int64_t B : {16, 96}) layer(cell, parts, B, 3, 20, 70);
      layer(cell, parts, 256, 9, 20, 20);   // more rows than are transposed at once
      layer(cell, parts, 16, 2, 20, 1100);  // more weights than stay in a cache: AMX makes x W ahead
    }
  for (const int64_t N : {1, 30, 300}) cross_entropies(bfloat16, N, 33, 600);
  elementwise();
}

}  // namespace

int main() {
  std::thread other(all);
  all();
  other.join();
  std::puts(kerasptb::cpu_level_name(kerasptb::cpu_level()));
}
