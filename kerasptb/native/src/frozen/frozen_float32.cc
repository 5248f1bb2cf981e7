#include "frozen/run.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

int64_t frozen_lanes() { return kLanes; }

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
