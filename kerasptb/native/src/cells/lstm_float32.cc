#include "cells/lstm.h"
#include "recurrence/cell_float32.h"

KERASPTB_DEFINE_CELL(lstm, LstmCell)
