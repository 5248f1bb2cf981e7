r"""The PTB tutorial's graph, built from the original's own cells and run on given weights and batches.

The tutorial was written for TensorFlow 1: `BasicLSTMCell`, `MultiRNNCell` and `tf.nn.dynamic_rnn`. tf-keras still
carries those very classes, but a process has either tf-keras or Keras 3, so this is a script: arrays in, arrays out.

    python tests/original/tutorial_graph.py --weights weights.npz --batches batches.npz --out out.npz \
        --emit forward gradients train --checkpoint model.ckpt

Shapes: N batches, B batch, T steps, D embedding, H units, V vocabulary.

`--weights` holds one float32 array for each trainable variable, under the name that the original graph gives it (the
sizes and the number of layers follow from the shapes):

    model/embedding                                            [V, D]
    model/rnn/multi_rnn_cell/cell_0/basic_lstm_cell/kernel     [D + H, 4 * H], gates i, j, f, o
    model/rnn/multi_rnn_cell/cell_0/basic_lstm_cell/bias       [4 * H]
    ... cell_1, cell_2, ...
    model/softmax_w                                            [H, V]
    model/softmax_b                                            [V]

`--batches` holds `x` and `y`, int32 [N, B, T]. Each part of `--emit` starts from the given weights and a zero state,
goes through the batches in order and carries the state from each to the next. It writes, with N in front:

    forward     forward/outputs [B, T, H], forward/logits [B, T, V], forward/cost, forward/state/<layer>/c and /h [B, H]
    gradients   gradients/global_norm, and for each variable gradients/raw/<name> and, clipped, gradients/clipped/<name>
    train       train/cost and train/global_norm of each step; of the end, without N, train/final/<name>
"""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # tf.nn.rnn_cell is tf-keras', and exists only with this set before the import
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse
from types import SimpleNamespace

import numpy as np
import tensorflow.compat.v1 as tf

SCOPE = "model"


def build_graph(shapes, batch_size, num_steps, *, max_grad_norm, forget_bias, dtype):
    """Builds the tutorial's training graph in the default graph.

    Args:
        shapes: Shape of each trainable variable, by its name.
        batch_size: B, int.
        num_steps: T, int.
        max_grad_norm: Global norm at which the gradients are clipped.
        forget_bias: What the cell adds to its forget gate.
        dtype: "float32", as the tutorial has it, or "float64".

    Returns:
        A namespace of the graph's tensors.
    """
    vocabulary_size, embedding_size = shapes[f"{SCOPE}/embedding"]
    num_layers = sum(name.endswith("/kernel") for name in shapes)
    units = [shapes[f"{SCOPE}/rnn/multi_rnn_cell/cell_{i}/basic_lstm_cell/bias"][0] // 4 for i in range(num_layers)]

    x = tf.placeholder(tf.int32, [batch_size, num_steps])
    y = tf.placeholder(tf.int32, [batch_size, num_steps])
    with tf.variable_scope(SCOPE, initializer=tf.random_uniform_initializer(-0.1, 0.1), dtype=dtype):
        embedding = tf.get_variable("embedding", [vocabulary_size, embedding_size])
        cells = [tf.nn.rnn_cell.BasicLSTMCell(n, forget_bias=forget_bias, dtype=dtype) for n in units]
        stack = tf.nn.rnn_cell.MultiRNNCell(cells)
        initial_state = stack.zero_state(batch_size, dtype)
        outputs, final_state = tf.nn.dynamic_rnn(
            stack, tf.nn.embedding_lookup(embedding, x), initial_state=initial_state
        )
        softmax_w = tf.get_variable("softmax_w", [units[-1], vocabulary_size])
        softmax_b = tf.get_variable("softmax_b", [vocabulary_size])
        logits = tf.matmul(tf.reshape(outputs, [-1, units[-1]]), softmax_w) + softmax_b
        # What tf.contrib's sequence_loss_by_example is for weights of one: a loss for each word, not averaged.
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.reshape(y, [-1]), logits=logits)
        cost = tf.reduce_sum(loss) / batch_size

        learning_rate = tf.Variable(0.0, trainable=False, dtype=dtype)
        variables = tf.trainable_variables()
        raw = tf.gradients(cost, variables)  # the embedding's is IndexedSlices: one slice for each word of the batch
        clipped, global_norm = tf.clip_by_global_norm(raw, max_grad_norm)
        train = tf.train.GradientDescentOptimizer(learning_rate).apply_gradients(
            zip(clipped, variables, strict=True), global_step=tf.train.get_or_create_global_step()
        )
    names = [variable.op.name for variable in variables]
    return SimpleNamespace(
        x=x,
        y=y,
        initial_state=initial_state,
        final_state=final_state,
        outputs=outputs,
        logits=tf.reshape(logits, [batch_size, num_steps, vocabulary_size]),
        cost=cost,
        learning_rate=learning_rate,
        variables=dict(zip(names, variables, strict=True)),
        raw={name: tf.convert_to_tensor(gradient) for name, gradient in zip(names, raw, strict=True)},
        clipped={name: tf.convert_to_tensor(gradient) for name, gradient in zip(names, clipped, strict=True)},
        global_norm=global_norm,
        train=train,
    )


