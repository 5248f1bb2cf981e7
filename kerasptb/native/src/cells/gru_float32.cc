#include "cells/gru.h"
#include "recurrence/cell_float32.h"

KERASPTB_DEFINE_CELL(gru, GruCell)
