"""A checkpoint of the TensorFlow 1 tutorial becomes a model: the same numbers, in other places.

    python examples/13_tf1_checkpoint.py [run/model.ckpt-1000] [--scope SCOPE] [--forget-bias 0] [--out model.keras]

The original keeps one kernel and one bias for each LSTM, with the four gates side by side. Keras splits the kernel into
the rows that multiply the input and those that multiply the hidden state, and orders the gates differently. The
original cell also adds a constant to its forget gate at every step. Keras has none, so the bias includes it. With D
features in and H units:

    BasicLSTMCell                                 keras.layers.LSTM
    kernel  [D + H, 4 * H]   i  j  f  o           kernel            [D, 4 * H]   i  f                c  o
    bias    [4 * H]          i  j  f  o           recurrent_kernel  [H, 4 * H]   i  f                c  o
    forget_bias              a constant           bias              [4 * H]      i  f + forget_bias  c  o

j and c are two names for the candidate of the cell state. TensorFlow 1's `LSTMCell` and `LSTMBlockCell`, which later
versions of the tutorial use, store their weights as `BasicLSTMCell` does. Without a checkpoint the script makes one.

Prints, without one:

    model/embedding (11, 5)
        -> embedding (11, 5)
    model/rnn/multi_rnn_cell/cell_0/basic_lstm_cell/kernel (9, 16)
    model/rnn/multi_rnn_cell/cell_0/basic_lstm_cell/bias (16,)
        -> lstm_0 (5, 16), (4, 16), (16,)
    model/rnn/multi_rnn_cell/cell_1/basic_lstm_cell/kernel (7, 12)
    model/rnn/multi_rnn_cell/cell_1/basic_lstm_cell/bias (12,)
        -> lstm_1 (4, 12), (3, 12), (12,)
    model/softmax_w (3, 11)
    model/softmax_b (11,)
        -> logits (3, 11), (11,)
"""

import argparse
import contextlib
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

import kerasptb

# These match the end of a name. So any scope may come first, and optimizer slots (".../kernel/Momentum"), moving
# averages and counters ("global_step") do not match. The second spellings are of older TensorFlow 1 and of notebooks.
EMBEDDING = re.compile(r"(?:^|/)(?:embedding|embeddings|embedding_vocab)$")
SOFTMAX_W = re.compile(r"(?:^|/)softmax_w$")
SOFTMAX_B = re.compile(r"(?:^|/)softmax_b$")
CELL = r"(?P<cell>(?:^|.*/)[^/]*lstm_?(?:block_?)?cell[^/]*)/(?:linear/)?"
KERNEL = re.compile(CELL + r"(?:kernel|weights|matrix)$", re.IGNORECASE)
BIAS = re.compile(CELL + r"(?:bias|biases)$", re.IGNORECASE)
LAYER = re.compile(r"(?:^|/)cell_?(\d+)(?=/|$)", re.IGNORECASE)
# The variables that a plain cell may have: the kernel, the bias and their slots.
INSIDE_PLAIN_CELL = re.compile(r"(?:linear/)?(?:kernel|weights|matrix|bias|biases)(?:/|$)", re.IGNORECASE)

CHECKPOINT_FILE = re.compile(r"\.(?:index|meta|data-\d+-of-\d+)$")
MAX_LISTED = 30


def basic_lstm_to_keras(kernel, bias, forget_bias=0.0):
    """Returns kernel, recurrent kernel and bias of a `keras.layers.LSTM` for those of a `BasicLSTMCell`."""
    kernel, bias = np.asarray(kernel), np.asarray(bias)
    units = bias.size // 4
    if units < 1 or bias.shape != (4 * units,) or kernel.shape[1:] != bias.shape or len(kernel) <= units:
        raise ValueError(
            "Expected a cell's weights of shapes [D + H, 4 * H] and [4 * H]. Received: "
            f"kernel.shape={kernel.shape}, bias.shape={bias.shape}"
        )
    (i, j, f, o), of_bias = np.split(kernel, 4, axis=1), np.split(bias, 4)
    kernel = np.concatenate([i, f, j, o], axis=1)
    i, j, f, o = of_bias
    return kernel[:-units], kernel[-units:], np.concatenate([i, f + bias.dtype.type(forget_bias), j, o])