def run_batches(session, graph, batches, fetches):
    """Runs `fetches` on each batch, the state carried over from zero; returns one list of results for each fetch."""
    state = session.run(graph.initial_state)
    results = {name: [] for name in fetches}
    for x, y in zip(batches["x"], batches["y"], strict=True):
        feed = {graph.x: x, graph.y: y, graph.initial_state: state}
        state, values = session.run([graph.final_state, fetches], feed)
        for name, value in values.items():
            results[name].append(value)
    return results


def emit_forward(session, graph, batches):
    """Returns outputs, logits, states and cost of each batch, at the weights as they stand."""
    fetches = {"forward/outputs": graph.outputs, "forward/logits": graph.logits, "forward/cost": graph.cost}
    for layer, state in enumerate(graph.final_state):
        fetches[f"forward/state/{layer}/c"] = state.c
        fetches[f"forward/state/{layer}/h"] = state.h
    return run_batches(session, graph, batches, fetches)


def emit_gradients(session, graph, batches):
    """Returns every gradient and the global norm of each batch, at the weights as they stand."""
    fetches = {f"gradients/raw/{name}": gradient for name, gradient in graph.raw.items()}
    fetches |= {f"gradients/clipped/{name}": gradient for name, gradient in graph.clipped.items()}
    return run_batches(session, graph, batches, fetches | {"gradients/global_norm": graph.global_norm})


def emit_train(session, graph, batches):
    """Takes one training step on each batch; returns each step's cost and global norm, and the final variables."""
    fetches = {"train/cost": graph.cost, "train/global_norm": graph.global_norm, "train/op": graph.train}
    results = run_batches(session, graph, batches, fetches)
    del results["train/op"]
    final = session.run(graph.variables)
    return results | {f"train/final/{name}": value for name, value in final.items()}


EMITTERS = {"forward": emit_forward, "gradients": emit_gradients, "train": emit_train}


def parse_arguments():
    """Returns the command line's arguments."""
    parser = argparse.ArgumentParser(description="Run the PTB tutorial's original graph on given weights and batches.")
    parser.add_argument("--weights", required=True, help="npz, one array for each trainable variable by its name")
    parser.add_argument("--batches", required=True, help="npz, x and y int32 [N, B, T]")
    parser.add_argument("--out", required=True, help="npz to write")
    parser.add_argument("--emit", nargs="+", choices=EMITTERS, default=list(EMITTERS), help="what to compute")
    parser.add_argument("--checkpoint", help="prefix of a TF1 checkpoint to save at the end, trained if train ran last")
    parser.add_argument("--learning-rate", type=float, default=1.0)
    parser.add_argument("--max-grad-norm", type=float, default=5.0)
    parser.add_argument("--forget-bias", type=float, default=0.0)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32", help="of the whole computation")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main():
    """Reads the weights and batches, runs what was asked for, writes the results."""
    arguments = parse_arguments()
    tf.disable_v2_behavior()
    tf.logging.set_verbosity(tf.logging.ERROR)  # the cells' deprecation notices
    weights = dict(np.load(arguments.weights))
    batches = dict(np.load(arguments.batches))
    _, batch_size, num_steps = batches["x"].shape

    shapes = {name: value.shape for name, value in weights.items()}
    graph = build_graph(
        shapes,
        batch_size,
        num_steps,
        max_grad_norm=arguments.max_grad_norm,
        forget_bias=arguments.forget_bias,
        dtype=arguments.dtype,
    )
    built = {name: tuple(variable.shape) for name, variable in graph.variables.items()}
    if built != shapes:
        raise SystemExit(f"--weights should hold the graph's variables: {built}. Received: {shapes}")

    config = tf.ConfigProto(
        intra_op_parallelism_threads=arguments.threads,
        inter_op_parallelism_threads=arguments.threads,
        device_count={"GPU": 0},
    )
    results = {}
    with tf.Session(config=config) as session:
        session.run(tf.global_variables_initializer())
        graph.learning_rate.load(arguments.learning_rate, session)
        for part in arguments.emit:
            for name, variable in graph.variables.items():
                variable.load(weights[name].astype(arguments.dtype), session)
            results |= EMITTERS[part](session, graph, batches)
        if arguments.checkpoint:
            tf.train.Saver().save(session, arguments.checkpoint)
    np.savez(arguments.out, **{name: np.asarray(value) for name, value in results.items()})


if __name__ == "__main__":
    main()
