#include "cuda/column_sums_launcher.h"

#include "cuda/driver.h"

namespace kerasptb {
namespace cuda {

std::string column_sums(const ColumnSums& a, void* stream) {
  const std::string shape = "rows " + std::to_string(a.rows) + ", columns " + std::to_string(a.columns);
  const int64_t blocks = (a.columns + kSumColumns - 1) / kSumColumns;
  return launch({"kerasptb_column_sums", shape, blocks, kSumColumns * kSumGroups, kSumSharedBytes, &a}, stream);
}

}  // namespace cuda
}  // namespace kerasptb
