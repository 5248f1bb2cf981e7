"""Loads the weights of the original TensorFlow 1 graph: a checkpoint of the PTB tutorial becomes a `LanguageModel`.

Shapes: D features in, H units, V vocabulary.

The original keeps one kernel and one bias for each LSTM, with the four gates side by side. Keras splits the kernel into
the rows that multiply the input and those that multiply the hidden state, and orders the gates differently. The
original cell also adds a constant to its forget gate at every step. Keras has none, so the bias includes it:

    BasicLSTMCell                                 keras.layers.LSTM
    kernel  [D + H, 4 * H]   i  j  f  o           kernel            [D, 4 * H]   i  f                c  o
    bias    [4 * H]          i  j  f  o           recurrent_kernel  [H, 4 * H]   i  f                c  o
    forget_bias              a constant           bias              [4 * H]      i  f + forget_bias  c  o

j and c are two names for the candidate of the cell state. TensorFlow 1's `LSTMCell` and `LSTMBlockCell`, which later
versions of the tutorial use, store their weights as `BasicLSTMCell` does.
"""

import contextlib
import os
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from kerasptb.cells import CELLS
from kerasptb.cells.cell import reorder_gates
from kerasptb.models.language_model import LanguageModel, build_language_model
from kerasptb.utils.types import Backend, Precision

_LSTM = CELLS["lstm"]
# `_LSTM.gates` in the original's order.
_TF1_GATES = "icfo"

# These match the end of a name. So any scope may come first, and optimizer slots (".../kernel/Momentum"), moving
# averages and counters ("global_step") do not match. The second spellings are of older TensorFlow 1 and of notebooks.
_EMBEDDING = re.compile(r"(?:^|/)(?:embedding|embeddings|embedding_vocab)$")
_SOFTMAX_W = re.compile(r"(?:^|/)softmax_w$")
_SOFTMAX_B = re.compile(r"(?:^|/)softmax_b$")
_CELL = r"(?P<cell>(?:^|.*/)[^/]*lstm_?(?:block_?)?cell[^/]*)/(?:linear/)?"
_KERNEL = re.compile(_CELL + r"(?:kernel|weights|matrix)$", re.IGNORECASE)
_BIAS = re.compile(_CELL + r"(?:bias|biases)$", re.IGNORECASE)
_LAYER = re.compile(r"(?:^|/)cell_?(\d+)(?=/|$)", re.IGNORECASE)
# The variables that a plain cell may have: the kernel, the bias and their slots.
_INSIDE_PLAIN_CELL = re.compile(r"(?:linear/)?(?:kernel|weights|matrix|bias|biases)(?:/|$)", re.IGNORECASE)

_CHECKPOINT_FILE = re.compile(r"\.(?:index|meta|data-\d+-of-\d+)$")
_MAX_LISTED = 30


