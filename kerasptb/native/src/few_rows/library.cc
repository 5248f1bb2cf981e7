// Products of a few rows as a C function.
#include <cstdint>

#include "common/exports.h"
#include "few_rows/few_rows.h"

using namespace kerasptb;

// Columns of a panel.
KERASPTB_EXPORT int64_t kerasptb_few_rows_panel() { return kFewRowsPanel; }

// See few_rows.h; `scaled` is memory of [N, K], and any of the scales and the bias may be null.
KERASPTB_EXPORT void kerasptb_few_rows(int64_t rows, int64_t inputs, int64_t outputs, const float* a, const int8_t* w,
                                       const float* in_scale, const float* out_scale, const float* bias, float* y,
                                       bool log_softmax, float* scaled) {
  KERASPTB_DISPATCH(few_rows)({rows, inputs, outputs, a, w, in_scale, out_scale, bias, y, log_softmax, scaled});
}
