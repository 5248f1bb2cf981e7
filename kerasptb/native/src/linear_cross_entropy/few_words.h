// Cross-entropy of a linear layer's softmax in float32, for so few words that reading W takes longer than multiplying
// with it. The vocabulary may be of any size.
#pragma once

#include "common/cpu.h"
#include "linear_cross_entropy/linear_cross_entropy.h"

namespace kerasptb {

KERASPTB_DECLARE(void linear_cross_entropy_few_words(const LinearCrossEntropy&))
// Up to how many words that is faster than the float32 kernel for many.
KERASPTB_DECLARE(int64_t few_words_limit(int64_t features, int64_t vocabulary_size))

// Up to how many words it is used here where each operand should be so many bfloat16 numbers; 0 for float32 itself.
int64_t few_words_limit(int parts, int64_t features, int64_t vocabulary_size);

}  // namespace kerasptb