def load_tf1_checkpoint(path, batch_size=60, num_steps=20, *, forget_bias=0.0, scope=None, **arguments):
    """Returns a `LanguageModel`, not compiled, with the weights of a checkpoint that the original graph saved.

    The number of layers and every size follow from the shapes of the variables. Everything else in the checkpoint
    (optimizer slots, `global_step`, the learning rate) is ignored. Weights of other float types become float32.

    Args:
        path: the checkpoint's prefix (`run/model.ckpt-1000`), one of its files, or the folder of its `checkpoint` file.
        batch_size: B of the model.
        num_steps: T of the model.
        forget_bias: constant that the graph's cells add to their forget gates. The tutorial's is 0. A graph with
            `BasicLSTMCell`'s default has 1. The checkpoint does not say; a wrong value gives a poor perplexity.
        scope: scope of the variables to use, for a checkpoint that holds several models; `None` uses all variables.
        **arguments: further arguments of `LanguageModel`.

    Raises:
        FileNotFoundError: if there is no checkpoint at `path`.
        ValueError: if the checkpoint cannot be read, or a variable is missing, has a wrong shape or is not unique.
    """
    checkpoint = Checkpoint(path, scope)
    sizes = checkpoint.check_shapes()
    model = kerasptb.build_language_model(batch_size=batch_size, num_steps=num_steps, **sizes, **arguments)
    for layer, names in checkpoint.layers.items():
        weights = [checkpoint.read(name) for name in names]
        if layer.startswith("lstm"):
            weights = basic_lstm_to_keras(*weights, forget_bias)
        model.get_layer(layer).set_weights(weights)
    return model


