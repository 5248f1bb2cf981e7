// The whole LSTM layer in float32: the products before and after the recurrence, which is in lstm_forward_float32.cc
// and lstm_backward_float32.cc. Equations and shape letters: lstm_float32.h.
#include "lstm_tiles_float32.h"
#include "product_float32.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

void lstm_layer_forward(const LstmLayerForward& a) {
  const LstmForward& r = a.recurrence;
  const int64_t rows = r.batch * r.steps, D = a.features, columns = 4 * r.units;
  {  // xz = x W, written to `gates`
    Workers workers;
    const int threads = workers.count();
    const int64_t deepest = block_depth(D);
    const Panels kernel{deepest, columns, workers.scratch<float>(Panels::floats(deepest, columns))};
    float* tiles = workers.scratch<float>(threads * kTileFloats);
    Barrier& all = *workers.barriers(1, threads);
    workers.run([&](int thread) {
      for_each_block(D, [&](Range k, bool first) {
        if (!first) all.wait();
        kernel.pack_rows(a.kernel + k.begin * columns, columns, k.size(), thread, threads);
        all.wait();
        const auto pack = [&](Range some, float* to) { pack_tiles_of_rows(a.x, D, rows, some, k, to); };
        multiply<TileForm::kRows>(rows, pack, kernel, 0, k.size(), first, r.gates, tiles + thread * kTileFloats, thread,
                                  threads);
      });
    });
  }
  lstm_forward(r);
}

void lstm_layer_backward(const LstmLayerBackward& a) {
  LstmBackward r = a.recurrence;
  const int64_t T = r.steps, rows = r.batch * T, D = a.features, H = r.units, columns = 4 * H;
  Workers workers;
  const int threads = workers.count();
  const Panels dz{rows, columns, workers.scratch<float>(Panels::floats(rows, columns))};
  r.dz = dz.data;
  r.dz_in_panels = true;
  lstm_backward(r, workers);

  const int64_t deepest = block_depth(columns);
  const Panels kernel{deepest, D, workers.scratch<float>(Panels::floats(deepest, D))};
  float* tiles = workers.scratch<float>(threads * kTileFloats);
  Barrier& all = *workers.barriers(1, threads);
  workers.run([&](int thread) {
    float* my_tiles = tiles + thread * kTileFloats;
    // dx = dz W^T
    for_each_block(columns, [&](Range k, bool first) {
      if (!first) all.wait();
      kernel.pack_columns(a.kernel + k.begin, columns, k.size(), thread, threads);
      all.wait();
      const auto pack = [&](Range some, float* to) { pack_tiles_of_panels(dz, some, k, to); };
      multiply<TileForm::kRows>(rows, pack, kernel, 0, k.size(), first, a.dx, my_tiles, thread, threads);
    });
    // dW = x^T dz, dU = h[t-1]^T dz
    for_each_block(rows, [&](Range k, bool first) {
      const auto pack_columns = [&](int64_t m, const auto& column) {
        return [&, m](Range some, float* to) { pack_tiles_of_columns(column, m, some, k, to); };
      };
      const auto x_row = [&](int64_t row) { return a.x + row * D; };
      const auto h_row = [&](int64_t row) { return row % T == 0 ? a.h0 + row / T * H : a.h_seq + (row - 1) * H; };
      multiply<TileForm::kColumns>(D, pack_columns(D, x_row), dz, k.begin, k.size(), first, a.d_kernel, my_tiles,
                                   thread, threads);
      multiply<TileForm::kColumns>(H, pack_columns(H, h_row), dz, k.begin, k.size(), first, a.d_recurrent_kernel,
                                   my_tiles, thread, threads);
    });
  });
}

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
