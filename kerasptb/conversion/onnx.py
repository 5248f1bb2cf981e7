"""A trained run as an ONNX file for other runtimes."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasptb.engine import Network
from kerasptb.export.destination import atomic_file
from kerasptb.export.source import RunOrModel, check_cell, open_source
from kerasptb.utils.errors import ExportError
from kerasptb.utils.extras import install_command
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
    graph, source = Graph(), open_source(run_or_model)
    with atomic_file(path, ".onnx", vocabulary=source.tokenizer) as temporary:
        _write(graph, source.network)
        temporary.write_bytes(graph.to_bytes())
    return Path(path)


def _write(graph: "Graph", network: Network) -> None:
    """Adds what `export_onnx` describes."""
    sizes = network.state_sizes.items()
    graph.take("tokens", "int32", "B", "T")
    graph.give("logits", "float32", "B", "T", network.vocabulary_size)
    for name, size in sizes:
        graph.take(name, "float32", "B", size)
        graph.add("Unsqueeze", [name, "first_axis"], [f"initial_{name}"])
    graph.read(network, "tokens", [f"initial_{name}" for name in network.state_sizes])
    for name, size in sizes:
        graph.add("Squeeze", [f"final_{name}", "first_axis"], [f"next_{name}"])
        graph.give(f"next_{name}", "float32", "B", size)
    graph.constants["first_axis"] = np.array([0], "int64")


class Graph:
    """A graph of ONNX, made node by node; its arrays, a dict by their names, are `constants`.

    Raises:
        ExportError: the package onnx, which is optional, is not installed.
    """

    def __init__(self) -> None:
        try:
            import onnx  # noqa: PLC0415
        except ImportError:
            raise ExportError(f"Exports to ONNX need the extra onnx: {install_command('onnx')}") from None
        self._onnx, self.constants = onnx, dict[str, np.ndarray]()
        self._nodes, self._inputs, self._outputs = list[Any](), list[Any](), list[Any]()

    def add(self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """Adds a node."""
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, outputs, **attributes))

    def take(self, name: str, dtype: str, *shape: int | str) -> None:
        """Adds an input."""
        self._inputs.append(self._value(name, dtype, shape))

    def give(self, name: str, dtype: str, *shape: int | str) -> None:
        """Adds an output."""
        self._outputs.append(self._value(name, dtype, shape))

    def _value(self, name: str, dtype: str, shape: Sequence[int | str]) -> Any:
        make = self._onnx.helper
        return make.make_tensor_value_info(name, make.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

    def read(self, network: Network, tokens: str, initial: Iterable[str]) -> None:
        """Adds the nodes from `tokens`, int [B, T], to `logits`, float32 [B, T, V].

        `initial` names the states [1, B, H] to begin with, none for zeros; those at the end are `final_h0`, and so on.
        """
        # Runtimes execute ONNX's operation of a recurrent layer fast. A converter would produce a loop.
        cell = network.cell
        check_cell(network, "ONNX", cell.onnx_operator is not None)
        self.constants |= {"embeddings": network.embeddings, "second_axis": np.array([1], "int64")}
        # ONNX's recurrent operations are time-major: [T, B, D].
        self.add("Transpose", [tokens], ["tokens_by_time"], perm=[1, 0])
        self.add("Gather", ["embeddings", "tokens_by_time"], ["x0"])
        names = iter(initial)
        for i, (layer, units) in enumerate(zip(network.layers, network.units, strict=True)):
            weights = {f"{name}{i}": value for name, value in cell.onnx_weights(*layer).items()}
            states = cell.state_names(i)
            self.constants |= weights
            self.add(
                cell.onnx_operator or "",
                [f"x{i}", *weights, "", *itertools.islice(names, len(states))],
                [f"y{i}", *(f"final_{name}" for name in states)],
                hidden_size=units,
                **cell.onnx_attributes,
            )
            self.add("Squeeze", [f"y{i}", "second_axis"], [f"x{i + 1}"])  # the axis of directions
        self.add("Transpose", [f"x{len(network.layers)}"], ["hidden"], perm=[1, 0, 2])
        x = "hidden"
        for name, of_layer in zip(("projection", "logits")[-len(network.dense) :], network.dense, strict=True):
            kernel, bias, product = (f"{name}_{part}" for part in ("kernel", "bias", "product"))
            self.constants[kernel], self.constants[bias] = of_layer
            self.add("MatMul", [x, kernel], [product])
            self.add("Add", [product, bias], [name])
            x = name

    def to_bytes(self, metadata: Mapping[str, str] | None = None) -> bytes:
        """Returns the content of the file, after ONNX has checked it."""
        make, to_array = self._onnx.helper, self._onnx.numpy_helper.from_array
        arrays = [to_array(np.ascontiguousarray(value), name) for name, value in self.constants.items()]
        model = make.make_model(
            make.make_graph(self._nodes, "language_model", self._inputs, self._outputs, arrays),
            producer_name="kerasptb",
            opset_imports=[make.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
        )
        make.set_model_props(model, metadata or {})
        self._onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString()