class Checkpoint:
    """The variables of a checkpoint, those of a scope: `shapes` by name, and the names by our layer in `layers`."""

    def __init__(self, path, scope=None):
        self.path, self.scope, self.prefix = path, scope, find_prefix(path)
        with self.reading():
            self.reader = tf.train.load_checkpoint(self.prefix)
            shapes = {name: tuple(shape) for name, shape in self.reader.get_variable_to_shape_map().items()}
        under = "" if scope is None else f"{scope.rstrip('/')}/"
        self.shapes = {name: shapes[name] for name in sorted(shapes) if name.startswith(under)}
        if under and not self.shapes:
            raise ValueError(
                f"The checkpoint {self.prefix!r} has no variable under the scope. {found(shapes)} "
                f"Received: scope={scope!r}"
            )
        self.layers = self.find_layers()

    @contextlib.contextmanager
    def reading(self):
        """Turns TensorFlow's errors for damaged files into a ValueError of one line."""
        try:
            yield
        except (tf.errors.OpError, RuntimeError, IndexError) as error:  # IndexError: its translation of "out of range"
            raise ValueError(
                f"The checkpoint cannot be read: its files are incomplete or damaged ({error}). "
                f"Received: path={self.path!r}"
            ) from error

    def read(self, name):
        """Returns a variable, float32."""
        with self.reading():
            return np.asarray(self.reader.get_tensor(name), "float32")

    def find(self, pattern, layer=None):
        """Returns the matches of a pattern among the names of variables, those of a layer if its number is given."""
        matches = filter(None, map(pattern.search, self.shapes))
        return [match for match in matches if layer is None or layer_of(match) == layer]

    def only(self, pattern, what, layer=None):
        """Returns the name of the one variable that matches; raises ValueError with what was found."""
        names = [match.string for match in self.find(pattern, layer)]
        if not names:
            raise ValueError(f"The checkpoint {self.prefix!r} has no variable {what}. {found(self.shapes)}")
        if len(names) > 1:
            raise ValueError(
                f"The checkpoint {self.prefix!r} has several variables for the same place, "
                f"{', '.join(map(repr, names))}: name the scope of the model that is meant. "
                f"Received: scope={self.scope!r}"
            )
        return names[0]

    def find_layers(self):
        """Returns the names of the variables of each layer that has some, by the name of ours."""
        layers = {"embedding": [self.only(EMBEDDING, "'embedding' [V, D]")]}
        matches = self.find(KERNEL) + self.find(BIAS)
        for i in range(max(map(layer_of, matches), default=0) + 1):
            kernel, bias = (f"'rnn/multi_rnn_cell/cell_{i}/basic_lstm_cell/{name}'" for name in ("kernel", "bias"))
            layers[f"lstm_{i}"] = [
                self.only(KERNEL, f"{kernel} [D + H, 4 * H], the kernel of layer {i}", i),
                self.only(BIAS, f"{bias} [4 * H], the bias of layer {i}", i),
            ]
            self.check_plain_cell(self.find(KERNEL, i)[0]["cell"])
        softmax_w = self.only(SOFTMAX_W, "'softmax_w' [H, V]")
        return {**layers, "logits": [softmax_w, self.only(SOFTMAX_B, "'softmax_b' [V]")]}

    def check_plain_cell(self, cell):
        """Raises ValueError if a cell has variables that would be lost: peepholes, a projection, normalization."""
        inside = {name: shape for name, shape in self.shapes.items() if name.startswith(f"{cell}/")}
        if not all(INSIDE_PLAIN_CELL.match(name[len(cell) + 1 :]) for name in inside):
            raise ValueError(
                f"The cell {cell!r} of the checkpoint {self.prefix!r} is not a plain LSTM: expected a kernel and a "
                f"bias and nothing else. {found(inside)}"
            )

    def check_shapes(self):
        """Returns the sizes for `build_language_model`; raises ValueError for a variable of a wrong shape."""
        (embedding,), *cells, (softmax_w, softmax_b) = self.layers.values()
        if len(self.shapes[embedding]) != 2:
            self.check_shape(embedding, "[V, D]", "a row for each word")
        vocabulary_size, features = self.shapes[embedding]
        sizes = {"vocabulary_size": vocabulary_size, "embedding_size": features}
        units, source = [], f"D is the width of {embedding!r}"
        for kernel, bias in cells:
            *_, width = self.shapes[kernel] or (0,)
            size = max(1, width // 4)
            self.check_shape(kernel, (features + size, 4 * size), f"[D + H, 4 * H], where {source}")
            self.check_shape(bias, (4 * size,), f"[4 * H], as wide as {kernel!r}")
            units.append(size)
            features, source = size, f"D is the H of {kernel!r}"
        self.check_shape(softmax_w, (features, vocabulary_size), "[H of the last LSTM, V of the embedding]")
        self.check_shape(softmax_b, (vocabulary_size,), "[V of the embedding]")
        return {**sizes, "units": units}

    def check_shape(self, name, shape, because):
        """Raises ValueError for a variable of another shape."""
        if self.shapes[name] != shape:
            raise ValueError(
                f"The variable {name!r} of the checkpoint {self.prefix!r} should have shape {shape}: {because}. "
                f"Received: shape={self.shapes[name]}"
            )


def find_prefix(path):
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
    prefix = CHECKPOINT_FILE.sub("", text)
    if not (Path(prefix + ".index").is_file() or Path(prefix).is_file()):
        raise FileNotFoundError(
            f"There is no TensorFlow 1 checkpoint here: expected {prefix!r} to be the prefix of files "
            f"'{Path(prefix).name}.index' and '{Path(prefix).name}.data-00000-of-00001'. Received: path={path!r}"
        )
    return prefix


def layer_of(match):
    """Returns the number of the layer of a kernel or a bias: the last one in its cell's name, 0 without any."""
    return int([0, *LAYER.findall(match["cell"])][-1])


def found(shapes):
    """Returns names with their shapes as the 'Found: ...' of a message."""
    listed = [f"{name} {list(shapes[name])}" for name in sorted(shapes)]
    more = f", and {len(listed) - MAX_LISTED} more" if len(listed) > MAX_LISTED else ""
    return f"Found: {', '.join(listed[:MAX_LISTED]) or 'nothing'}{more}."


def write_checkpoint(prefix):
    """Writes a small checkpoint with the names of the original, as TensorFlow 1 does."""
    sizes = {"embedding": (11, 5), "softmax_w": (3, 11), "softmax_b": (11,)}
    for i, (features, units) in enumerate([(5, 4), (4, 3)]):
        cell = f"rnn/multi_rnn_cell/cell_{i}/basic_lstm_cell"
        sizes |= {f"{cell}/kernel": (features + units, 4 * units), f"{cell}/bias": (4 * units,)}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, size in sizes.items():
            tf.compat.v1.Variable(np.zeros(size, "float32"), name=f"model/{name}")
        session.run(tf.compat.v1.global_variables_initializer())
        return tf.compat.v1.train.Saver().save(session, prefix)


def main(argv=None):
    parser = argparse.ArgumentParser(description="Load a checkpoint of the TensorFlow 1 tutorial.")
    parser.add_argument("checkpoint", nargs="?", help="its prefix, a file of it or its folder (default: a small one)")
    parser.add_argument("--scope", help="of the variables, if the checkpoint holds several models")
    parser.add_argument("--forget-bias", type=float, default=0.0, help="what the cells add to their forget gates")
    parser.add_argument("--out", help="the .keras file to write")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        path = options.checkpoint or write_checkpoint(f"{folder}/model.ckpt")
        checkpoint = Checkpoint(path, options.scope)
        model = load_tf1_checkpoint(path, forget_bias=options.forget_bias, scope=options.scope)
    for layer, names in checkpoint.layers.items():
        print(*(f"{name} {checkpoint.shapes[name]}" for name in names), sep="\n")
        print("    ->", layer, ", ".join(str(weight.shape) for weight in model.get_layer(layer).get_weights()))
    if options.out:
        model.save(options.out)


if __name__ == "__main__":
    main()
