// Cross-entropy of a linear layer's softmax in float32, for so few words that reading W takes longer than multiplying
// with it. The vocabulary may be of any size.
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
