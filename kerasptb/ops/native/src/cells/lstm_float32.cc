#include "cells/lstm.h"
#include "recurrence/layer_float32.h"

KERASPTB_DEFINE_CELL(lstm, LstmCell)
