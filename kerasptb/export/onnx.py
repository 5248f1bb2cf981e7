"""A trained run as an ONNX file for other runtimes."""

import os
from pathlib import Path

import numpy as np

from kerasptb.data import Tokenizer
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
    vocabulary: Tokenizer | None = None,
) -> Path:
    """Writes a trained model as a float32 ONNX file, with the state as inputs and outputs.

    The inputs are `tokens`, int32 [B, T], ids, and the state `h0`, `c0`, `h1`, `c1`, ..., float32 [B, H], zeros
    before the first token. The outputs are `logits`, float32 [B, T, V], of the token after each, and the state for
    the next call, `next_h0`, `next_c0`, ... B and T may vary, but must be at least 1 (with T = 0 onnxruntime loses the
    state, and with B = 0 it ends the process). The tokenizer is in a file beside it, as for `export_litert`.

    Args:
        run_or_model: a `Run`, the path of its folder, or a `LanguageModel`.
        path: the file to write; it must not exist, and its name must end in `.onnx`.
        vocabulary: the `Tokenizer` of a model; a run has its own.

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

    The graph is built node by node: a Gather, recurrent layers and a MatMul. ONNX has an operation for such a layer,
    which runtimes execute fast. A converter of TensorFlow's graph would produce a loop instead.
    """
    make, float32, cell = onnx.helper, onnx.TensorProto.FLOAT, network.cell
    embedding, *recurrent, logits = network.layers
    constants = {"embeddings": embedding.get_weights()[0]}
    # ONNX's recurrent operations are time-major: [T, B, D].
    nodes = [
        make.make_node("Transpose", ["tokens"], ["tokens_by_time"], perm=[1, 0]),
        make.make_node("Gather", ["embeddings", "tokens_by_time"], ["x0"]),
    ]
    for i, layer in enumerate(recurrent):
        weights = {f"{name}{i}": value for name, value in cell.onnx_weights(*layer.get_weights()).items()}
        states = cell.state_names(i)
        constants |= weights
        constants["first_axis"] = np.array([0], "int64")
        constants["second_axis"] = np.array([1], "int64")
        nodes += [
            *(make.make_node("Unsqueeze", [name, "first_axis"], [f"initial_{name}"]) for name in states),
            make.make_node(
                cell.ONNX_OPERATOR,
                [f"x{i}", *weights, "", *(f"initial_{name}" for name in states)],
                [f"y{i}", *(f"final_{name}" for name in states)],
                hidden_size=layer.units,
            ),
            make.make_node("Squeeze", [f"y{i}", "second_axis"], [f"x{i + 1}"]),  # the axis of directions
            *(make.make_node("Squeeze", [f"final_{name}", "first_axis"], [f"next_{name}"]) for name in states),
        ]
    constants["kernel"], constants["bias"] = logits.get_weights()
    nodes += [
        make.make_node("Transpose", [f"x{len(recurrent)}"], ["hidden"], perm=[1, 0, 2]),
        make.make_node("MatMul", ["hidden", "kernel"], ["product"]),
        make.make_node("Add", ["product", "bias"], ["logits"]),
    ]
    sizes = network.state_sizes.items()
    graph = make.make_graph(
        nodes,
        "language_model",
        inputs=[
            make.make_tensor_value_info("tokens", onnx.TensorProto.INT32, ["B", "T"]),
            *(make.make_tensor_value_info(name, float32, ["B", size]) for name, size in sizes),
        ],
        outputs=[
            make.make_tensor_value_info("logits", float32, ["B", "T", network.vocabulary_size]),
            *(make.make_tensor_value_info(f"next_{name}", float32, ["B", size]) for name, size in sizes),
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
