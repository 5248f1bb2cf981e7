// Dropout on the CPU. See dropout.h.
#include "dropout/dropout.h"

#include <math.h>

#include "common/simd.h"
#include "common/threads.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

// Elements that 16 counters decide, with two numbers each.
constexpr int64_t kGroup = 32, kCounters = 16;

KERASPTB_INLINE Bits rotate_left(Bits x, int distance) { return (x << distance) | (x >> (32 - distance)); }

// Both numbers of Threefry-2x32, with 20 rounds.
struct Numbers {
  Bits of[2];
};
KERASPTB_INLINE Numbers threefry(Bits low, Bits high, const uint32_t (&key)[2]) {
  constexpr int kRotations[8] = {13, 15, 26, 6, 17, 29, 16, 24};
  const uint32_t keys[3] = {key[0], key[1], 0x1bd11bdau ^ key[0] ^ key[1]};
  Bits x = low + keys[0], y = high + keys[1];
  for (uint32_t i = 0; i < 5; ++i) {
    for (int j = 0; j < 4; ++j) {
      x += y;
      y = rotate_left(y, kRotations[4 * (i % 2) + j]) ^ x;
    }
    x += keys[(i + 1) % 3];
    y += keys[(i + 2) % 3] + (i + 1);
  }
  return {{x, y}};
}

KERASPTB_NOINLINE void drop_groups(const Dropout& a, Range groups) {
  const float scale = 1.0f / a.keep_prob;
  // The greatest number below 2^32 keep_prob, a product that is exact: the limit itself may not fit in 32 bits.
  const Bits last_kept = Bits{} + static_cast<uint32_t>(static_cast<uint64_t>(ceil(a.keep_prob * 4294967296.0)) - 1);
  Bits lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  for (int64_t group = groups.begin; group < groups.end; ++group)
    for (int64_t l = 0; l < kCounters; l += kLanes) {
      const uint64_t counter = static_cast<uint64_t>(group) * kCounters + l;  // a multiple of kLanes: no carry below
      const Numbers numbers =
          threefry(lane + static_cast<uint32_t>(counter), Bits{} + static_cast<uint32_t>(counter >> 32), a.key);
      for (int j = 0; j < 2; ++j) {
        const int64_t i = group * kGroup + j * kCounters + l - a.first;  // in x
        if (i >= 0 && i + kLanes <= a.size) {
          store(a.y + i, numbers.of[j] <= last_kept ? load(a.x + i) * scale : Float{});
          continue;
        }
        const Float factors = numbers.of[j] <= last_kept ? Float{} + scale : Float{};
        for (int64_t k = i < 0 ? -i : 0; k < kLanes && i + k < a.size; ++k)
          a.y[i + k] = factors[k] != 0.0f ? a.x[i + k] * factors[k] : 0.0f;  // of NaN too
      }
    }
}

}  // namespace

void dropout(const Dropout& a) {
  Workers workers;
  const int threads = workers.count();
  const int64_t first = a.first / kGroup, groups = ceil_div(a.first + a.size, kGroup) - first;
  workers.run([&](int thread) {
    const Range own = split(groups, threads, thread);
    drop_groups(a, {first + own.begin, first + own.end});
  });
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
