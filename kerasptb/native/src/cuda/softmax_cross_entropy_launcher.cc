#include "cuda/softmax_cross_entropy_launcher.h"

#include "cuda/column_sums_launcher.h"
#include "cuda/layout.h"
#include "cuda/driver.h"

namespace kerasptb {
namespace cuda {
namespace {

std::string launch_rows(const SoftmaxCrossEntropy& a, void* stream) {
  const std::string shape = "rows " + std::to_string(a.rows) + ", vocabulary " + std::to_string(a.vocabulary);
  const int64_t threads = a.vocabulary <= kSoftmaxFewColumns ? kSoftmaxFewThreads : kSoftmaxThreads;
  int64_t most = kSharedBytesWithoutOptIn;  // rows that fit this need not ask the GPU
  if (softmax_shared_bytes(a.vocabulary) > most)
    if (std::string error = max_shared_bytes(stream, &most); !error.empty())
      return "kerasptb_softmax_cross_entropy (" + shape + "): " + error;
  if (softmax_shared_bytes(a.vocabulary) <= most)
    return launch(
        {"kerasptb_softmax_cross_entropy_cached", shape, a.rows, threads, softmax_shared_bytes(a.vocabulary), &a},
        stream);
  return launch({"kerasptb_softmax_cross_entropy_streamed", shape, a.rows, threads, softmax_shared_bytes(0), &a},
                stream);
}

}  // namespace

std::string softmax_cross_entropy(const SoftmaxCrossEntropy& a, void* stream) {
  if (a.rows != 0)
    if (std::string error = launch_rows(a, stream); !error.empty()) return error;
  if (a.dlogits == nullptr) return "";
  return column_sums({a.rows, a.vocabulary, a.dlogits, a.dbias}, stream);
}

}  // namespace cuda
}  // namespace kerasptb
