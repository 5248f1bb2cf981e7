"""A trained run as the language model of sherpa-onnx, a runtime of speech recognition.

What it reads is in its `online-rnn-lm.cc` and `offline-rnn-lm.cc` (k2-fsa/sherpa-onnx), which bind names in their
order, and in icefall's `rnn_lm/export-onnx.py`.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from kerasptb.conversion.onnx import checked_model, import_onnx, network_nodes
from kerasptb.data import Tokenizer
from kerasptb.data.sources.text_file import read_utf8
from kerasptb.engine import Network
from kerasptb.export.destination import atomic_file
from kerasptb.export.source import RunOrModel, open_source
from kerasptb.utils.errors import ExportError
from kerasptb.utils.types import StrPath


def export_sherpa_onnx(
    run_or_model: RunOrModel, path: StrPath, *, stateful: bool = True, tokens: StrPath | None = None
) -> Path:
    """Writes a trained model as the float32 ONNX file that sherpa-onnx takes as its `lm`.

    With state, for streams (`OnlineRecognizer`, shallow fusion): inputs `x`, int64 [N, L], and `h0`, `c0`, float32
    [layers, N, hidden]; outputs `log_softmax`, float32 [N, L, V], natural logarithms, `next_h0` and `next_c0`. Without,
    for whole utterances (`OfflineRecognizer`): inputs `x`, int64 [N, L], and `x_lens`, int64 [N]; output `nll`, float32
    [N], that of each row with its end, in nats. Sentences begin and end with the end of a line.

    Args:
        run_or_model: a `Run`, the path of its folder, or a `LanguageModel`.
        path: the file to write; it must not exist, and its name must end in `.onnx`.
        stateful: which of the two forms.
        tokens: the recogniser's tokens.txt, to check that its ids are those of the model; `None` for no check.

    Returns:
        The file, a `Path`.

    Raises:
        ExportError: as `export_onnx`, like the others; if the ids are others than the recogniser's; if the vocabulary
            has no end of a line; or, with state, if the layers are of several widths or lack the state `c`.
    """
    onnx = import_onnx()
    source = open_source(run_or_model)
    network, tokenizer = source.network, source.tokenizer
    if tokenizer.eos_id is None:
        raise ExportError("Expected a model of a text of lines: the vocabulary has no <eos>, so no sentence begins.")
    if stateful and len(set(network.units)) != 1:
        raise ExportError(
            "Expected layers of one width, since sherpa-onnx keeps their states in one tensor: train with "
            f"--preset small, or --units 400 400. Received: units={tuple(network.units)}"
        )
    if stateful and network.cell.states != ("h", "c"):
        raise ExportError(
            "Expected cells with states h and c, which sherpa-onnx gives a model: without state (--without-state) any "
            f"will do. Received: cell={network.cell.name!r}"
        )
    if tokens is not None:
        _check_tokens(tokenizer, Path(tokens))
    make_model = _with_state if stateful else _without_state
    with atomic_file(path, ".onnx", tokenizer) as temporary:
        content = make_model(onnx, network, tokenizer.eos_id)
        temporary.write_bytes(content.SerializeToString())
    return Path(path)


def _check_tokens(tokenizer: Tokenizer, path: Path) -> None:
    """Raises an `ExportError` unless the lines of a tokens.txt, `symbol id`, are the vocabulary's tokens."""
    found = {}
    for number, line in enumerate(read_utf8(path, "tokens").rstrip("\n").split("\n"), start=1):
        symbol, _, index = line.rstrip("\r").rpartition(" ")
        if re.fullmatch(r"#\d+", symbol) and index.isdecimal() and int(index) >= len(tokenizer):
            continue  # one by which a lexicon's graph tells words apart
        if not (symbol.strip() and index.isdecimal()):
            raise ExportError(
                f"Expected lines of a symbol and its id. Received: line {number} of {path}, {line[:60]!r}"
            )
        found[int(index)] = symbol.strip()
    for index, token in enumerate(tokenizer.tokens):
        if found.get(index) != token:
            raise ExportError(
                f"Expected a model of the recogniser's tokens: train it with --tokenizer. {path} has "
                f"{found.get(index)!r} as id {index}, the model {token!r}."
            )
    if len(found) != len(tokenizer):
        raise ExportError(f"Expected a model of the {len(found)} tokens of {path}. Received: one of {len(tokenizer)}")


