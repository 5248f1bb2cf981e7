// The LSTM layer in float32, its products included: those around the recurrence of lstm_forward_float32.cc and
// lstm_backward_float32.cc.
#include "lstm_float32.h"
#include "product_float32.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

void lstm_layer_forward(const LstmLayerForward& a) {
  const LstmForward& r = a.recurrence;
  const int64_t rows = r.batch * r.steps, D = a.features, columns = 4 * r.units;
  {
    Workers workers;
    const int threads = workers.count();
    const int64_t deepest = block_depth(D);
    const Panels kernel{deepest, columns, workers.scratch<float>(Panels::floats(deepest, columns))};
    float* tiles = workers.scratch<float>(threads * kTileFloats);
    Barrier& all = *workers.barriers(1, threads);
    workers.run([&](int thread) {
      for_each_block(D, [&](Range k, bool first) {
        if (!first) all.wait();
        kernel.copy_rows(a.kernel + k.begin * columns, columns, k.size(), thread, threads);
        all.wait();
        const auto copy = [&](Range some, float* to) { copy_tiles_of_rows(a.x, D, rows, some, k, to); };
        multiply<TileForm::kRows>(rows, copy, kernel, 0, k.size(), first, r.gates, tiles + thread * kTileFloats, thread,
                                  threads);
      });
    });
  }
  lstm_forward(r);
}

void lstm_layer_backward(const LstmLayerBackward& a) {
  LstmBackward r = a.recurrence;
  const int64_t T = r.steps, rows = r.batch * T, D = a.features, H = r.units, columns = 4 * H;
  r.dz_in_panels = true;
  lstm_backward(r);

  Workers workers;
  const int threads = workers.count();
  const Panels dz{rows, columns, r.dz};
  const int64_t deepest = block_depth(columns);
  const Panels kernel{deepest, D, workers.scratch<float>(Panels::floats(deepest, D))};
  float* tiles = workers.scratch<float>(threads * kTileFloats);
  Barrier& all = *workers.barriers(1, threads);
  workers.run([&](int thread) {
    float* own = tiles + thread * kTileFloats;
    // dx = dz W^T
    for_each_block(columns, [&](Range k, bool first) {
      if (!first) all.wait();
      kernel.copy_columns(a.kernel + k.begin, columns, k.size(), thread, threads);
      all.wait();
      const auto copy = [&](Range some, float* to) { copy_tiles_of_panels(dz, some, k, to); };
      multiply<TileForm::kRows>(rows, copy, kernel, 0, k.size(), first, a.dx, own, thread, threads);
    });
    // dW = x^T dz, dU = h[t-1]^T dz
    for_each_block(rows, [&](Range k, bool first) {
      const auto columns_of = [&](int64_t m, const auto& column) {
        return [&, m](Range some, float* to) { copy_tiles_of_columns(column, m, some, k, to); };
      };
      const auto x_row = [&](int64_t row) { return a.x + row * D; };
      const auto h_row = [&](int64_t row) { return row % T == 0 ? a.h0 + row / T * H : a.h_seq + (row - 1) * H; };
      multiply<TileForm::kColumns>(D, columns_of(D, x_row), dz, k.begin, k.size(), first, a.d_kernel, own, thread,
                                   threads);
      multiply<TileForm::kColumns>(H, columns_of(H, h_row), dz, k.begin, k.size(), first, a.d_recurrent_kernel, own,
                                   thread, threads);
    });
  });
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
