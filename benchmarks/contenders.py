"""The contenders of the training benchmark: each trains the notebook model on the same batches from the same weights.

Run by `benchmarks.training`, each in a process of its own:

    python -m benchmarks.contenders NAME INPUTS.npz

prints one JSON line: the time of every step, the cost of every step, the process's peak memory, and the most memory
that the steps need in addition to framework and model once everything is traced. The last figure leaves out the pages
of program files, which the system reads when code is first run and shares among processes.

Every contender uses the original's training step: cost summed over time and averaged over the batch, global norm
clipped at 5, learning rate 1.
"""

import argparse
import contextlib
import ctypes
import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np

_TRACED = 16  # steps after which graphs are traced and compiled
LEARNING_RATE, CLIP = 1.0, 5.0
UNITS, EMBEDDING = (256, 128), 200
REPOSITORY = Path(__file__).parents[1]


def original(inputs):
    """The tutorial's own API: tf-keras' BasicLSTMCell, MultiRNNCell, dynamic_rnn, in a session."""
    sys.path.insert(0, str(REPOSITORY / "tests" / "original"))
    import tensorflow.compat.v1 as tf  # noqa: PLC0415
    import tutorial_graph  # noqa: PLC0415  (sets what TensorFlow reads at its import)

    tf.disable_v2_behavior()
    weights, (x, y) = _as_original(inputs["weights"]), inputs["batches"]
    shapes = {name: value.shape for name, value in weights.items()}
    graph = tutorial_graph.build_graph(shapes, *x.shape[1:], max_grad_norm=CLIP, forget_bias=0.0, dtype=tf.float32)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for name, variable in graph.variables.items():
            variable.load(weights[name], session)
        graph.learning_rate.load(LEARNING_RATE, session)
        state = session.run(graph.initial_state)
        clock = _Clock()
        for batch in zip(x, y, strict=True):
            feed = {graph.x: batch[0], graph.y: batch[1], graph.initial_state: state}
            state, cost, _ = session.run([graph.final_state, graph.cost, graph.train], feed)
            clock.step(cost)
    return clock


def plain_keras(inputs, **options):
    """Keras' own layers and `fit`, with learning rate and clipping scaled for Keras' loss."""
    return fit(plain_keras_model(inputs, **options), inputs, scale=inputs["batches"][0].shape[2])


def plain_keras_model(inputs, unroll=False, jit_compile=False, policy="float32", steps_per_execution=1):
    """Returns the notebook model of Keras' own layers, compiled."""
    import keras  # noqa: PLC0415

    keras.config.set_dtype_policy(policy)
    batch_size, num_steps = inputs["batches"][0].shape[1:]
    tokens = keras.Input(batch_shape=(batch_size, num_steps), dtype="int32")
    x = keras.layers.Embedding(inputs["weights"][0].shape[0], EMBEDDING)(tokens)
    for units in UNITS:
        x = keras.layers.LSTM(
            units,
            return_sequences=True,
            stateful=True,
            unroll=unroll,
            # A layer that may run on cuDNN is never compiled by XLA.
            use_cudnn=False if jit_compile else "auto",
        )(x)
    model = keras.Model(tokens, keras.layers.Dense(inputs["weights"][-1].shape[0], dtype=policy)(x))
    model.set_weights(inputs["weights"])
    # Keras' loss is also averaged over time. The same training needs the rate multiplied, and the norm divided, by T.
    model.compile(
        keras.optimizers.SGD(LEARNING_RATE * num_steps, global_clipnorm=CLIP / num_steps),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        # Keras' JAX steps are meant to be compiled.
        jit_compile=jit_compile or keras.backend.backend() == "jax",
        steps_per_execution=steps_per_execution,
    )
    return model


def ours(inputs, backend="native", precision="float32", steps_per_execution=16):
    """The package's own model in `fit`, as `kerasptb train` runs it."""
    import kerasptb  # noqa: PLC0415

    vocabulary_size, (batch_size, num_steps) = inputs["weights"][0].shape[0], inputs["batches"][0].shape[1:]
    model = kerasptb.build_language_model(
        vocabulary_size, EMBEDDING, UNITS, batch_size, num_steps, backend=backend, precision=precision
    )
    model.set_weights(inputs["weights"])
    model.compile(steps_per_execution=steps_per_execution, jit_compile="auto")
    return fit(model, inputs)


