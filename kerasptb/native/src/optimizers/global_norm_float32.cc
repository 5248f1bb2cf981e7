// The norm of many arrays together, on the CPU. See global_norm.h.
#include "optimizers/global_norm.h"

#include "optimizers/gradient_blocks.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

float global_norm(const FloatArray* arrays, int64_t count) {
  Workers workers;
  const int threads = workers.count();
  const auto size_of = [&](int64_t a) { return arrays[a].size; };
  const int64_t num_blocks = count_blocks(count, size_of);
  double* of_block = workers.scratch<double>(num_blocks);
  const auto work = [&](int thread) {
    for_each_block(count, size_of, num_blocks, thread, threads,
                   [&](int64_t block, int64_t a, int64_t begin, int64_t size) {
                     of_block[block] = sum_of_squares(arrays[a].data + begin, size);
                   });
  };
  workers.run(work, /* rest = */ true);  // the framework's updates follow
  return norm_of_blocks(of_block, num_blocks);
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
