// Cross-entropy of a linear layer's softmax in float32 for so few words that to read W takes longer than to multiply
// it.
#pragma once

#include "linear_cross_entropy.h"

namespace kerasptb {

namespace baseline {
void linear_cross_entropy_of_few_words(const LinearCrossEntropy&);
}
namespace avx2 {
void linear_cross_entropy_of_few_words(const LinearCrossEntropy&);
}
namespace avx512 {
void linear_cross_entropy_of_few_words(const LinearCrossEntropy&);
}

}  // namespace kerasptb
