// What `LstmSteps` (recurrence.h) says of one step, for the passes of both precisions.
#pragma once

#include "common/simd.h"
#include "common/threads.h"
#include "lstm/recurrence.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

// A step of all rows of the batch.
struct StepKinds {
  LstmSteps special;
  int64_t steps, units, t;  // T, H

  KERASPTB_INLINE_METHOD bool reset(int64_t b) const { return has(b, LstmSteps::kReset); }
  KERASPTB_INLINE_METHOD bool skipped(int64_t b) const { return has(b, LstmSteps::kSkipped); }

  // m h[t-1], the operand of the product with U, from h[t-1]; `lanes` units from u on.
  KERASPTB_INLINE_METHOD Float operand(Float h, int64_t b, int64_t u, int64_t lanes) const {
    if (t == steps) return h;  // of no step
    if (reset(b)) return Float{};
    return special.recurrent_mask == nullptr ? h : h * mask(b, u, lanes);
  }
  // The gradient of h[t-1], from that of m h[t-1], or in a skipped step from that of h[t].
  KERASPTB_INLINE_METHOD Float gradient(Float d_operand, Float dh, int64_t b, int64_t u, int64_t lanes) const {
    if (reset(b)) return Float{};
    if (skipped(b)) return dh;
    return special.recurrent_mask == nullptr ? d_operand : d_operand * mask(b, u, lanes);
  }

 private:
  KERASPTB_INLINE_METHOD bool has(int64_t b, int32_t kind) const {
    return special.kinds != nullptr && (special.kinds[b * steps + t] & kind) != 0;
  }
  KERASPTB_INLINE_METHOD Float mask(int64_t b, int64_t u, int64_t lanes) const {
    return load(special.recurrent_mask + b * units + u, lanes);
  }
};

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
