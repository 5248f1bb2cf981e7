"""Cells as Keras has them, with their weights: Keras' own where it has one, else `RecurrentCell`."""

from typing import Any

import keras
from keras import ops

from kerasptb.cells import CELLS, Cell
from kerasptb.cells.gru import GRU


def class_of(cell: Cell) -> type[keras.layers.Layer] | None:
    """Returns Keras' own cell of the same weights, or `None`."""
    return {"lstm": keras.layers.LSTMCell, "gru": keras.layers.GRUCell}.get(cell.name)


def make(cell: Cell, units: int, **arguments: Any) -> keras.layers.Layer:
    """Returns a cell for `keras.layers.RNN`; arguments are those of `keras.layers.LSTMCell`."""
    arguments = {"name": f"{cell.name}_cell", **arguments}  # Keras would count them: files name weights by it
    if (own := class_of(cell)) is None:
        return RecurrentCell(cell.name, units, **arguments)
    return own(units, **arguments)


def kind_of(keras_cell: keras.layers.Layer) -> Cell | None:
    """Returns the `Cell` that one of Keras' or a `RecurrentCell` is; `None` for others, subclasses of these too."""
    if type(keras_cell) is RecurrentCell:
        return keras_cell.kind
    if type(keras_cell) is keras.layers.GRUCell:
        return CELLS["gru"] if keras_cell.reset_after else _GRU_RESET_BEFORE
    return CELLS["lstm"] if type(keras_cell) is keras.layers.LSTMCell else None


def weights_of(keras_cell: keras.layers.Layer) -> list[Any]:
    """Returns the variables of the weights in the order of `Cell.weight_shapes`; `None` for a bias that is left out."""
    kind = kind_of(keras_cell)
    return [] if kind is None else [getattr(keras_cell, name) for name in kind.weight_shapes(1, 1)]


def limit_of_activations(cell: Cell, keras_cell: keras.layers.Layer) -> str | None:
    """Returns why only Keras' loop serves a cell with these activations, or `None`."""
    served = {"activation": keras.activations.tanh, "recurrent_activation": keras.activations.sigmoid}
    found = [name for name, function in served.items() if getattr(keras_cell, name) is not function]
    values = ", ".join(f"{name}={keras.activations.serialize(getattr(keras_cell, name))!r}" for name in found)
    return f"Only Keras' loop serves {cell.title} with {values}." if found else None


def portable_layer(cell: Cell, units: int, name: str) -> keras.layers.RNN:
    """Returns a layer in plain Keras: float32, without cuDNN, state in and out."""
    inner = make(cell, units, dtype="float32")
    return keras.layers.RNN(inner, return_sequences=True, return_state=True, dtype="float32", name=name)


_NAMES = tuple(name for name in CELLS if name != "gru")
_GRU_RESET_BEFORE = GRU(reset_after=False)


@keras.saving.register_keras_serializable(package="kerasptb")
class RecurrentCell(keras.layers.LSTMCell):
    """A cell of `kerasptb.cells` that Keras lacks, for `keras.layers.RNN`: "cifg", "capped_lstm" and so on.

    Args:
        cell: its name.
        units: dimensionality H of its output.
        **kwargs: as in `keras.layers.LSTMCell`. With dropout a call draws one mask for all gates.

    Call arguments:
        inputs: float tensor [B, D].
        states: list of the tensors of its state, [B, H] each.
        training: whether dropout applies.

    Returns:
        The output [B, H], and the list of the new state.

    Raises:
        ValueError: for an unknown name.
    """

    def __init__(self, cell: str, units: int, **kwargs: Any) -> None:
        if cell not in _NAMES:
            raise ValueError(f"`cell` must be one of {_NAMES}; keras.layers.GRUCell is a GRU. Received: cell={cell!r}")
        super().__init__(units, **kwargs)
        self.kind = CELLS[cell]
        self.state_size = [units] * len(self.kind.states)
        if hasattr(self, "dropout_mask_count"):
            del self.dropout_mask_count  # the cell then draws one mask

    def build(self, input_shape: Any) -> None:
        """Makes the weights."""
        own = {"kernel": self.kernel_initializer, "recurrent_kernel": self.recurrent_initializer, "bias": self._biases}
        for name, (_, shape) in self.kind.weight_shapes(input_shape[-1], self.units).items():
            weight = None
            if self.use_bias or name != "bias":
                weight = self.add_weight(
                    shape=shape,
                    name=name,
                    initializer=own.get(name) or self.kind.initializers[name],
                    regularizer=getattr(self, f"{name.replace('_kernel', '')}_regularizer", None),
                    constraint=getattr(self, f"{name.replace('_kernel', '')}_constraint", None),
                )
            setattr(self, name, weight)
        self.built = True

    def _biases(self, shape: Any, dtype: Any = None) -> Any:
        """Ones for the forget gate with `unit_forget_bias`."""
        of_gates = {
            gate: "ones" if gate == "f" and self.unit_forget_bias else self.bias_initializer for gate in self.kind.gates
        }
        sizes = (self.units,)
        return ops.concatenate([keras.initializers.get(make)(sizes, dtype=dtype) for make in of_gates.values()])

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        """Returns the output and the state after one step."""
        draw = {
            "input_mask": (self.dropout, self.get_dropout_mask, inputs),
            "recurrent_mask": (self.recurrent_dropout, self.get_recurrent_dropout_mask, states[0]),
        }
        masks = {name: mask_of(x) for name, (rate, mask_of, x) in draw.items() if training and 0 < rate < 1}
        weights = [0 if weight is None else ops.convert_to_tensor(weight) for weight in weights_of(self)]
        state = self.kind.step(inputs, states, weights, **masks, ops=ops)
        return state[0], state

    def get_config(self) -> dict[str, Any]:
        """Returns the cell's arguments, for serialisation."""
        return {**super().get_config(), "cell": self.kind.name}
