#include "cells/gru_reset_before.h"
#include "recurrence/cell_float32.h"

KERASPTB_DEFINE_CELL(gru_reset_before, GruResetBeforeCell)
