// The LSTM layer in float32, its products included: those around the recurrence of lstm_float32_forward.cc and
// lstm_float32_backward.cc.
#include "lstm_float32.h"
#include "product_float32.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {
namespace {

// function(block, whether it is the first) for each block of a sum of `size` products.
template <class Function>
KERASPTB_INLINE void for_each_block(int64_t size, const Function& function) {
  for (int64_t k = 0; k < size; k += kSumBlock) function(Range{k, smaller(k + kSumBlock, size)}, k == 0);
}

}  // namespace

void lstm_layer_forward(const LstmLayerForward& a) {
  const LstmForward& r = a.recurrence;
  const int64_t rows = r.batch * r.steps, D = a.features, columns = 4 * r.units;
  {
    Workers workers;
    const int threads = workers.count();
    const TilesOfA x{rows, false, workers.scratch<float>(TilesOfA::floats(rows))};
    const PanelsOfB kernel{columns, workers.scratch<float>(PanelsOfB::floats(columns))};
    Barrier& all = *workers.barriers(1, threads);
    workers.run([&](int thread) {
      for_each_block(D, [&](Range k, bool first) {
        if (!first) all.wait();
        x.copy_rows(a.x, D, k, thread, threads);
        kernel.copy_rows(a.kernel, columns, k, thread, threads);
        all.wait();
        multiply(x, kernel, k.size(), first, a.xz, columns, thread, threads);
      });
    });
  }
  lstm_forward(r);
}

void lstm_layer_backward(const LstmLayerBackward& a) {
  const LstmBackward& r = a.recurrence;
  const int64_t B = r.batch, T = r.steps, rows = B * T, D = a.features, H = r.units, columns = 4 * H;
  lstm_backward(r);

  Workers workers;
  const int threads = workers.count();
  const TilesOfA dz_rows{rows, false, workers.scratch<float>(TilesOfA::floats(rows))};
  const TilesOfA first_dz{B, false, workers.scratch<float>(TilesOfA::floats(B))};
  const PanelsOfB kernel{D, workers.scratch<float>(PanelsOfB::floats(D))};
  const PanelsOfB recurrent_kernel{H, workers.scratch<float>(PanelsOfB::floats(H))};
  const TilesOfA x{D, true, workers.scratch<float>(TilesOfA::floats(D))};
  const TilesOfA h{H, true, workers.scratch<float>(TilesOfA::floats(H))};
  const PanelsOfB dz{columns, workers.scratch<float>(PanelsOfB::floats(columns))};
  Barrier& all = *workers.barriers(1, threads);
  workers.run([&](int thread) {
    // dx = dz W^T, dh0 = dz[:, 0] U^T
    for_each_block(columns, [&](Range k, bool first) {
      if (!first) all.wait();
      dz_rows.copy_rows(r.dz, columns, k, thread, threads);
      first_dz.copy_rows(r.dz, T * columns, k, thread, threads);
      kernel.copy_columns(a.kernel, columns, k, thread, threads);
      recurrent_kernel.copy_columns(r.recurrent_kernel, columns, k, thread, threads);
      all.wait();
      multiply(dz_rows, kernel, k.size(), first, a.dx, D, thread, threads);
      multiply(first_dz, recurrent_kernel, k.size(), first, a.dh0, H, thread, threads);
    });
    // dW = x^T dz, dU = h[t-1]^T dz
    for_each_block(rows, [&](Range k, bool first) {
      if (!first) all.wait();
      x.copy_columns([&](int64_t row) { return a.x + row * D; }, k, thread, threads);
      h.copy_columns([&](int64_t row) { return row % T == 0 ? a.h0 + row / T * H : a.h_seq + (row - 1) * H; }, k,
                     thread, threads);
      dz.copy_rows(r.dz, columns, k, thread, threads);
      all.wait();
      multiply(x, dz, k.size(), first, a.d_kernel, columns, thread, threads);
      multiply(h, dz, k.size(), first, a.d_recurrent_kernel, columns, thread, threads);
    });
  });
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
