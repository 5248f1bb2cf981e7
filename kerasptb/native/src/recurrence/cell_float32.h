// The kernels of a cell in float32.
#pragma once

#include "recurrence/backward_float32.h"
#include "recurrence/forward_float32.h"
#include "recurrence/layer_float32.h"

// Defines what KERASPTB_DECLARE_CELL declares (cells/cells.h), of a cell and its struct.
#define KERASPTB_DEFINE_CELL(cell, C)                                                                   \
  namespace kerasptb {                                                                                  \
  namespace KERASPTB_LEVEL {                                                                            \
  void cell##_forward(const LayerForward& a) { layer_forward(C::kCell, a, recurrence_forward<C>); }     \
  void cell##_backward(const LayerBackward& a) { layer_backward(C::kCell, a, recurrence_backward<C>); } \
  void cell##_recurrence_forward(const RecurrenceForward& a) {                                          \
    Workers workers;                                                                                    \
    recurrence_forward<C>(a, workers);                                                                  \
  }                                                                                                     \
  void cell##_recurrence_backward(const RecurrenceBackward& a) {                                        \
    Workers workers;                                                                                    \
    recurrence_backward<C>(a, workers);                                                                 \
  }                                                                                                     \
  }                                                                                                     \
  }
