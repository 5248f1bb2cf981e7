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
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from kerasptb.models import lstm
from kerasptb.models.language_model import LanguageModel, build_language_model
from kerasptb.utils.types import Backend, Precision

# `lstm.GATES` in the original's order.
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
    units = bias.size // len(lstm.GATES)
    width = (len(lstm.GATES) * units,)
    if units < 1 or bias.shape != width or kernel.shape[1:] != width or len(kernel) <= units:
        raise ValueError(
            "Expected a cell's weights of shapes [D + H, 4 * H] and [4 * H]. Received: "
            f"kernel.shape={kernel.shape}, bias.shape={bias.shape}"
        )
    kernel, bias = (lstm.reorder_gates(weights, _TF1_GATES, lstm.GATES) for weights in (kernel, bias))
    _forget_gate(bias)[:] += bias.dtype.type(forget_bias)
    return kernel[:-units], kernel[-units:], bias


def keras_to_basic_lstm(
    kernel: npt.ArrayLike, recurrent_kernel: npt.ArrayLike, bias: npt.ArrayLike, forget_bias: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Converts the weights of a `keras.layers.LSTM` to those of a TensorFlow 1 `BasicLSTMCell`.

    The inverse of `basic_lstm_to_keras`.

    Args:
        kernel: float [D, 4 * H], gates i, f, c, o.
        recurrent_kernel: float [H, 4 * H], gates i, f, c, o.
        bias: float [4 * H], gates i, f, c, o.
        forget_bias: constant that the cell will add to its forget gate, float; subtracted from the bias.

    Returns:
        Two float arrays, gates i, j, f, o: kernel [D + H, 4 * H], bias [4 * H].

    Raises:
        ValueError: if the shapes are not those of one layer.
    """
    kernel, recurrent_kernel, bias = np.asarray(kernel), np.asarray(recurrent_kernel), np.asarray(bias)
    units = len(recurrent_kernel)
    shapes = (kernel.shape[1:], recurrent_kernel.shape, bias.shape)
    width = len(lstm.GATES) * units
    if units < 1 or shapes != ((width,), (units, width), (width,)):
        raise ValueError(
            "Expected an LSTM's weights of shapes [D, 4 * H], [H, 4 * H] and [4 * H]. Received: "
            f"kernel.shape={kernel.shape}, recurrent_kernel.shape={recurrent_kernel.shape}, bias.shape={bias.shape}"
        )
    bias = bias.copy()
    _forget_gate(bias)[:] -= bias.dtype.type(forget_bias)
    kernel = np.concatenate([kernel, recurrent_kernel])
    kernel, bias = (lstm.reorder_gates(weights, lstm.GATES, _TF1_GATES) for weights in (kernel, bias))
    return kernel, bias


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
    prefix = _find_prefix(path)
    with _reading(path):
        reader = tf.train.load_checkpoint(prefix)
        shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
    variables = _select_variables(shapes, scope, prefix)
    sizes = _check_shapes(variables, shapes, prefix)
    with _reading(path):
        arrays = {name: np.asarray(reader.get_tensor(name), "float32") for name in variables.names()}

    model = build_language_model(
        batch_size=batch_size,
        num_steps=num_steps,
        keep_prob=keep_prob,
        backend=backend,
        precision=precision,
        **sizes,
    )
    model.get_layer("embedding").set_weights([arrays[variables.embedding]])
    for i, (kernel, bias) in enumerate(zip(variables.kernels, variables.biases, strict=True)):
        weights = basic_lstm_to_keras(arrays[kernel], arrays[bias], forget_bias)
        model.get_layer(lstm.layer_name(i)).set_weights(weights)
    model.get_layer("logits").set_weights([arrays[variables.softmax_w], arrays[variables.softmax_b]])
    return model


class _Variables(NamedTuple):
    """The names of the model's variables in the checkpoint."""

    embedding: str
    kernels: list[str]  # one for each layer
    biases: list[str]
    softmax_w: str
    softmax_b: str

    def names(self):
        return [self.embedding, *self.kernels, *self.biases, self.softmax_w, self.softmax_b]


def _forget_gate(bias):
    """Returns the forget gate's part of a bias in Keras' order, a view [H]."""
    return np.split(bias, len(lstm.GATES))[lstm.GATES.index("f")]


def _find_prefix(path: str | os.PathLike[str]) -> str:
    """Returns the prefix of the checkpoint's files for a prefix, a file or a folder."""
    text = os.fspath(path)
    if Path(text).is_dir():
        prefix = tf.train.latest_checkpoint(text)
        if prefix:
            return prefix
        # The file `checkpoint` may name a folder of the machine that wrote it. A single checkpoint is taken anyway.
        prefixes = [str(index.with_suffix("")) for index in sorted(Path(text).glob("*.index"))]
        if len(prefixes) == 1:
            return prefixes[0]
        found = ", ".join(prefixes) if prefixes else "no checkpoint"
        raise FileNotFoundError(
            "Expected a folder with one checkpoint, or whose file 'checkpoint' names one that is there. "
            f"Found: {found}. Received: path={path!r}"
        )
    prefix = _CHECKPOINT_FILE.sub("", text)
    if not (Path(prefix + ".index").is_file() or Path(prefix).is_file()):
        raise FileNotFoundError(
            f"There is no TensorFlow 1 checkpoint here: expected {prefix!r} to be the prefix of files "
            f"'{Path(prefix).name}.index' and '{Path(prefix).name}.data-00000-of-00001'. Received: path={path!r}"
        )
    return prefix


@contextlib.contextmanager
def _reading(path):
    """Turns TensorFlow's errors for damaged files into a ValueError of one line."""
    try:
        yield
    except (tf.errors.OpError, RuntimeError, IndexError) as error:  # IndexError: its translation of "out of range"
        raise ValueError(
            f"The checkpoint cannot be read: its files are incomplete or damaged ({error}). Received: path={path!r}"
        ) from error


def _select_variables(shapes: Mapping[str, tuple], scope: str | None, prefix: str) -> _Variables:
    """Finds the model's variables by their names, or raises ValueError with what was found."""
    names = sorted(shapes)
    if scope is not None:
        names = [name for name in names if name.startswith(scope.rstrip("/") + "/")]
        if not names:
            raise ValueError(
                f"The checkpoint {prefix!r} has no variable under the scope. "
                f"{_found(shapes, shapes)} Received: scope={scope!r}"
            )

    def only(matches, what):
        if not matches:
            raise ValueError(f"The checkpoint {prefix!r} has no variable {what}. {_found(names, shapes)}")
        if len(matches) > 1:
            raise ValueError(
                f"The checkpoint {prefix!r} has several variables for the same place, "
                f"{', '.join(repr(match.string) for match in matches)}: name the scope of the model that is meant. "
                f"Received: scope={scope!r}"
            )
        return matches[0]

    def of_layer(matches, layer, what, shape):
        wanted = f"'rnn/multi_rnn_cell/cell_{layer}/basic_lstm_cell/{what}' {shape}, the {what} of layer {layer}"
        return only([match for match in matches if _layer_of(match) == layer], wanted)

    def all_of(pattern):
        return [match for match in map(pattern.search, names) if match]

    embedding = only(all_of(_EMBEDDING), "'embedding' [V, D]")
    kernels, biases = [], []
    of_kernels, of_biases = all_of(_KERNEL), all_of(_BIAS)
    for layer in range(max(map(_layer_of, of_kernels + of_biases), default=0) + 1):
        kernels.append(of_layer(of_kernels, layer, "kernel", "[D + H, 4 * H]"))
        biases.append(of_layer(of_biases, layer, "bias", "[4 * H]"))
        _check_plain_cell(kernels[-1]["cell"], names, shapes, prefix)
    return _Variables(
        embedding=embedding.string,
        kernels=[match.string for match in kernels],
        biases=[match.string for match in biases],
        softmax_w=only(all_of(_SOFTMAX_W), "'softmax_w' [H, V]").string,
        softmax_b=only(all_of(_SOFTMAX_B), "'softmax_b' [V]").string,
    )


def _layer_of(match):
    """Returns the number of the layer of a kernel or a bias: the last one in its cell's name, 0 without any."""
    return int([0, *_LAYER.findall(match["cell"])][-1])


def _check_plain_cell(cell: str, names: Iterable[str], shapes: Mapping[str, tuple], prefix: str) -> None:
    """Raises ValueError if the cell has variables that would be lost: peepholes, a projection, layer normalization."""
    inside = [name for name in names if name.startswith(cell + "/")]
    extra = [name for name in inside if not _INSIDE_PLAIN_CELL.match(name[len(cell) + 1 :])]
    if extra:
        raise ValueError(
            f"The cell {cell!r} of the checkpoint {prefix!r} is not a plain LSTM: expected a kernel and a bias and "
            f"nothing else. {_found(inside, shapes)}"
        )


def _check_shapes(variables: _Variables, shapes: Mapping[str, tuple], prefix: str) -> dict:
    """Returns the size arguments of `build_language_model`, or raises ValueError for a variable of a wrong shape."""

    def expect(name, shape, because):
        if shapes[name] != shape:
            raise ValueError(
                f"The variable {name!r} of the checkpoint {prefix!r} should have shape {shape}: {because}. "
                f"Received: shape={shapes[name]}"
            )

    table = shapes[variables.embedding]
    if len(table) != 2:
        raise ValueError(
            f"The variable {variables.embedding!r} of the checkpoint {prefix!r} should have shape [V, D]. "
            f"Received: shape={table}"
        )
    vocabulary_size, embedding_size = table
    features, units = embedding_size, []
    source = f"D is the width of {variables.embedding!r}"
    for kernel, bias in zip(variables.kernels, variables.biases, strict=True):
        size = max(1, shapes[kernel][-1] // len(lstm.GATES)) if shapes[kernel] else 1
        width = len(lstm.GATES) * size
        expect(kernel, (features + size, width), f"[D + H, 4 * H], where {source}")
        expect(bias, (width,), f"[4 * H], as wide as {kernel!r}")
        units.append(size)
        features, source = size, f"D is the H of {kernel!r}"
    expect(variables.softmax_w, (features, vocabulary_size), "[H of the last LSTM, V of the embedding]")
    expect(variables.softmax_b, (vocabulary_size,), "[V of the embedding]")
    return {"vocabulary_size": vocabulary_size, "embedding_size": embedding_size, "units": tuple(units)}


def _found(names: Iterable[str], shapes: Mapping[str, tuple]) -> str:
    """Returns the names and shapes as the 'Found: ...' of a message."""
    listed = [f"{name} {list(shapes[name])}" for name in sorted(names)]
    more = f", and {len(listed) - _MAX_LISTED} more" if len(listed) > _MAX_LISTED else ""
    return f"Found: {', '.join(listed[:_MAX_LISTED]) or 'nothing'}{more}."