def pytorch(inputs, compiled=False, autocast=False, fused_loss=False, device="cpu", steps_per_execution=1):
    """PyTorch's LSTM and a hand-written loop, which waits for the cost every `steps_per_execution` steps."""
    import torch  # noqa: PLC0415
    from torch.nn import functional  # noqa: PLC0415

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            vocabulary_size = inputs["weights"][0].shape[0]
            self.embedding = torch.nn.Embedding(vocabulary_size, EMBEDDING)
            sizes = (EMBEDDING, *UNITS)
            self.lstms = torch.nn.ModuleList(
                torch.nn.LSTM(a, b, batch_first=True) for a, b in itertools.pairwise(sizes)
            )
            self.head = torch.nn.Linear(UNITS[-1], vocabulary_size)

        def forward(self, x, y, states):
            h, new_states = self.embedding(x), []
            for lstm, state in zip(self.lstms, states, strict=True):
                h, new_state = lstm(h, state)
                new_states.append(new_state)
            h, y = h.reshape(-1, h.shape[-1]), y.reshape(-1)
            if fused_loss:
                loss = functional.linear_cross_entropy(
                    h, self.head.weight, y, linear_bias=self.head.bias, reduction="sum"
                )
            else:
                loss = functional.cross_entropy(self.head(h).float(), y, reduction="sum")
            return loss / x.shape[0], new_states

    model = Model()
    _load_pytorch(torch, model, inputs["weights"])
    model.to(device)
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE)
    x, y = (torch.from_numpy(array.astype(np.int64)).to(device) for array in inputs["batches"])
    states = [[torch.zeros(1, x.shape[1], units, device=device) for _ in range(2)] for units in UNITS]
    step = model
    if compiled:
        # Without this Dynamo runs a model with an LSTM eagerly, and reports it in its log only.
        torch._dynamo.config.allow_rnn = True
        step = torch.compile(model)
    clock, total = _Clock(), 0.0
    for number, batch in enumerate(zip(x, y, strict=True), start=1):
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            cost, states = step(*batch, states)
        optimizer.zero_grad(set_to_none=True)
        cost.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        states = [tuple(tensor.detach() for tensor in state) for state in states]
        total = total + cost.detach()
        if number % steps_per_execution == 0:
            clock.step(total.item() / steps_per_execution, steps_per_execution)
            total = 0.0
    if compiled and not torch._dynamo.utils.counters["frames"].get("ok"):
        raise RuntimeError(f"nothing was compiled: {dict(torch._dynamo.utils.counters['graph_break'])}")
    return clock


# Name -> (precision of the matrix products, function).
CONTENDERS = {
    "original API": ("float32", original),
    "Keras": ("float32", plain_keras),
    "Keras, unrolled": ("float32", lambda i: plain_keras(i, unroll=True)),
    "Keras, jit": ("float32", lambda i: plain_keras(i, jit_compile=True)),
    "Keras, jit, 16 steps an execution": (
        "float32",
        lambda i: plain_keras(i, jit_compile=True, steps_per_execution=16),
    ),
    "Keras, 16 steps an execution": ("float32", lambda i: plain_keras(i, steps_per_execution=16)),
    "Keras, mixed_bfloat16": ("bfloat16", lambda i: plain_keras(i, policy="mixed_bfloat16")),
    "PyTorch": ("float32", pytorch),
    "PyTorch, linear_cross_entropy": ("float32", lambda i: pytorch(i, fused_loss=True)),
    "PyTorch, compiled": ("float32", lambda i: pytorch(i, compiled=True)),
    "PyTorch, bfloat16 autocast": ("bfloat16", lambda i: pytorch(i, autocast=True)),
    "PyTorch, compiled, bfloat16 autocast": ("bfloat16", lambda i: pytorch(i, compiled=True, autocast=True)),
    "kerasptb, keras": ("float32", lambda i: ours(i, "keras")),
    "kerasptb, native": ("float32", lambda i: ours(i, "native")),
    "kerasptb, native, bfloat16x3": ("bfloat16x3", lambda i: ours(i, "native", "bfloat16x3")),
    "kerasptb, native, bfloat16": ("bfloat16", lambda i: ours(i, "native", "bfloat16")),
}


def load_inputs(path):
    """Returns the batches and weights that `benchmarks.training.save_inputs` wrote, as the contenders take them."""
    with np.load(path) as file:
        weights = [file[f"w{i}"] for i in range(len(file.files) - 2)]
        return {"batches": (file["x"], file["y"]), "weights": weights}


