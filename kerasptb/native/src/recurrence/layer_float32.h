// A layer in float32: the products before and after the recurrence of a cell, whatever the cell. Shape letters:
// layer.h.
#pragma once

#include "common/cpu.h"
#include "common/threads.h"
#include "recurrence/layer.h"

namespace kerasptb {

// The recurrence of a cell alone, by the threads of the caller (forward_float32.h, backward_float32.h).
typedef void (*ForwardRecurrence)(const RecurrenceForward&, Workers&);
typedef void (*BackwardRecurrence)(const RecurrenceBackward&, Workers&);

KERASPTB_DECLARE(void layer_forward(const Cell&, const LayerForward&, ForwardRecurrence))
KERASPTB_DECLARE(void layer_backward(const Cell&, const LayerBackward&, BackwardRecurrence))

}  // namespace kerasptb
