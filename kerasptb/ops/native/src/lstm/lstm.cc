#include "lstm/lstm.h"

namespace kerasptb {

std::vector<LstmSaved> lstm_saved(int parts, const LstmSizes& sizes) {
  const int64_t B = sizes.batch, T = sizes.steps;
  if (parts == 0) return {{"float32", {B, T, sizes.packed_columns()}}, {"float32", {B, T, sizes.units}}};
  return {{"bfloat16", {parts * sizes.operands, sizes.num_rows(), sizes.row_stride()}},
          {parts == 1 ? "int16" : "float32", {T, B, 4 * sizes.padded_units()}},
          {"float32", {T + 1, B, sizes.padded_units()}}};
}

}  // namespace kerasptb
