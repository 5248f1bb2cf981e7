#include "linear_cross_entropy/few_words.h"

namespace kerasptb {

int64_t few_words_limit(int parts, int64_t features, int64_t vocabulary_size) {
  if (parts == 0) return KERASPTB_DISPATCH(few_words_limit)(features, vocabulary_size);
  // With few words most of the time goes into reading W and writing dW, in which bfloat16 is no faster. Measured at
  // D = 64 to 1,500, on an EPYC of family 26 with AVX512-BF16 and on a Xeon of model 167 with AMX. With one part the
  // bfloat16 kernel reads W only once, which matters if W is too large for the caches.
  const bool amx = cpu_level() >= CpuLevel::kAmx;
  if (parts == 2) return amx ? 12 : 39;
  if (features * vocabulary_size > kLargeKernel) return amx ? 6 : 8;
  return amx ? 8 : 16;
}

}  // namespace kerasptb
