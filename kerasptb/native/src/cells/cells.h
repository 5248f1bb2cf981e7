// The recurrent cells that have kernels: what differs between them is a pointwise step, which a header for each has
// (lstm.h, gru.h, cifg.h and so on); the rest is in recurrence/.
#pragma once

#include "common/cpu.h"
#include "recurrence/layer.h"
#include "recurrence/recurrence.h"

namespace kerasptb {

// Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber & Cummins 2000, no peepholes.
constexpr Cell kLstm{"lstm", 4, 1, true};
// Cho et al. 2014, with the reset gate after the product, as cuDNN and Keras by default have it.
constexpr Cell kGru{"gru", 3, 2, false};
// With the reset gate before the product, as in the paper: the candidate has a product of its own.
constexpr Cell kGruResetBefore{"gru_reset_before", 3, 1, false, 1};
// Coupled input and forget gate: Greff et al. 2015.
constexpr Cell kCifg{"cifg", 3, 1, true};
// Input gate of at most 1 - f: Melis, Dyer & Blunsom 2018.
constexpr Cell kCappedLstm{"capped_lstm", 4, 1, true};

// Calls a macro for each of them: of the name that their functions have, and of that of their constants and types.
#define KERASPTB_FOR_EACH_CELL_IN_BFLOAT16(macro) \
  macro(lstm, Lstm) macro(gru, Gru) macro(cifg, Cifg) macro(capped_lstm, CappedLstm)
#define KERASPTB_FOR_EACH_CELL(macro) KERASPTB_FOR_EACH_CELL_IN_BFLOAT16(macro) macro(gru_reset_before, GruResetBefore)

// All throw std::bad_alloc. In bfloat16 `parts` is 1 or 2; call them only where cpu_level() is at least the
// namespace's.
#define KERASPTB_DECLARE_CELL(cell, Name)                                    \
  KERASPTB_DECLARE(void cell##_forward(const LayerForward&))                 \
  KERASPTB_DECLARE(void cell##_backward(const LayerBackward&))               \
  KERASPTB_DECLARE(void cell##_recurrence_forward(const RecurrenceForward&)) \
  KERASPTB_DECLARE(void cell##_recurrence_backward(const RecurrenceBackward&))
#define KERASPTB_DECLARE_CELL_IN_BFLOAT16(cell, Name)                            \
  KERASPTB_DECLARE_BFLOAT16(void cell##_forward(int parts, const LayerForward&)) \
  KERASPTB_DECLARE_BFLOAT16(void cell##_backward(int parts, const LayerBackward&))
KERASPTB_FOR_EACH_CELL(KERASPTB_DECLARE_CELL)
KERASPTB_FOR_EACH_CELL_IN_BFLOAT16(KERASPTB_DECLARE_CELL_IN_BFLOAT16)
#undef KERASPTB_DECLARE_CELL
#undef KERASPTB_DECLARE_CELL_IN_BFLOAT16

}  // namespace kerasptb