def _metadata(network: Network, eos_id: int, comment: str) -> dict[str, str]:
    about = {"model_type": "rnnlm", "version": "1", "model_author": "kerasptb", "comment": comment}
    return about | {"sos_id": str(eos_id), "eos_id": str(eos_id), "vocab_size": str(network.vocabulary_size)}


def _with_state(onnx: Any, network: Network, eos_id: int) -> Any:
    """Returns the `onnx.ModelProto` that is given its state."""
    make, int64, float32 = onnx.helper, onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
    names, size = list(network.state_sizes), network.units[0]
    of_layers = [network.cell.state_names(i) for i in range(len(network.layers))]
    kinds = dict(zip(of_layers[0], zip(*of_layers, strict=True), strict=True))  # h0: h0, h1 and so on
    nodes, constants = network_nodes(onnx, network, "x", [f"initial_{name}" for name in names])
    nodes = [
        *(make.make_node("Split", [kind], [f"initial_{name}" for name in of], axis=0) for kind, of in kinds.items()),
        *nodes,
        make.make_node("LogSoftmax", ["logits"], ["log_softmax"], axis=-1),
        *(
            make.make_node("Concat", [f"final_{name}" for name in of], [f"next_{kind}"], axis=0)
            for kind, of in kinds.items()
        ),
    ]
    shape = [len(of_layers), "N", size]
    states = [make.make_tensor_value_info(kind, float32, shape) for kind in kinds]
    next_states = [make.make_tensor_value_info(f"next_{kind}", float32, shape) for kind in kinds]
    inputs = [make.make_tensor_value_info("x", int64, ["N", "L"]), *states]
    outputs = [make.make_tensor_value_info("log_softmax", float32, ["N", "L", network.vocabulary_size]), *next_states]
    metadata = _metadata(network, eos_id, "a recurrent language model with state")
    metadata |= {"num_layers": str(shape[0]), "hidden_size": str(shape[2])}
    return checked_model(onnx, nodes, inputs, outputs, constants, metadata)


def _without_state(onnx: Any, network: Network, eos_id: int) -> Any:
    """Returns the `onnx.ModelProto` of whole sentences."""
    make, int64, float32 = onnx.helper, onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
    nodes, constants = network_nodes(onnx, network, "begun", [])
    constants |= {
        "end": np.array(eos_id, "int64"),
        "before": np.array([0, 1, 0, 0], "int64"),
        "after": np.array([0, 0, 0, 1], "int64"),
        "zero": np.array(0, "int64"),
        "one": np.array(1, "int64"),
        "nothing": np.array(0, "float32"),
        "last_axis": np.array([-1], "int64"),
    }
    node = make.make_node
    nodes = [
        # An end before each row, and one after it; what is behind that does not count.
        node("Pad", ["x", "before", "end"], ["begun"]),
        node("Pad", ["x", "after", "end"], ["padded"]),
        node("Shape", ["padded"], ["length_row"], start=1, end=2),
        node("Squeeze", ["length_row"], ["length"]),
        node("Range", ["zero", "length", "one"], ["places"]),
        node("Unsqueeze", ["x_lens", "last_axis"], ["lengths"]),
        node("Equal", ["places", "lengths"], ["at_end"]),
        node("Where", ["at_end", "end", "padded"], ["targets"]),
        node("LessOrEqual", ["places", "lengths"], ["counts"]),
        *nodes,
        node("LogSoftmax", ["logits"], ["log_softmax"], axis=-1),
        node("Unsqueeze", ["targets", "last_axis"], ["indices"]),
        node("GatherElements", ["log_softmax", "indices"], ["found"], axis=2),
        node("Squeeze", ["found", "last_axis"], ["of_tokens"]),
        node("Where", ["counts", "of_tokens", "nothing"], ["of_sentence"]),
        node("ReduceSum", ["of_sentence", "last_axis"], ["log_probability"], keepdims=0),
        node("Neg", ["log_probability"], ["nll"]),
    ]
    inputs = [make.make_tensor_value_info("x", int64, ["N", "L"]), make.make_tensor_value_info("x_lens", int64, ["N"])]
    outputs = [make.make_tensor_value_info("nll", float32, ["N"])]
    metadata = _metadata(network, eos_id, "a recurrent language model without state")
    return checked_model(onnx, nodes, inputs, outputs, constants, metadata)
