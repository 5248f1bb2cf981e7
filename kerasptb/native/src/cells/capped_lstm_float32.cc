#include "cells/capped_lstm.h"
#include "recurrence/cell_float32.h"

KERASPTB_DEFINE_CELL(capped_lstm, CappedLstmCell)
