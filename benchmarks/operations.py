"""The contenders of the operations benchmark: forward and backward of one layer at given sizes.

Run by `benchmarks.ops`, each in a process of its own that answers each JSON line with one JSON line:

    python -m benchmarks.operations NAME

`{"operation": "lstm", "batch": B, "steps": T, "features": D, "units": H}` is an LSTM layer over [B, T, D];
`{"operation": "linear_cross_entropy", "words": N, "features": D, "vocabulary": V}` is the cross-entropy of a Dense
layer over [N, D].
The answer is a list of seconds, one for each repetition of forward and backward with all gradients. It is empty if the
contender has no implementation of the operation. If the same size is sent again, the measurement continues.
"""

import argparse
import json
import sys
import time

import numpy as np

SECONDS = 0.4  # of measuring, for each answer
MOST_REPEATS = 50


def make_arrays(size):
    """Returns the layer's input and weights, and for the cross-entropy its targets."""
    random = np.random.default_rng(0)

    def uniform(*shape):
        return random.uniform(-0.1, 0.1, shape).astype(np.float32)

    features = size["features"]
    if size["operation"] == "lstm":
        units = size["units"]
        x = uniform(size["batch"], size["steps"], features)
        return [x, uniform(features, 4 * units), uniform(units, 4 * units), uniform(4 * units)]
    vocabulary, words = size["vocabulary"], size["words"]
    targets = random.integers(0, vocabulary, words).astype(np.int32)
    return [uniform(words, features), uniform(features, vocabulary), uniform(vocabulary), targets]


def keras_layers(size, jit_compile=False, unroll=False):
    """Keras' own LSTM; Keras' own sparse cross-entropy on the logits of a matrix product, without `unroll`."""
    import keras  # noqa: PLC0415

    if size["operation"] == "linear_cross_entropy":
        if unroll:
            return None
        return _tensorflow_step(size, jit_compile, lambda x, w, b, y: keras.ops.sum(
            keras.ops.sparse_categorical_crossentropy(y, keras.ops.matmul(x, w) + b, from_logits=True)
        ))  # fmt: skip
    use_cudnn = False if jit_compile else "auto"
    layer = keras.layers.LSTM(size["units"], return_sequences=True, use_cudnn=use_cudnn, unroll=unroll)
    x, *weights = make_arrays(size)
    layer.build(x.shape)
    layer.set_weights(weights)
    return layer_step(layer, x, jit_compile)


def ours(size, backend="native", precision="float32"):
    """The package's LSTM and `ops.linear_cross_entropy`, compiled by XLA where `jit_compile="auto"` compiles a step."""
    from kerasptb import ops  # noqa: PLC0415
    from kerasptb.layers import FusedLSTM  # noqa: PLC0415
    from kerasptb.ops.linear_cross_entropy import plan  # noqa: PLC0415

    options = {"backend": backend, "precision": precision}
    is_output = size["operation"] == "linear_cross_entropy"
    words = size["words"] if is_output else size["batch"] * size["steps"]
    # The output layer decides it for both: a layer's units are its features.
    shape, vocabulary_size = (words, size["features" if is_output else "units"]), size.get("vocabulary", 10_000)
    jit_compile = plan(shape, vocabulary_size, **options).implementation == "native"
    if is_output:
        return _tensorflow_step(
            size, jit_compile, lambda x, w, b, y: ops.linear_cross_entropy(x, w, b, y, reduction="sum", **options)
        )
    layer = FusedLSTM(size["units"], return_sequences=True, **options)
    x, *weights = make_arrays(size)
    layer.build(x.shape)
    layer.set_weights(weights)
    return layer_step(layer, x, jit_compile)


def pytorch(size, fused=False, autocast=False):
    """PyTorch's LSTM; its cross-entropy, of logits or fused with the matrix product."""
    import torch  # noqa: PLC0415
    from torch.nn import functional  # noqa: PLC0415

    if size["operation"] == "lstm" and fused:
        return None
    tensors = [torch.from_numpy(array) for array in make_arrays(size)]
    if size["operation"] == "lstm":
        lstm = torch.nn.LSTM(size["features"], size["units"], batch_first=True)
        x = tensors[0].requires_grad_()
        lstm.bias_hh_l0.requires_grad_(False)  # one bias, as the others have
        parameters = [x, *(p for p in lstm.parameters() if p.requires_grad)]

        def loss():
            return lstm(x)[0].sum()
    else:
        x, kernel, bias, targets = tensors
        parameters = [x.requires_grad_(), kernel.T.contiguous().requires_grad_(), bias.requires_grad_()]
        targets = targets.long()

        def loss():
            if fused:
                return functional.linear_cross_entropy(
                    parameters[0], parameters[1], targets, linear_bias=bias, reduction="sum"
                )
            return functional.cross_entropy(functional.linear(*parameters).float(), targets, reduction="sum")

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            value = loss()
        torch.autograd.grad(value, parameters)

    return step


# Name -> (precision, function from a size to a step).
CONTENDERS = {
    "Keras": ("float32", keras_layers),
    "Keras, unrolled": ("float32", lambda size: keras_layers(size, unroll=True)),
    "Keras, jit": ("float32", lambda size: keras_layers(size, jit_compile=True)),
    "PyTorch": ("float32", pytorch),
    "PyTorch, linear_cross_entropy": ("float32", lambda size: pytorch(size, fused=True)),
    "PyTorch, bfloat16 autocast": ("bfloat16", lambda size: pytorch(size, autocast=True)),
    "kerasptb, keras": ("float32", lambda size: ours(size, "keras")),
    "kerasptb, native": ("float32", ours),
    "kerasptb, native, bfloat16x3": ("bfloat16x3", lambda size: ours(size, precision="bfloat16x3")),
    "kerasptb, native, bfloat16": ("bfloat16", lambda size: ours(size, precision="bfloat16")),
}


def _tensorflow_step(size, jit_compile, loss_of):
    import tensorflow as tf  # noqa: PLC0415

    *arrays, targets = make_arrays(size)
    variables = [tf.Variable(array) for array in arrays]
    targets = tf.constant(targets)
    return _compiled(lambda: loss_of(*(tf.convert_to_tensor(v) for v in variables), targets), variables, jit_compile)


def layer_step(layer, x, jit_compile=False, **call):
    """Returns a step, forward and backward, of a layer on x and further arguments of its call."""
    import tensorflow as tf  # noqa: PLC0415

    x = tf.Variable(x)
    variables = [x, *(weight.value for weight in layer.trainable_weights)]
    return _compiled(lambda: tf.reduce_sum(layer(tf.convert_to_tensor(x), **call)), variables, jit_compile)


def _compiled(loss_of, variables, jit_compile):
    import tensorflow as tf  # noqa: PLC0415

    @tf.function(jit_compile=jit_compile, autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = loss_of()
        return tape.gradient(loss, variables)

    def run():
        step()[-1].numpy()

    return run


def measure(step):
    """Returns the seconds of each repetition."""
    seconds = []
    while not seconds or (sum(seconds) < SECONDS and len(seconds) < MOST_REPEATS):
        begin = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begin)
    return seconds


def main():
    """Answers the sizes on standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONTENDERS)
    _, contender = CONTENDERS[parser.parse_args().name]
    size = step = None
    for line in sys.stdin:
        if line != size:
            size, step = line, contender(json.loads(line))
            if step:  # traced, compiled, memory touched
                step()
                step()
        print(json.dumps(measure(step) if step else []), flush=True)


if __name__ == "__main__":
    main()
