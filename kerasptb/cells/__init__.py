"""Recurrent cells, a file each: names of gates and states, weights, one step, what exports and kernels need of them.

What runs a cell over a sequence is `kerasptb.ops.recurrence`, as a layer `kerasptb.layers`. A cell is a file here and a
line in `CELLS`. Shapes: B batch, D features in, H units, G gates.
"""

from kerasptb.cells.capped_lstm import CappedLSTM
from kerasptb.cells.cell import Cell
from kerasptb.cells.cifg import CIFG
from kerasptb.cells.gru import GRU
from kerasptb.cells.layer_norm_lstm import LayerNormLSTM
from kerasptb.cells.lstm import LSTM
from kerasptb.cells.mogrifier import Mogrifier

CELLS: dict[str, Cell] = {
    cell.name: cell for cell in (LSTM(), GRU(), CIFG(), CappedLSTM(), LayerNormLSTM(), Mogrifier())
}

__all__ = ["CELLS", "Cell"]
