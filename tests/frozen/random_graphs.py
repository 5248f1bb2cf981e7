"""Random models of the layers that can be frozen, each from a seed, with weights and inputs that tell errors apart."""

import warnings

import keras
import numpy as np
from keras import layers

from kerasptb.compat.keras import get_keras_mask
from kerasptb.layers.keras_cell import RecurrentCell

ACTIVATIONS = (
    *("linear", "relu", "tanh", "sigmoid", "softmax", "hard_sigmoid", "leaky_relu", "relu6", "elu", "selu"),
    *("softplus", "softsign", "silu", "gelu", "mish", "hard_silu", "log_softmax", "exponential"),
)
# Of recurrences, whose outputs must not grow.
BOUNDED = ("tanh", "tanh", "tanh", "sigmoid", "softsign", "hard_sigmoid")
MERGES = (layers.Add, layers.Multiply, layers.Subtract, layers.Average, layers.Maximum, layers.Minimum)
OUR_CELLS = ("cifg", "capped_lstm", "layer_norm_lstm", "mogrifier")


class Maker:
    """Makes a model layer by layer; with `stateful` some of its recurrent layers are, and its rows are fixed."""

    def __init__(self, seed, stateful=False):
        self.random = np.random.default_rng(seed)
        self.shared, self.stateful = [], stateful

    def choose(self, *options):
        return options[self.random.integers(len(options))]

    def some(self, share):
        return bool(self.random.random() < share)

    def size(self):
        return int(self.choose(1, 2, 3, 5, 8, 17, 33))

    def recurrent(self, **how):
        units, activation = how.pop("units", None) or self.size(), self.choose(*BOUNDED)
        bias, how = self.some(0.8), {"go_backwards": self.some(0.2), **how}
        if self.stateful:
            how["stateful"] = self.some(0.5)
        kind = self.choose("lstm", "lstm", "gru", "gru", "before", "simple", "rnn", "ours", "stacked")
        if kind in ("lstm", "gru", "before"):
            gates = {
                "activation": activation,
                "recurrent_activation": self.choose("sigmoid", "sigmoid", "hard_sigmoid"),
            }
            gates |= {"use_bias": bias}
            how |= {"zero_output_for_mask": self.some(0.3)}
            if kind == "lstm":
                return layers.LSTM(units, **gates, **how)
            return layers.GRU(units, reset_after=kind == "gru", **gates, **how)
        if kind == "simple":
            return layers.SimpleRNN(units, activation=activation, use_bias=bias, **how)
        if kind == "stacked" and not how.get("return_state"):
            return layers.RNN([layers.LSTMCell(units), layers.GRUCell(units)], **how)
        if kind == "ours":
            return layers.RNN(RecurrentCell(self.choose(*OUR_CELLS), units), **how)
        return layers.RNN(self.choose(layers.LSTMCell, layers.GRUCell)(units), **how)

    def bidirectional(self, x, return_sequences):
        merge = self.choose("concat", "sum", "ave", "mul", None)
        kind = self.choose(layers.LSTM, layers.GRU, layers.SimpleRNN)
        y = layers.Bidirectional(kind(self.size(), return_sequences=return_sequences), merge_mode=merge)(x)
        return layers.Subtract()(y) if merge is None else y

    def last_state(self, x):
        """All of a layer's state, and none of its outputs."""
        _, *state = self.choose(layers.LSTM, layers.GRU)(self.size(), return_state=True)(x)
        return layers.Concatenate()(state) if len(state) > 1 else state[0]

    def with_state(self, x):
        """A layer's state in another's: an encoder and a decoder."""
        units, kind = self.size(), self.choose(layers.LSTM, layers.GRU)
        _, *state = kind(units, return_state=True)(x)
        decoder = self.choose(x, layers.RepeatVector(3)(layers.Dense(4)(state[0])))
        return kind(units, return_sequences=True)(decoder, initial_state=state)

    def shared_layer(self, x):
        """A recurrent layer at several places."""
        like = next((layer for layer, size in self.shared if size == x.shape[-1]), None)
        if like is None:
            like = self.recurrent(return_sequences=True)
            self.shared.append((like, x.shape[-1]))
        return like(x)

    def inner_model(self, x):
        inputs = keras.Input(batch_shape=x.shape)
        y = layers.LSTM(self.size(), return_sequences=True)(inputs)
        return keras.Model(inputs, layers.Dropout(0.5)(y))(x)

    def inner_steps(self, x):
        """Each step as a sequence of its own."""
        columns = layers.Reshape((x.shape[1], x.shape[2], 1))(x)
        inner = self.choose(layers.LSTM(3), layers.Conv1D(2, 1), layers.GlobalMaxPooling1D(), layers.Flatten())
        y = layers.TimeDistributed(inner)(columns)
        return y if len(y.shape) == 3 else layers.TimeDistributed(layers.Flatten())(y)

    def steps(self, x):
        """A layer [B, T, D] -> [B, T', D']."""
        options = {
            "recurrent": lambda: self.recurrent(return_sequences=True)(x),
            "again": lambda: self.recurrent(return_sequences=True)(x),
            "bidirectional": lambda: self.bidirectional(x, True),
            "state": lambda: self.with_state(x),
            "shared": lambda: self.shared_layer(x),
            "dense": lambda: layers.Dense(self.size(), self.choose(*ACTIVATIONS), use_bias=self.some(0.7))(x),
            "distributed": lambda: layers.TimeDistributed(layers.Dense(self.size(), self.choose("relu", "tanh")))(x),
            "inner_steps": lambda: self.inner_steps(x),
            "conv": lambda: layers.Conv1D(
                self.size(),
                self.choose(1, 2, 3),
                **self.choose({"strides": 2}, {"dilation_rate": 2}, {}),
                padding=self.choose("same", "causal"),
                activation=self.choose("relu", "linear"),
            )(x),
            "pool": lambda: self.choose(layers.MaxPooling1D, layers.AveragePooling1D)(
                self.choose(2, 3), strides=self.choose(None, 1), padding="same"
            )(x),
            "norm": lambda: self.choose(
                layers.BatchNormalization(center=self.some(0.8)),
                layers.BatchNormalization(axis=1, scale=False),
                layers.LayerNormalization(),
                layers.LayerNormalization(axis=[1, 2], center=False),
            )(x),
            "nothing": lambda: self.choose(
                layers.Dropout(0.4), layers.GaussianNoise(1.0), layers.SpatialDropout1D(0.3), layers.Identity()
            )(x),
            "activation": lambda: self.choose(
                layers.Activation(self.choose(*ACTIVATIONS)),
                layers.ReLU(negative_slope=0.1),
                layers.ReLU(max_value=6),
                layers.LeakyReLU(0.4),
                layers.ELU(0.7),
            )(x),
            "permute": lambda: layers.Permute((2, 1))(x),
            "merge": lambda: self.merged(x),
            "concatenate": lambda: layers.Concatenate()([x, self.recurrent(return_sequences=True)(x)]),
            "longer": lambda: layers.Concatenate(axis=1)([layers.Activation("tanh")(x), layers.Permute((1, 2))(x)]),
            "model": lambda: self.inner_model(x),
            "reshape": lambda: layers.Reshape((-1, 1))(x),
        }
        names = list(options)
        if get_keras_mask(x) is not None:  # which these refuse, or would lose
            names = [n for n in names if n not in ("inner_steps", "longer", "norm")]
        return options[self.choose(*names)]()

    def merged(self, x):
        y = layers.Dense(x.shape[-1])(x)
        return layers.Add()([x, y]) if self.some(0.2) else self.choose(*MERGES)()([x, y])

    def end(self, x):
        """[B, T, D] -> [B, D']."""
        options = (
            lambda: self.recurrent(return_sequences=False)(x),
            lambda: self.recurrent(return_sequences=False)(x),
            lambda: self.bidirectional(x, False),
            lambda: self.last_state(x),
            lambda: layers.GlobalAveragePooling1D(keepdims=False)(x),
            lambda: layers.GlobalMaxPooling1D()(x),
            lambda: layers.Flatten()(x),
            lambda: x[:, -1],
        )
        return self.choose(*options)()

    def input(self, steps):
        """An input with what stands behind it, and an array for it."""
        kind, rows = self.choose("ids", "masked ids", "signal", "signal", "masked signal", "backed"), self.rows
        batch = {"batch_size": rows if self.stateful else None}
        if "ids" in kind:
            inputs = keras.Input((steps,), dtype=self.choose("int32", "float32"), **batch)
            ids = self.random.integers(0, 9, (rows, steps))
            ids[:, -1] *= self.random.integers(0, 2, rows)
            return inputs, layers.Embedding(9, self.size(), mask_zero="masked" in kind)(inputs), ids
        features = self.size()
        inputs, x = keras.Input((steps, features), **batch), self.random.standard_normal((rows, steps, features))
        if kind == "masked signal":
            x[self.random.random((rows, steps)) < 0.4] = 0
            x[0] = 0  # a mask of nothing
            return inputs, layers.Masking()(inputs), x
        return inputs, inputs, x

    def model(self):
        """A model, and its inputs."""
        self.rows = int(self.choose(1, 2, 3, 7, 20))
        steps, parts, outputs = int(self.choose(1, 2, 4, 7)), [], []
        for _ in range(self.choose(1, 1, 1, 2)):
            parts.append([*self.input(steps)])
        for part in parts:
            for _ in range(self.random.integers(0, 5)):
                if part[1].shape[1] * part[1].shape[2] < 400:
                    part[1] = self.steps(part[1])
            outputs.append(layers.Dense(self.size(), self.choose(*ACTIVATIONS))(self.end(part[1])))
        if len(outputs) > 1 and self.some(0.5):
            outputs = [layers.Dense(2)(layers.Concatenate()(outputs))]
        if self.some(0.2):
            outputs.append(parts[0][1])
        result = outputs[0] if len(outputs) == 1 else {f"out_{i}": y for i, y in enumerate(outputs)}
        inputs = [part[0] for part in parts]
        model = keras.Model(inputs if len(inputs) > 1 else inputs[0], result if self.some(0.5) else outputs)
        arrays = [part[2].astype("float32") for part in parts]
        return model, arrays


def random_model(seed, stateful=False):
    """Returns a model, and arrays for its inputs."""
    keras.utils.set_random_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of masks that a layer does not pass on
        maker = Maker(seed, stateful)
        model, arrays = maker.model()
    for variable in model.variables:  # biases of zeros would tell nothing
        if "seed" in variable.path:
            continue
        value = keras.ops.convert_to_numpy(variable)
        noise = 0.2 * maker.random.standard_normal(value.shape)
        variable.assign(np.abs(value + noise) + 0.1 if "variance" in variable.path else value + noise)
    return model, arrays


def outputs_of(model, arrays):
    """Returns what Keras gives, a list of arrays."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = model(arrays if len(arrays) > 1 else arrays[0], training=False)
    return [keras.ops.convert_to_numpy(y) for y in keras.tree.flatten(result)]
