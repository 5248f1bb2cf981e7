#include "cells/cifg.h"
#include "recurrence/layer_float32.h"

KERASPTB_DEFINE_CELL(cifg, CifgCell)
