// What `SpecialSteps` (recurrence.h) says of one step, for the passes of both precisions.
#pragma once

#include "common/simd.h"
#include "common/threads.h"
#include "recurrence/recurrence.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

// A step of all rows of the batch.
struct StepKinds {
  SpecialSteps special;
  int64_t steps, units, t;  // T, H

  KERASPTB_INLINE_METHOD bool reset(int64_t b) const { return has(b, SpecialSteps::kReset); }
  KERASPTB_INLINE_METHOD bool skipped(int64_t b) const { return has(b, SpecialSteps::kSkipped); }

  // m h[t-1], the operand of the product with a gate's columns of U, from h[t-1]; `lanes` units from u on.
  KERASPTB_INLINE_METHOD Float operand(Float h, int64_t b, int64_t u, int64_t lanes, int64_t gate = 0) const {
    if (t == steps) return h;  // of no step
    return reset(b) ? Float{} : masked(h, b, u, lanes, gate);
  }
  // The gradient of h[t-1] by an operand, from that of the operand.
  KERASPTB_INLINE_METHOD Float masked(Float x, int64_t b, int64_t u, int64_t lanes, int64_t gate = 0) const {
    if (special.recurrent_mask == nullptr) return x;
    return x * load(special.recurrent_mask + gate * special.gate_stride + b * units + u, lanes);
  }
  // The gradient of h[t-1], from that by its operands, or in a skipped step from that of h[t].
  KERASPTB_INLINE_METHOD Float gradient(Float by_operands, Float dh, int64_t b) const {
    return reset(b) ? Float{} : skipped(b) ? dh : by_operands;
  }

 private:
  KERASPTB_INLINE_METHOD bool has(int64_t b, int32_t kind) const {
    return special.kinds != nullptr && (special.kinds[b * steps + t] & kind) != 0;
  }
};

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
