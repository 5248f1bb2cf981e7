"""The tables of a model in C: its weights, its tokens, and the characters of Unicode, in the order of `lm_model`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from kerasptb.cells import Cell
from kerasptb.data import Subwords, Tokenizer, Vocabulary
from kerasptb.data.text_format import TextFormat
from kerasptb.data.tokenizers.ptb_words import NUMBER
from kerasptb.engine import Network
from kerasptb.engine.quantized import quantize_rows
from kerasptb.export.c.taps import fields_of_taps
from kerasptb.export.source import Source
from kerasptb.native import core
from kerasptb.reading.pieces import pieces_of
from kerasptb.utils.errors import ExportError

# `lm_model.cell`
CELLS_IN_C = ("lstm", "cifg", "gru")
# `lm_model.kind`
_KINDS = ("words", "subwords", "characters")
_LANES = 32


@dataclasses.dataclass(frozen=True)
class Tables:
    """What `lm_model` holds, in its order: integers, arrays, and `None` for an array that is not there.

    Attributes:
        fields: dict of those by their names, up to `matrices`.
        matrices: list of such a dict for each matrix.
    """

    fields: dict[str, Any]
    matrices: list[dict[str, Any]]


def _sizes_of(network: Network, matrices: list[dict[str, Any]]) -> dict[str, int]:
    """Returns the sizes of a network and its matrices."""
    layers = zip(network.layers, network.units, strict=True)
    inputs = [kernel.shape[0] + units for (kernel, *_), units in layers] + [network.units[-1]]
    between = [len(bias) for _, bias in network.dense[:-1]]
    return {
        "num_layers": len(network.layers),
        "num_matrices": len(matrices),
        "embedding_size": network.embeddings.shape[1],
        "state_size": network.state_size,
        "most_inputs": _padded_size(max([*inputs, *between, network.embeddings.shape[1]])),
        "most_outputs": max(matrix["num_outputs"] for matrix in matrices[:-1]),
    }


def tables_of(source: Source, is_float: bool) -> Tables:
    """Returns the `Tables` of a network and its tokenizer, with weights in float32 or in 8 bits.

    Words that the lexicon lacks are less likely where one types with errors; without it none is.

    Raises:
        ExportError: the tokenizer has rules that are not in C.
    """
    network, tokenizer = source.network, source.tokenizer
    _check(tokenizer)
    merges, signs = _merges(tokenizer), _signs(source.text_format)
    embeddings, scales = _stored(network.embeddings, is_float)
    embeddings = _padded(embeddings)
    matrices = list(_matrices(network, embeddings, scales))
    of_words, of_taps = pieces_of(tokenizer).fields, fields_of_taps(tokenizer, source.lexicon)
    fields = {
        **of_words,
        **of_taps,
        "kind": _KINDS.index(tokenizer.kind),
        "cell": CELLS_IN_C.index(network.cell.name),
        "first": int(tokenizer.first == " "),
        "eos": core.id_of(tokenizer.eos_id),
        "number": tokenizer.token_to_id.get(NUMBER, -1) if isinstance(tokenizer, Vocabulary) else -1,
        "num_merges": len(merges),
        "num_signs": len(signs),
        **_sizes_of(network, matrices),
        "embeddings": embeddings,
        "embedding_scales": scales,
        "sorted": _sorted(tokenizer),
        "merges": merges,
        "of_bytes": _of_bytes(tokenizer),
        "signs": np.frombuffer(b"".join(signs), "uint8"),
    }
    return Tables({name: fields[name] for name in core.MODEL_FIELDS if name != "matrices"}, matrices)


def _check(tokenizer: Tokenizer) -> None:
    if isinstance(tokenizer, Subwords) and tokenizer.merges is None:
        raise ExportError(
            "Expected words, characters, or subwords that kerasptb made of a text: others' rules are not in C. "
            "--format litert has any. Received: a tokenizer.json with other rules"
        )


def _stored(matrix: np.ndarray, is_float: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns a matrix as it is stored, and the scales of its rows, `None` without."""
    if is_float:
        return matrix.astype("float32"), None
    integers, scales = quantize_rows(matrix)
    return integers, scales.ravel()


