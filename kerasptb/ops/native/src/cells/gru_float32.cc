#include "cells/gru.h"
#include "recurrence/layer_float32.h"

KERASPTB_DEFINE_CELL(gru, GruCell)
