"""A trained run as the language model of sherpa-onnx, a runtime of speech recognition.

What it reads is in its `online-rnn-lm.cc` and `offline-rnn-lm.cc` (k2-fsa/sherpa-onnx), which bind names in their
order, and in icefall's `rnn_lm/export-onnx.py`.
"""

import re
from pathlib import Path

import numpy as np

from kerasptb.conversion.onnx import Graph
from kerasptb.data import Tokenizer
from kerasptb.data.sources.text_file import read_utf8
from kerasptb.engine import Network
from kerasptb.export.destination import atomic_file
from kerasptb.export.source import RunOrModel, open_source
from kerasptb.utils.errors import ExportError
from kerasptb.utils.types import StrPath

_ABOUT = {"model_type": "rnnlm", "version": "1", "model_author": "kerasptb"}


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
    graph, source = Graph(), open_source(run_or_model)
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
    end = str(tokenizer.eos_id)
    with atomic_file(path, ".onnx", vocabulary=tokenizer) as temporary:
        about = {**_ABOUT, "comment": f"a recurrent language model {'with' if stateful else 'without'} state"}
        about |= {"sos_id": end, "eos_id": end, "vocab_size": str(network.vocabulary_size)}
        if stateful:
            _with_state(graph, network)
            about |= {"num_layers": str(len(network.units)), "hidden_size": str(network.units[0])}
        else:
            _without_state(graph, network, tokenizer.eos_id)
        temporary.write_bytes(graph.to_bytes(about))
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


def _with_state(graph: Graph, network: Network) -> None:
    """Adds what is given its state."""
    of_layers = [network.cell.state_names(i) for i in range(len(network.layers))]
    kinds = dict(zip(of_layers[0], zip(*of_layers, strict=True), strict=True))  # h0: h0, h1 and so on
    shape = (len(of_layers), "N", network.units[0])
    graph.take("x", "int64", "N", "L")
    graph.give("log_softmax", "float32", "N", "L", network.vocabulary_size)
    for kind, of in kinds.items():
        graph.take(kind, "float32", *shape)
        graph.add("Split", [kind], [f"initial_{name}" for name in of], axis=0)
    graph.read(network, "x", [f"initial_{name}" for name in network.state_sizes])
    graph.add("LogSoftmax", ["logits"], ["log_softmax"], axis=-1)
    for kind, of in kinds.items():
        graph.add("Concat", [f"final_{name}" for name in of], [f"next_{kind}"], axis=0)
        graph.give(f"next_{kind}", "float32", *shape)


def _without_state(graph: Graph, network: Network, eos_id: int) -> None:
    """Adds what reads whole sentences."""
    graph.take("x", "int64", "N", "L")
    graph.take("x_lens", "int64", "N")
    graph.give("nll", "float32", "N")
    # An end before each row, and one after it; what is behind that does not count.
    graph.add("Pad", ["x", "before", "end"], ["begun"])
    graph.add("Pad", ["x", "after", "end"], ["padded"])
    graph.add("Shape", ["padded"], ["length_row"], start=1, end=2)
    graph.add("Squeeze", ["length_row"], ["length"])
    graph.add("Range", ["zero", "length", "one"], ["places"])
    graph.add("Unsqueeze", ["x_lens", "last_axis"], ["lengths"])
    graph.add("Equal", ["places", "lengths"], ["at_end"])
    graph.add("Where", ["at_end", "end", "padded"], ["targets"])
    graph.add("LessOrEqual", ["places", "lengths"], ["counts"])
    graph.read(network, "begun", [])
    graph.add("LogSoftmax", ["logits"], ["log_softmax"], axis=-1)
    graph.add("Unsqueeze", ["targets", "last_axis"], ["indices"])
    graph.add("GatherElements", ["log_softmax", "indices"], ["found"], axis=2)
    graph.add("Squeeze", ["found", "last_axis"], ["of_tokens"])
    graph.add("Where", ["counts", "of_tokens", "nothing"], ["of_sentence"])
    graph.add("ReduceSum", ["of_sentence", "last_axis"], ["log_probability"], keepdims=0)
    graph.add("Neg", ["log_probability"], ["nll"])
    graph.constants |= {
        "end": np.array(eos_id, "int64"),
        "before": np.array([0, 1, 0, 0], "int64"),
        "after": np.array([0, 0, 0, 1], "int64"),
        "zero": np.array(0, "int64"),
        "one": np.array(1, "int64"),
        "nothing": np.array(0, "float32"),
        "last_axis": np.array([-1], "int64"),
    }
