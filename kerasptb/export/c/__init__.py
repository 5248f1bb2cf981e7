"""A trained model as C99: a header and a source of tables and a runtime, which any compiler takes."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np

import kerasptb
from kerasptb.export.c.tables import CELLS_IN_C, Tables, sizes_of, tables_of
from kerasptb.export.destination import atomic_folder
from kerasptb.export.source import check_cell, open_source
from kerasptb.runs.folder import RunFolder
from kerasptb.utils.errors import ExportError

SOURCES = Path(__file__).parent
# Of the runtime, each of which needs those before it.
PARTS = ("network.c", "characters.c", "tokens.c", "words.c", "taps.c", "search.c")
# Weights that a compiler takes as a source: gcc 12 needs 60 bytes of memory for each in 8 bits, 190 in float32.
_MOST_NUMBERS = 40_000_000
_A_LINE = 32
_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int32": "int32_t", "uint32": "uint32_t", "float32": "float"}


def export_c(
    run_or_model: RunFolder | str | os.PathLike[str] | Any,
    folder: str | os.PathLike[str],
    float32: bool = False,
) -> Path:
    """Writes a trained model as C99, with its tokenizer: `model.h`, `model.c`, and `main.c`, a program that suggests.

    The sources need `math.h` and `string.h` alone, allocate nothing, and have no state; `model.h` says what a program
    calls. Words are found as `kerasptb.keyboard.Writer` finds them.

    Args:
        run_or_model: a `Run`, the path of its folder, or a `LanguageModel`.
        folder: the folder to write; new or empty.
        float32: whether to keep the weights in float32, not in 8 bits as `export_run` stores them.

    Returns:
        The folder, a `Path`.

    Raises:
        ExportError: if the folder is taken, the model is too large for a source, its tokenizer has rules that are not
            in C, or it does not know its tokenizer.
        RunError: if the run has no weights yet.
        OSError: if a file cannot be written.
    """
    network, text_format, lexicon, _ = open_source(run_or_model)
    check_cell(network, "A source in C", network.cell.name in CELLS_IN_C)
    if (size := sum(weight.size for weight in network.weights)) > _MOST_NUMBERS:
        raise ExportError(
            f"Expected a model of at most {_MOST_NUMBERS:,} weights, since compilers take no larger source; --format "
            f"litert has any. Received: {size:,}"
        )
    tables = tables_of(network, text_format, lexicon, float32)
    constants = {**sizes_of(network, tables), "LM_FLOAT": int(float32)}
    with atomic_folder(folder) as temporary:
        (temporary / "model.h").write_text(_header(constants, Path(folder).name), encoding="utf-8")
        (temporary / "model.c").write_text(_source(tables), encoding="utf-8")
        shutil.copy(SOURCES / "main.c", temporary)
    return Path(folder)


def _header(constants, name):
    """Returns the header, which names the folder as far as a comment can."""
    lines = [f"#define {constant} {value}" for constant, value in constants.items()]
    made = f"/* {re.sub(r'[^ -~]|[*/?]', '_', name)}, written by kerasptb {kerasptb.__version__}. */"
    runtime = (SOURCES / "runtime.h").read_text(encoding="utf-8")
    return "\n".join([made, "#ifndef LM_MODEL_H", "#define LM_MODEL_H", "", *lines, "", runtime, "#endif", ""])


def _source(tables: Tables) -> str:
    arrays: list[str] = []
    written: dict[int, str] = {}

    def name_of(name, value):
        """Returns how a value is written in the struct; an array is a table of its own, once."""
        if value is None or not np.size(value):
            return "0"
        if isinstance(value, int):
            return str(value)
        if id(value) not in written:
            written[id(value)] = name
            arrays.append(_array(name, value))
        return written[id(value)]

    fields = [name_of(f"table_{name}", value) for name, value in tables.fields.items()]
    matrices = [
        "{" + ", ".join(name_of(f"matrix_{i}_{name}", value) for name, value in matrix.items()) + "}"
        for i, matrix in enumerate(tables.matrices)
    ]
    runtime = [(SOURCES / name).read_text(encoding="utf-8") for name in PARTS]
    struct = f"static const lm_tables tables = {{\n{', '.join(fields)},\n{{{', '.join(matrices)}}}}};\n"
    return "\n".join(['#include "model.h"', "", *arrays, struct, *runtime])


def _array(name, array):
    texts = list(map(_float if array.dtype == "float32" else str, array.ravel().tolist()))
    lines = [",".join(texts[i : i + _A_LINE]) for i in range(0, len(texts), _A_LINE)]
    return f"static const {_TYPES[array.dtype.name]} {name}[] = {{\n" + ",\n".join(lines) + "};\n"


def _float(value):
    """Returns a float32 in C, whose nine digits are enough to be read as the same."""
    text = f"{value:.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"