def basic_lstm_to_keras(
    kernel: npt.ArrayLike, bias: npt.ArrayLike, forget_bias: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Converts the weights of a TensorFlow 1 `BasicLSTMCell` to those of a `keras.layers.LSTM`.

    Args:
        kernel: float [D + H, 4 * H], gates i, j, f, o.
        bias: float [4 * H], gates i, j, f, o.
        forget_bias: constant that the cell adds to its forget gate, float. The tutorial's is 0, the cell's default is
            1. It is an argument of the cell and is not in the checkpoint.

    Returns:
        Three float arrays in the order of `LSTM.get_weights()`, gates i, f, c, o: kernel [D, 4 * H],
        recurrent_kernel [H, 4 * H], bias [4 * H].

    Raises:
        ValueError: if the shapes are not those of one cell.
    """
    kernel, bias = np.asarray(kernel), np.asarray(bias)
    units = bias.size // len(_LSTM.gates)
    width = (len(_LSTM.gates) * units,)
    if units < 1 or bias.shape != width or kernel.shape[1:] != width or len(kernel) <= units:
        raise ValueError(
            "Expected a cell's weights of shapes [D + H, 4 * H] and [4 * H]. Received: "
            f"kernel.shape={kernel.shape}, bias.shape={bias.shape}"
        )
    kernel, bias = (reorder_gates(weights, _TF1_GATES, _LSTM.gates) for weights in (kernel, bias))
    forget_gate = np.split(bias, len(_LSTM.gates))[_LSTM.gates.index("f")]  # a view
    forget_gate += bias.dtype.type(forget_bias)
    return kernel[:-units], kernel[-units:], bias


def load_tf1_checkpoint(
    path: str | os.PathLike[str],
    batch_size: int = 60,
    num_steps: int = 20,
    *,
    keep_prob: float = 1.0,
    forget_bias: float = 0.0,
    scope: str | None = None,
    backend: Backend = "auto",
    precision: Precision | None = None,
) -> LanguageModel:
    """Builds a `LanguageModel` with the weights of a checkpoint that the original TensorFlow 1 graph saved.

    The number of layers and every size follow from the shapes of the variables, which may be in any scope:
    `model/embedding`, `model/rnn/multi_rnn_cell/cell_0/basic_lstm_cell/kernel` and `.../bias` of each layer,
    `model/softmax_w`, `model/softmax_b`, or the older spellings of the same. Everything else in the checkpoint
    (optimizer slots, `global_step`, the learning rate) is ignored. Weights of other float types become float32.

    Args:
        path: the checkpoint's prefix (`run/model.ckpt-1000`), one of its files, or the folder of its `checkpoint` file.
        batch_size: B of the model, int.
        num_steps: T of the model, int.
        keep_prob: probability that dropout keeps a value in further training, float in (0, 1].
        forget_bias: constant that the graph's cells add to their forget gates, float. The tutorial's is 0. A graph
            with `BasicLSTMCell`'s default has 1. The checkpoint does not say; a wrong value gives a poor perplexity.
        scope: scope of the variables to use, for a checkpoint that holds several models; `None` uses all variables.
        backend: the LSTM layers' implementation, as in `build_language_model`.
        precision: the LSTM layers' precision, as in `build_language_model`.

    Returns:
        The `LanguageModel`, not compiled, with a zero recurrent state.

    Raises:
        FileNotFoundError: if there is no checkpoint at `path`.
        ValueError: if the checkpoint cannot be read, or a variable is missing, has a wrong shape or is not unique.

    Example:
        ```python
        model = kerasptb.load_tf1_checkpoint("run/model.ckpt-1000", batch_size=60)
        model.compile()
        model.evaluate(kerasptb.make_dataset(corpus.test, batch_size=60, num_steps=20))
        ```
    """
    checkpoint = _Checkpoint(path, scope)
    variables = _find_variables(checkpoint)
    sizes = _check_shapes(checkpoint, variables)
    model = build_language_model(
        batch_size=batch_size, num_steps=num_steps, keep_prob=keep_prob, backend=backend, precision=precision, **sizes
    )
    cells = [_LSTM.layer_name(i) for i in range(len(model.units))]
    for layer, names in variables.items():
        arrays = [checkpoint.read(name) for name in names]
        weights = basic_lstm_to_keras(arrays[0], arrays[1], forget_bias) if layer in cells else arrays
        model.get_layer(layer).set_weights(weights)
    return model


class _Checkpoint:
    """The variables of a checkpoint, those of a scope."""

    def __init__(self, path, scope):
        self._path, self._scope, self._prefix = path, scope, _find_prefix(path)
        with self._reading():
            self._reader = tf.train.load_checkpoint(self._prefix)
            shapes = {name: tuple(shape) for name, shape in self._reader.get_variable_to_shape_map().items()}
        under = "" if scope is None else f"{scope.rstrip('/')}/"
        self.shapes = {name: shapes[name] for name in sorted(shapes) if name.startswith(under)}
        if under and not self.shapes:
            raise ValueError(
                f"The checkpoint {self._prefix!r} has no variable under the scope. {_found(shapes)} "
                f"Received: scope={scope!r}"
            )

    def read(self, name):
        """Returns a variable, float32."""
        with self._reading():
            return np.asarray(self._reader.get_tensor(name), "float32")

    def find(self, pattern, layer=None):
        """Returns the matches of a pattern among the names of variables, those of a layer if its number is given."""
        matches = filter(None, map(pattern.search, self.shapes))
        return [match for match in matches if layer is None or _layer_of(match) == layer]

    def only(self, pattern, what, layer=None):
        """Returns the name of the one variable that matches; raises ValueError with what was found."""
        names = [match.string for match in self.find(pattern, layer)]
        if not names:
            raise ValueError(f"The checkpoint {self._prefix!r} has no variable {what}. {_found(self.shapes)}")
        if len(names) > 1:
            raise ValueError(
                f"The checkpoint {self._prefix!r} has several variables for the same place, "
                f"{', '.join(map(repr, names))}: name the scope of the model that is meant. "
                f"Received: scope={self._scope!r}"
            )
        return names[0]

    def check_plain_cell(self, cell):
        """Raises ValueError if a cell has variables that would be lost: peepholes, a projection, normalization."""
        inside = {name: shape for name, shape in self.shapes.items() if name.startswith(f"{cell}/")}
        if not all(_INSIDE_PLAIN_CELL.match(name[len(cell) + 1 :]) for name in inside):
            raise ValueError(
                f"The cell {cell!r} of the checkpoint {self._prefix!r} is not a plain LSTM: expected a kernel and a "
                f"bias and nothing else. {_found(inside)}"
            )

    def check_shape(self, name, shape, because):
        """Raises ValueError for a variable of another shape."""
        if self.shapes[name] != shape:
            raise ValueError(
                f"The variable {name!r} of the checkpoint {self._prefix!r} should have shape {shape}: {because}. "
                f"Received: shape={self.shapes[name]}"
            )

    @contextlib.contextmanager
    def _reading(self):
        """Turns TensorFlow's errors for damaged files into a ValueError of one line."""
        try:
            yield
        except (tf.errors.OpError, RuntimeError, IndexError) as error:  # IndexError: its translation of "out of range"
            raise ValueError(
                f"The checkpoint cannot be read: its files are incomplete or damaged ({error}). "
                f"Received: path={self._path!r}"
            ) from error


def _find_prefix(path):
    """Returns the prefix of the checkpoint's files for a prefix, a file or a folder."""
    text = os.fspath(path)
    if Path(text).is_dir():
        latest = tf.train.latest_checkpoint(text)
        # The file `checkpoint` may name a folder of the machine that wrote it. A single checkpoint is taken anyway.
        prefixes = [latest] if latest else [str(index.with_suffix("")) for index in sorted(Path(text).glob("*.index"))]
        if len(prefixes) != 1:
            raise FileNotFoundError(
                "Expected a folder with one checkpoint, or whose file 'checkpoint' names one that is there. "
                f"Found: {', '.join(prefixes) or 'no checkpoint'}. Received: path={path!r}"
            )
        return prefixes[0]
    prefix = _CHECKPOINT_FILE.sub("", text)
    if not (Path(prefix + ".index").is_file() or Path(prefix).is_file()):
        raise FileNotFoundError(
            f"There is no TensorFlow 1 checkpoint here: expected {prefix!r} to be the prefix of files "
            f"'{Path(prefix).name}.index' and '{Path(prefix).name}.data-00000-of-00001'. Received: path={path!r}"
        )
    return prefix


def _find_variables(checkpoint):
    """Returns the names of the variables of each layer that has some, by the name of the layer."""
    variables = {"embedding": [checkpoint.only(_EMBEDDING, "'embedding' [V, D]")]}
    matches = checkpoint.find(_KERNEL) + checkpoint.find(_BIAS)
    for i in range(max(map(_layer_of, matches), default=0) + 1):
        kernel, bias = (f"'rnn/multi_rnn_cell/cell_{i}/basic_lstm_cell/{name}'" for name in ("kernel", "bias"))
        variables[_LSTM.layer_name(i)] = [
            checkpoint.only(_KERNEL, f"{kernel} [D + H, 4 * H], the kernel of layer {i}", i),
            checkpoint.only(_BIAS, f"{bias} [4 * H], the bias of layer {i}", i),
        ]
        checkpoint.check_plain_cell(checkpoint.find(_KERNEL, i)[0]["cell"])
    softmax_w = checkpoint.only(_SOFTMAX_W, "'softmax_w' [H, V]")
    return {**variables, "logits": [softmax_w, checkpoint.only(_SOFTMAX_B, "'softmax_b' [V]")]}


def _layer_of(match):
    """Returns the number of the layer of a kernel or a bias: the last one in its cell's name, 0 without any."""
    return int([0, *_LAYER.findall(match["cell"])][-1])


def _check_shapes(checkpoint, variables):
    """Returns the size arguments of `build_language_model`; raises ValueError for a variable of a wrong shape."""
    (embedding,), *cells, (softmax_w, softmax_b) = variables.values()
    table = checkpoint.shapes[embedding]
    if len(table) != 2:
        checkpoint.check_shape(embedding, "[V, D]", "a row for each word")
    vocabulary_size, features = table
    units, source = [], f"D is the width of {embedding!r}"
    for kernel, bias in cells:
        *_, width = checkpoint.shapes[kernel] or (0,)
        size = max(1, width // len(_LSTM.gates))
        width = len(_LSTM.gates) * size
        checkpoint.check_shape(kernel, (features + size, width), f"[D + H, 4 * H], where {source}")
        checkpoint.check_shape(bias, (width,), f"[4 * H], as wide as {kernel!r}")
        units.append(size)
        features, source = size, f"D is the H of {kernel!r}"
    checkpoint.check_shape(softmax_w, (features, vocabulary_size), "[H of the last LSTM, V of the embedding]")
    checkpoint.check_shape(softmax_b, (vocabulary_size,), "[V of the embedding]")
    return {"vocabulary_size": vocabulary_size, "embedding_size": table[1], "units": tuple(units)}


def _found(shapes):
    """Returns names with their shapes as the 'Found: ...' of a message."""
    listed = [f"{name} {list(shapes[name])}" for name in sorted(shapes)]
    more = f", and {len(listed) - _MAX_LISTED} more" if len(listed) > _MAX_LISTED else ""
    return f"Found: {', '.join(listed[:_MAX_LISTED]) or 'nothing'}{more}."
