"""A trained run as an ONNX file for other runtimes."""

import os
from pathlib import Path

import numpy as np

from kerasptb.data import Vocabulary
from kerasptb.export.destination import atomic_file
from kerasptb.export.source import resolve
from kerasptb.models import LanguageModel
from kerasptb.models.portable import ExportError, PortableNetwork
from kerasptb.runs import Run

# Both are old enough for all current runtimes.
_OPSET = 17
_IR_VERSION = 8


def export_onnx(
    run_or_model: Run | str | os.PathLike[str] | LanguageModel,
    path: str | os.PathLike[str],
    vocabulary: Vocabulary | None = None,
) -> Path:
    """Writes a trained model as a float32 ONNX file, with the state as inputs and outputs.

    The inputs are `tokens`, int32 [B, T], word ids, and the state `h0`, `c0`, `h1`, `c1`, ..., float32 [B, H], zeros
    before the first word. The outputs are `logits`, float32 [B, T, V], of the word after each word, and the state for
    the next call, `next_h0`, `next_c0`, ... B and T may vary, but must be at least 1 (with T = 0 onnxruntime loses the
    state, and with B = 0 it ends the process). The words are in a file beside it, one per line in the order of the ids:
    `model.vocabulary.txt` for `model.onnx`. A sentence begins with `<eos>`.

    Args:
        run_or_model: a `Run`, the path of its folder, or a `LanguageModel`.
        path: the file to write; it must not exist, and its name must end in `.onnx`.
        vocabulary: the `Vocabulary` of a model; a run has its own.

    Returns:
        The file, a `Path`.

    Raises:
        ExportError: if the package onnx is not installed, the file exists or has another suffix, or the vocabulary
            is missing or of another size.
        RunError: if the run has no weights yet.
        OSError: if the file cannot be written.
    """
    try:
        import onnx  # noqa: PLC0415  (an optional package)
    except ImportError:
        raise ExportError("Exports to ONNX need the package onnx: pip install onnx onnxruntime") from None
    model, vocabulary = resolve(run_or_model, vocabulary)
    with atomic_file(path, ".onnx", vocabulary) as temporary:
        temporary.write_bytes(_make_model(onnx, PortableNetwork(model)).SerializeToString())
    return Path(path)


def _make_model(onnx, network):
    """Returns the checked `onnx.ModelProto`.

    The graph is built node by node: a Gather, LSTMs and a MatMul. ONNX has an LSTM operation, which runtimes execute
    fast. A converter of TensorFlow's graph would produce a loop instead.
    """
    make, float32 = onnx.helper, onnx.TensorProto.FLOAT
    embedding, *lstms, logits = network.layers
    constants = {"embeddings": embedding.get_weights()[0]}
    # ONNX's LSTM is time-major: [T, B, D].
    nodes = [
        make.make_node("Transpose", ["tokens"], ["tokens_by_time"], perm=[1, 0]),
        make.make_node("Gather", ["embeddings", "tokens_by_time"], ["x0"]),
    ]
    for i, layer in enumerate(lstms):
        constants.update(_lstm_constants(i, layer))
        constants["first_axis"] = np.array([0], "int64")
        constants["second_axis"] = np.array([1], "int64")
        nodes += [
            make.make_node("Unsqueeze", [f"h{i}", "first_axis"], [f"initial_h{i}"]),
            make.make_node("Unsqueeze", [f"c{i}", "first_axis"], [f"initial_c{i}"]),
            make.make_node(
                "LSTM",
                [f"x{i}", f"W{i}", f"R{i}", f"B{i}", "", f"initial_h{i}", f"initial_c{i}"],
                [f"y{i}", f"final_h{i}", f"final_c{i}"],
                hidden_size=layer.units,
            ),
            make.make_node("Squeeze", [f"y{i}", "second_axis"], [f"x{i + 1}"]),  # the axis of directions
            make.make_node("Squeeze", [f"final_h{i}", "first_axis"], [f"next_h{i}"]),
            make.make_node("Squeeze", [f"final_c{i}", "first_axis"], [f"next_c{i}"]),
        ]
    constants["kernel"], constants["bias"] = logits.get_weights()
    nodes += [
        make.make_node("Transpose", [f"x{len(lstms)}"], ["hidden"], perm=[1, 0, 2]),
        make.make_node("MatMul", ["hidden", "kernel"], ["product"]),
        make.make_node("Add", ["product", "bias"], ["logits"]),
    ]
    states = list(network.state_sizes.items())
    graph = make.make_graph(
        nodes,
        "language_model",
        inputs=[
            make.make_tensor_value_info("tokens", onnx.TensorProto.INT32, ["B", "T"]),
            *(make.make_tensor_value_info(name, float32, ["B", size]) for name, size in states),
        ],
        outputs=[
            make.make_tensor_value_info("logits", float32, ["B", "T", network.vocabulary_size]),
            *(make.make_tensor_value_info(f"next_{name}", float32, ["B", size]) for name, size in states),
        ],
        initializer=[onnx.numpy_helper.from_array(np.ascontiguousarray(v), name) for name, v in constants.items()],
    )
    model = make.make_model(
        graph,
        producer_name="kerasptb",
        opset_imports=[make.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _lstm_constants(i, layer):
    """Returns the weights of a Keras LSTM in ONNX's layout: W [1, 4 H, D], R [1, 4 H, H], B [1, 8 H]."""
    kernel, recurrent_kernel, bias = layer.get_weights()

    def reorder(weights):
        # Gates are i, f, c, o in Keras, i, o, f, c in ONNX.
        gate_i, gate_f, gate_c, gate_o = np.split(weights, 4, axis=-1)
        return np.concatenate([gate_i, gate_o, gate_f, gate_c], axis=-1)

    # ONNX has a bias for each of the two products; Keras has one bias, their sum.
    both = np.concatenate([reorder(bias), np.zeros_like(bias)])
    return {
        f"W{i}": reorder(kernel).T[np.newaxis],
        f"R{i}": reorder(recurrent_kernel).T[np.newaxis],
        f"B{i}": both[np.newaxis],
    }
