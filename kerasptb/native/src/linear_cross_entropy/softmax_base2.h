// What the fused cross-entropies share. Their softmax has base 2, because exp2 is cheaper than exp; logits are computed
// times log2(e) for it. And they save exponentials 2^(z - m) before the largest logit of a row is known, with a
// reference m in its place.
#pragma once

namespace kerasptb {

constexpr float kLog2E = 1.44269504088896f, kLn2 = 0.693147180559945f;
// How far above m a logit may be: 2^kMaxAbove times the size of any vocabulary is far below the largest float32.
constexpr float kMaxAbove = 58.0f;
constexpr float kNoReference = -3e38f;  // m before any logit

}  // namespace kerasptb
