"""A trained run as an ONNX file for other runtimes."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasptb.engine import Network
from kerasptb.export.destination import atomic_file
from kerasptb.export.source import RunOrModel, check_cell, open_source
from kerasptb.utils.errors import ExportError
from kerasptb.utils.types import StrPath

# Both are old enough for all current runtimes.
_OPSET = 17
_IR_VERSION = 8


def export_onnx(run_or_model: RunOrModel, path: StrPath) -> Path:
    """Writes a trained model as a float32 ONNX file, with the state as inputs and outputs.

    The inputs are `tokens`, int32 [B, T], ids, and the state `h0`, `c0`, `h1`, `c1`, ..., float32 [B, H], zeros
    before the first token. The outputs are `logits`, float32 [B, T, V], of the token after each, and the state for
    the next call, `next_h0`, `next_c0`, ... B and T may vary, but must be at least 1 (with T = 0 onnxruntime loses the
    state, and with B = 0 it ends the process). The tokenizer is in a file beside it, as for `export_litert`.

    Args:
        run_or_model: a `Run`, the path of its folder, or a `LanguageModel`.
        path: the file to write; it must not exist, and its name must end in `.onnx`.

    Returns:
        The file, a `Path`.

    Raises:
        ExportError: if the package onnx is not installed, the file exists or has another suffix, or a model
            does not know its tokenizer.
        RunError: if the run has no weights yet.
        OSError: if the file cannot be written.
    """
    onnx = import_onnx()
    source = open_source(run_or_model)
    with atomic_file(path, ".onnx", source.tokenizer) as temporary:
        temporary.write_bytes(_make_model(onnx, source.network).SerializeToString())
    return Path(path)


def import_onnx() -> Any:
    """Returns the package onnx, which is optional; raises `ExportError` if it is not there."""
    try:
        import onnx  # noqa: PLC0415
    except ImportError:
        raise ExportError("Exports to ONNX need the package onnx: pip install onnx onnxruntime") from None
    return onnx


def _make_model(onnx: Any, network: Network) -> Any:
    """Returns the checked `onnx.ModelProto`."""
    make, float32 = onnx.helper, onnx.TensorProto.FLOAT
    names = list(network.state_sizes)
    nodes, constants = network_nodes(onnx, network, "tokens", [f"initial_{name}" for name in names])
    constants["first_axis"] = np.array([0], "int64")
    nodes = [
        *(make.make_node("Unsqueeze", [name, "first_axis"], [f"initial_{name}"]) for name in names),
        *nodes,
        *(make.make_node("Squeeze", [f"final_{name}", "first_axis"], [f"next_{name}"]) for name in names),
    ]
    sizes = network.state_sizes.items()
    inputs = [
        make.make_tensor_value_info("tokens", onnx.TensorProto.INT32, ["B", "T"]),
        *(make.make_tensor_value_info(name, float32, ["B", size]) for name, size in sizes),
    ]
    outputs = [
        make.make_tensor_value_info("logits", float32, ["B", "T", network.vocabulary_size]),
        *(make.make_tensor_value_info(f"next_{name}", float32, ["B", size]) for name, size in sizes),
    ]
    return checked_model(onnx, nodes, inputs, outputs, constants)


def network_nodes(
    onnx: Any, network: Network, tokens: str, initial: Sequence[str]
) -> tuple[list[Any], dict[str, np.ndarray]]:
    """Returns the nodes from `tokens`, int [B, T], to `logits`, float32 [B, T, V], and their constants by name.

    `initial` names the states [1, B, H] to begin with, none for zeros; those at the end are `final_h0`, `final_c0`, ...
    """
    # Node by node: runtimes execute ONNX's operation of a recurrent layer fast. A converter would produce a loop.
    make, cell = onnx.helper, network.cell
    check_cell(network, "ONNX", cell.onnx_operator is not None)
    constants = {"embeddings": network.embeddings, "second_axis": np.array([1], "int64")}
    # ONNX's recurrent operations are time-major: [T, B, D].
    nodes = [
        make.make_node("Transpose", [tokens], ["tokens_by_time"], perm=[1, 0]),
        make.make_node("Gather", ["embeddings", "tokens_by_time"], ["x0"]),
    ]
    of_layers = iter(initial)
    for i, (layer, units) in enumerate(zip(network.layers, network.units, strict=True)):
        weights = {f"{name}{i}": value for name, value in cell.onnx_weights(*layer).items()}
        states = cell.state_names(i)
        constants |= weights
        nodes += [
            make.make_node(
                cell.onnx_operator,
                [f"x{i}", *weights, "", *itertools.islice(of_layers, len(states))],
                [f"y{i}", *(f"final_{name}" for name in states)],
                hidden_size=units,
                **cell.onnx_attributes,
            ),
            make.make_node("Squeeze", [f"y{i}", "second_axis"], [f"x{i + 1}"]),  # the axis of directions
        ]
    nodes.append(make.make_node("Transpose", [f"x{len(network.layers)}"], ["hidden"], perm=[1, 0, 2]))
    x = "hidden"
    for name, weights in zip(("projection", "logits")[-len(network.dense) :], network.dense, strict=True):
        kernel, bias, product = (f"{name}_{part}" for part in ("kernel", "bias", "product"))
        constants[kernel], constants[bias] = weights
        nodes += [make.make_node("MatMul", [x, kernel], [product]), make.make_node("Add", [product, bias], [name])]
        x = name
    return nodes, constants


def checked_model(
    onnx: Any,
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> Any:
    """Returns an `onnx.ModelProto` of nodes, constants (a dict of arrays) and texts, after ONNX has checked it."""
    make = onnx.helper
    arrays = [onnx.numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()]
    model = make.make_model(
        make.make_graph(nodes, "language_model", inputs, outputs, arrays),
        producer_name="kerasptb",
        opset_imports=[make.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    make.set_model_props(model, metadata or {})
    onnx.checker.check_model(model, full_check=True)
    return model
