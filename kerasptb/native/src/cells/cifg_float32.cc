#include "cells/cifg.h"
#include "recurrence/cell_float32.h"

KERASPTB_DEFINE_CELL(cifg, CifgCell)
