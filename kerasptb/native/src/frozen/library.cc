// Frozen models as C functions.
#include "common/exports.h"
#include "frozen/frozen.h"

using namespace kerasptb;

// Columns of a vector of weights.
KERASPTB_EXPORT int64_t kerasptb_frozen_lanes() { return KERASPTB_DISPATCH(frozen_lanes)(); }

// Floats of the memory that a call of few rows needs.
KERASPTB_EXPORT int64_t kerasptb_frozen_room(const FrozenProgram* program) { return frozen_room(*program); }

// Returns whether all ids have rows in their tables; -1 without memory.
KERASPTB_EXPORT int kerasptb_frozen_run(const FrozenProgram* program, int64_t rows, float* const* externals,
                                        float* arena) {
  try {
    return KERASPTB_DISPATCH(frozen_run)(*program, rows, externals, arena);
  } catch (...) {
    return -1;
  }
}

#if KERASPTB_BFLOAT16
KERASPTB_EXPORT int kerasptb_frozen_run_bfloat16(const FrozenProgram* program, int64_t rows, float* const* externals,
                                                 float* arena) {
  try {
    return KERASPTB_DISPATCH_BFLOAT16(frozen_run)(*program, rows, externals, arena);
  } catch (...) {
    return -1;
  }
}
#endif
