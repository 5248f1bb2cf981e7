#include "cells/lstm.h"
#include "recurrence/backward_bfloat16.h"
#include "recurrence/forward_bfloat16.h"

KERASPTB_DEFINE_CELL_BFLOAT16(lstm, LstmCell)
