#include "cells/cells.h"
#include "recurrence/backward_bfloat16.h"
#include "recurrence/forward_bfloat16.h"

namespace kerasptb {
namespace KERASPTB_LEVEL {

void lstm_forward(int parts, const LayerForward& io) { parts == 1 ? forward<1>(io) : forward<2>(io); }
void lstm_backward(int parts, const LayerBackward& io) { parts == 1 ? backward<1>(io) : backward<2>(io); }

}  // namespace KERASPTB_LEVEL
}  // namespace kerasptb
