// Cross-entropy of a linear layer's softmax in bfloat16. Equations and shape letters: linear_cross_entropy.h.
//
// The vocabulary is split into panels of 128 words, which the threads share, and the N rows of h into chunks. For every
// chunk, a first pass over the panels computes the logits, 32 rows at a time in the L1 cache, and sums their
// exponentials; a second pass computes dW. There are two ways:
//
// - With AMX, where products are cheap, the second pass computes the softmax again, and from it dh and dW
//   (softmax_again_bfloat16.h).
// - Without AMX, the first pass computes dh and keeps the exponentials; the second computes dW from them
//   (softmax_kept_bfloat16.h).
//
// The softmax has base 2 (softmax_base2.h): W and b are packed times log2(e).
#include "linear_cross_entropy_bfloat16.h"

// Both headers define:
//   chunk_rows<parts>(io, depth): the most rows of a chunk
//   allocate(workers, task): allocates the buffers that only this way needs, or needs in another size
//   prepare(task, blocks): packs what the second pass needs of some blocks of rows
//   first_pass(task, panels, my): the sums of the exponentials of a thread's panels, and the targets' logits
//   losses(task, rows): log_sum_exp and the loss, from the sums of all threads
//   gradients(task, panels, my): dW and db of the panels; and my.dh and my.factor, whose product is the thread's share
//     of dh
#ifdef __AMX_BF16__
#include "softmax_again_bfloat16.h"
#else
#include "softmax_kept_bfloat16.h"
#endif

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

template <int kParts>
void chunk(const Task<kParts>& task, int thread, Barrier& all) {
  const Range blocks = split(task.padded_rows / kBlock, task.threads, thread);
  const Range rows{blocks.begin * kBlock, blocks.end * kBlock};
  const Range my_panels = split(task.panels, task.threads, thread);
  ThreadBuffers& my = task.buffers[thread];
  task.pack_h(rows);
  if (task.with_gradients()) prepare(task, blocks);
  if (thread == task.threads - 1) task.order_targets();
  all.wait();
  if (my_panels.size() == 0 && task.with_gradients())
    memset(my.dh, 0, task.padded_rows * task.dh_stride * sizeof(float));
  first_pass(task, my_panels, my);
  all.wait();
  losses(task, rows);
  all.wait();
  if (!task.with_gradients()) return;
  gradients(task, my_panels, my);
  all.wait();
  task.combine_dh(rows);
}

template <int kParts>
void run(const LinearCrossEntropy& io) {
  Workers workers;
  const int threads = workers.count();
  Task<kParts> task(io);
  task.threads = threads;
  task.depth = round_up(io.features, kTileDepth);
  task.panels = ceil_div(io.vocabulary_size, kPanel);
  const int64_t chunks = ceil_div(io.num_words, chunk_rows<kParts>(io, task.depth));
  const int64_t rows = task.most_rows = round_up(ceil_div(io.num_words, chunks), kBlock);
  task.h_stride = spread(task.depth);
  task.h_transposed_stride = spread(rows);
  task.dh_stride = spread(2 * task.depth) / 2;
  task.h_part_stride = rows * task.h_stride;
  task.h_transposed_part_stride = task.depth * task.h_transposed_stride;
  task.panel_part_stride = kPanel * task.depth;
  task.softmax_part_stride = rows * kPanel;
  task.h = workers.scratch<bfloat16>(kParts * task.h_part_stride);
  task.log_sum_exp = workers.scratch<float>(rows);
  task.target_logit = workers.scratch<float>(rows);
  task.first_target = workers.scratch<int32_t>(task.panels + 1);
  task.rows_by_target = workers.scratch<int32_t>(rows);
  task.buffers = workers.scratch<ThreadBuffers>(threads);
  for (int thread = 0; thread < threads; ++thread) {
    ThreadBuffers& my = task.buffers[thread];
    my.columns = workers.scratch<bfloat16>(kParts * task.panel_part_stride);
    if (!task.with_gradients()) continue;
    my.rows = workers.scratch<bfloat16>(kParts * task.panel_part_stride);
    my.factor = workers.scratch<float>(rows);
    my.dh = workers.scratch<float>(rows * task.dh_stride);
  }
  allocate(workers, task);
  Barrier& all = *workers.barriers(1, threads);
  workers.run([&](int thread) {
    const Tiles tiles;
    Task<kParts> mine = task;
    for (mine.begin = 0; mine.begin < io.num_words; mine.begin += rows) {
      mine.num_rows = smaller(rows, io.num_words - mine.begin);
      mine.padded_rows = round_up(mine.num_rows, kBlock);
      chunk(mine, thread, all);
    }
  });
}

}  // namespace

void linear_cross_entropy(int parts, const LinearCrossEntropy& tensors) {
  parts == 1 ? run<1>(tensors) : run<2>(tensors);
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
