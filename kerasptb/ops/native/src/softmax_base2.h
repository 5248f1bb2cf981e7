// What the fused cross-entropies have in common: a softmax of base 2, whose exponential is the cheaper, of logits times
// log2(e); and exponentials 2^(z - m) that are kept before the largest logit is known.
#pragma once

namespace kerasptb {

constexpr float kLog2E = 1.44269504088896f, kLn2 = 0.693147180559945f;
// So far above m a logit may be. 2 to that, times any size of vocabulary, is far from the largest float32.
constexpr float kMostAbove = 58.0f;
constexpr float kNoReference = -3e38f;  // m before any logit

}  // namespace kerasptb