class _Clock:
    """Records when each step ended, its cost, and the memory that training needs in addition to the model."""

    def __init__(self):
        self.times = [time.perf_counter()]
        self.costs = []
        self._model = _memory("VmRSS") - _memory("RssFile")  # of the framework and the weights
        self._first_steps = 0

    def step(self, cost, steps=1):
        """Records the end and the cost of `steps` steps since the last call; each gets an equal share of the time."""
        begin, now = self.times[-1], time.perf_counter()
        self.times += [begin + (now - begin) * (i + 1) / steps for i in range(steps)]
        self.costs += [float(cost)] * steps
        if len(self.costs) >= _TRACED and not self._first_steps:
            self._first_steps = _memory("VmHWM")
            # Tracing and compiling are over: reset the peak, which works on Linux with glibc.
            with contextlib.suppress(OSError, AttributeError):
                ctypes.CDLL(None).malloc_trim(0)
                Path("/proc/self/clear_refs").write_text("5")

    def result(self):
        """Returns the measurements as a dict for JSON."""
        highest = _memory("VmHWM")
        return {
            "seconds": np.diff(self.times).tolist(),
            "costs": self.costs,
            "peak_bytes": max(self._first_steps, highest),
            # No code is run for the first time any more, so there were as many pages of files at the peak.
            "step_bytes": highest - _memory("RssFile") - self._model,
        }


def fit(model, inputs, scale=1, verbose=1):
    """Trains in `fit`, with its progress bar, and returns a `_Clock`; Keras' logs hold the loss's running mean."""
    import keras  # noqa: PLC0415

    clock = _Clock()

    class Record(keras.callbacks.Callback):
        total = 0.0

        def on_train_batch_end(self, batch, logs=None):
            before, total = len(clock.costs), logs["loss"] * scale * (batch + 1)
            clock.step((total - self.total) / (batch + 1 - before), batch + 1 - before)
            self.total = total

    model.fit(_dataset(inputs["batches"]), verbose=verbose, shuffle=False, callbacks=[Record()])
    return clock


def _dataset(batches):
    """Returns the batches in the form that suits Keras' backend; other backends do not need TensorFlow."""
    import keras  # noqa: PLC0415

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # noqa: PLC0415

        return tf.data.Dataset.from_tensor_slices(batches)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return len(batches[0])

        def __getitem__(self, index):
            return batches[0][index], batches[1][index]

    return Batches()


def _as_original(weights):
    """Returns Keras' nine arrays as the seven of the original graph, as a dict by their names there."""
    from kerasptb.cells.cell import reorder_gates  # noqa: PLC0415

    named = {"model/embedding": weights[0], "model/softmax_w": weights[-2], "model/softmax_b": weights[-1]}
    for layer in range(len(UNITS)):
        cell = f"model/rnn/multi_rnn_cell/cell_{layer}/basic_lstm_cell"
        *kernels, bias = weights[1 + 3 * layer : 4 + 3 * layer]
        named[f"{cell}/kernel"] = reorder_gates(np.concatenate(kernels), "ifco", "icfo")
        named[f"{cell}/bias"] = reorder_gates(bias, "ifco", "icfo")
    return named


def _load_pytorch(torch, model, weights):
    """Loads Keras' weights into the PyTorch model, whose matrices are transposed and which has two biases per layer."""
    with torch.no_grad():
        model.embedding.weight.copy_(torch.from_numpy(weights[0]))
        for layer, lstm in enumerate(model.lstms):
            kernel, recurrent_kernel, bias = weights[1 + 3 * layer : 4 + 3 * layer]
            lstm.weight_ih_l0.copy_(torch.from_numpy(kernel.T.copy()))
            lstm.weight_hh_l0.copy_(torch.from_numpy(recurrent_kernel.T.copy()))
            lstm.bias_ih_l0.copy_(torch.from_numpy(bias))
            lstm.bias_hh_l0.zero_()
            # The model has one bias, so the second one stays zero.
            lstm.bias_hh_l0.requires_grad_(False)
        model.head.weight.copy_(torch.from_numpy(weights[-2].T.copy()))
        model.head.bias.copy_(torch.from_numpy(weights[-1]))


def _memory(name):
    """Returns memory of this process in bytes: "VmRSS" now, "VmHWM" at its peak, "RssFile" the pages of files now."""
    # Not getrusage: its figure includes the time before exec, when the process was a copy of its parent.
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(name))) * 1024


def main():
    """Runs one contender and prints its times, costs and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("inputs", help="npz: x and y int32 [N, B, T], and the weights w0, w1, … in Keras' order")
    arguments = parser.parse_args()
    clock = CONTENDERS[arguments.name][1](load_inputs(arguments.inputs))
    print("\n" + json.dumps(clock.result()))


if __name__ == "__main__":
    main()
