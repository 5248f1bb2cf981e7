#include "recurrence/layer.h"

namespace kerasptb {

std::vector<SavedArray> saved_arrays(const Cell& cell, int parts, const LayerSizes& sizes) {
  const int64_t B = sizes.batch, T = sizes.steps;
  if (parts == 0) return {{"float32", {B, T, sizes.packed_columns(cell.gates)}}, {"float32", {B, T, sizes.units}}};
  return {{"bfloat16", {parts * sizes.operands, sizes.num_rows(), sizes.row_stride()}},
          {parts == 1 ? "int16" : "float32", {T, B, LayerSizes::kBlocks * sizes.padded_units()}},
          {"float32", {T + 1, B, sizes.padded_units()}}};
}

}  // namespace kerasptb