def _matrices(network: Network, embeddings: np.ndarray, scales: np.ndarray | None) -> Iterator[dict[str, Any]]:
    """Yields the matrices: a row is an output, so that each is a product of two rows; without scales in float32."""
    is_float = scales is None
    for *kernels, bias in network.layers:
        stored = [_stored(kernel, is_float) for kernel in kernels]
        of_inputs = None if is_float else np.concatenate([of_kernel for _, of_kernel in stored])
        rows, biases = _joined(network.cell, *(matrix for matrix, _ in stored), bias)
        yield _matrix(rows, of_inputs, None, biases)
    for kernel, bias in network.dense:
        if network.is_tied and kernel is network.kernel:
            yield _matrix(embeddings, None, scales, bias) | {"num_inputs": kernel.shape[0]}
        else:
            matrix, of_inputs = _stored(kernel, is_float)
            yield _matrix(matrix.T, of_inputs, None, bias)


def _joined(cell: Cell, *weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of the sums of a cell, over x and h together, and their biases."""
    kernel, recurrent_kernel, bias = weights
    if cell.name != "gru":
        return np.concatenate([kernel, recurrent_kernel]).T, bias
    # The candidate's two sums are apart, since the reset gate multiplies one of them.
    of_x, of_h = (np.split(matrix, 3, axis=1) for matrix in (kernel, recurrent_kernel))
    blocks = [[of_x[0], of_x[1], of_x[2], 0 * of_x[2]], [of_h[0], of_h[1], 0 * of_h[2], of_h[2]]]
    biases_x, biases_h = (np.split(of_product, 3) for of_product in bias)
    biases = [biases_x[0] + biases_h[0], biases_x[1] + biases_h[1], biases_x[2], biases_h[2]]
    return np.block(blocks).T, np.concatenate(biases)


def _matrix(
    rows: np.ndarray, input_scales: np.ndarray | None, output_scales: np.ndarray | None, bias: np.ndarray
) -> dict[str, Any]:
    """Returns the fields of an `lm_matrix`."""
    return {
        "weights": _padded(rows),
        "input_scales": input_scales,
        "output_scales": output_scales,
        "bias": bias,
        "num_inputs": rows.shape[1],
        "num_outputs": rows.shape[0],
    }


def _padded(rows: np.ndarray) -> np.ndarray:
    """Returns rows with zeros behind them; those that need none are the same array."""
    size = rows.shape[1]
    more = _padded_size(size) - size
    return np.pad(rows, [(0, 0), (0, more)]) if more else rows


def _padded_size(size: int) -> int:
    return -(-size // _LANES) * _LANES


def _sorted(tokenizer: Tokenizer) -> np.ndarray | None:
    """Returns the words' ids, int32 [V], in the order of their bytes without the space before them."""
    if not isinstance(tokenizer, Vocabulary):
        return None
    return np.array(sorted(range(len(tokenizer)), key=lambda index: tokenizer.pieces[index][1:]), "int32")


def _merges(tokenizer: Tokenizer) -> np.ndarray:
    """Returns the merges of byte-pair encoding, sorted, int32 [N, 4]."""
    ids, merges = tokenizer.token_to_id, tokenizer.merges if isinstance(tokenizer, Subwords) else ()
    rows = [(ids[left], ids[right], rank, ids[left + right]) for rank, (left, right) in enumerate(merges or ())]
    return np.array(sorted(rows), "int32").reshape(-1, 4)


def _of_bytes(tokenizer: Tokenizer) -> np.ndarray | None:
    if isinstance(tokenizer, Vocabulary):
        return None
    ids = {piece: index for index, piece in enumerate(tokenizer.pieces)}
    return np.array([ids[bytes([byte])] for byte in range(256)], "int32")


def _signs(text_format: TextFormat) -> list[bytes]:
    """Returns what each sign is read as, the longest first: bytes with their size before them, three of a sign."""
    readings = sorted(text_format.signs.readings.items(), key=lambda item: -len(item[0]))
    return [
        b"".join(bytes([len(text)]) + text for text in (sign.encode(), first.encode(), other.encode()))
        for sign, (first, other) in readings
    ]
