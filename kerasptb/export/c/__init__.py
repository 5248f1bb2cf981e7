"""A trained model as C99: the core, and the model's tables, which any compiler takes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np

import kerasptb
from kerasptb.export.c.arrays import array_in_c
from kerasptb.export.c.frozen import write_frozen
from kerasptb.export.c.tables import CELLS_IN_C, Tables, tables_of
from kerasptb.export.destination import atomic_folder
from kerasptb.export.source import RunOrModel, check_cell, open_source
from kerasptb.frozen import FrozenNetwork, Graph
from kerasptb.utils.errors import ExportError
from kerasptb.utils.types import StrPath

_HERE, CORE = Path(__file__).parent, Path(kerasptb.__file__).parent / "native" / "src" / "core"
# Weights that a compiler takes as a source: gcc 12 needs 60 bytes of memory for each in 8 bits, 190 in float32.
_MOST_NUMBERS = 40_000_000
# What a room depends on, in the order of `LM_BYTES`.
_SIZES = {
    "VOCABULARY_SIZE": "num_tokens",
    "MOST_LETTERS": "most_letters",
    "NUM_SYMBOLS": "num_symbols",
    "STATE_SIZE": "state_size",
    "MOST_INPUTS": "most_inputs",
    "MOST_OUTPUTS": "most_outputs",
}


def export_c(run_or_model: RunOrModel, folder: StrPath, float32: bool = False, name: str | None = None) -> Path:
    """Writes a trained model as C99, with its tokenizer, and `main.c`, a program that suggests.

    `core.h` says what a program calls, and `core.c` does it, for any model; `model.h` and `model.c` are the model's
    tables. They need `math.h` and `string.h` alone, allocate nothing, and have no state. Words are found as
    `kerasptb.keyboard.Writer` finds them.

    Of any other Keras model, or a `FrozenNetwork`, it writes NAME.h and NAME.c, NAME being the folder's: C99 of the
    layers that `kerasptb.freeze` serves, `NAME_predict(in, out)` and `NAME_step(in, state, out)`, and their sizes.

    Args:
        run_or_model: a `Run`, the path of its folder, a `LanguageModel`, another Keras model, or a `FrozenNetwork`.
        folder: the folder to write; new or empty.
        float32: whether to keep the weights in float32, not in 8 bits as `export_run` stores them.
        name: of the model in the source; by default the folder's.

    Returns:
        The folder, a `Path`.

    Raises:
        ExportError: if the folder is taken, the model is too large for a source, its tokenizer has rules that are not
            in C, or it does not know its tokenizer.
        RunError: if the run has no weights yet.
        OSError: if a file cannot be written.
    """
    if Path(folder).suffix in (".c", ".h"):
        raise ExportError(f"Expected the name of a folder, for several files. Received: {folder}")
    if (graph := _graph_of(run_or_model)) is not None:
        return write_frozen(graph, folder, float32, name)
    source = open_source(run_or_model)
    network = source.network
    check_cell(network, "A source in C", network.cell.name in CELLS_IN_C)
    if (size := sum(weight.size for weight in network.weights)) > _MOST_NUMBERS:
        raise ExportError(
            f"Expected a model of at most {_MOST_NUMBERS:,} weights, since compilers take no larger source; --format "
            f"litert has any. Received: {size:,}"
        )
    tables = tables_of(source, float32)
    name = f"lm_model_of_{re.sub(r'[^a-zA-Z0-9]', '_', name or Path(folder).name)}"
    with atomic_folder(folder) as temporary:
        (temporary / "core.h").write_text(f"#define LM_FLOAT {int(float32)}\n\n{_of_core('core.h')}", encoding="utf-8")
        (temporary / "core.c").write_text(_core(), encoding="utf-8")
        (temporary / "model.h").write_text(_header(tables, name), encoding="utf-8")
        (temporary / "model.c").write_text(_source(tables, name), encoding="utf-8")
        shutil.copy(_HERE / "main.c", temporary)
    return Path(folder)


def _graph_of(model: Any) -> Graph | None:
    """Returns the graph of a model that is no language model's; `None` for those, and for runs."""
    if isinstance(model, FrozenNetwork):
        return model.graph
    if isinstance(model, Graph) or not hasattr(model, "get_layer") or hasattr(model, "tokenizer"):
        return model if isinstance(model, Graph) else None
    from kerasptb.conversion.frozen import graph_of  # noqa: PLC0415  (Keras is there, since the model is)

    return graph_of(model)


def _of_core(name: str) -> str:
    return (CORE / name).read_text(encoding="utf-8")


def _core() -> str:
    """Returns the core as one source."""
    return re.sub(r'#include "(\w+\.c)"', lambda part: _of_core(part[1]), _of_core("core.c"))


def _header(tables: Tables, name: str) -> str:
    """Returns the header of a model: its name, and what it needs room for."""
    sizes = {f"LM_{constant}": tables.fields[field] for constant, field in _SIZES.items()}
    return "\n".join(
        [
            f"/* Written by kerasptb {kerasptb.__version__}. */",
            '#include "core.h"',
            "",
            *[f"#define {constant} {value}" for constant, value in sizes.items()],
            "/* The room of a search, as of `lm_bytes`. */",
            "#define LM_ROOM(num_words, num_rows, flags) \\",
            f"  LM_BYTES(num_words, num_rows, flags, {', '.join(sizes)})",
            "",
            f"extern const lm_model {name};",
            f"#define LM_MODEL {name}",
            "",
        ]
    )


def _source(tables: Tables, name: str) -> str:
    """Returns the source of a model's tables."""
    arrays: list[str] = []
    written: dict[int, str] = {}

    def name_of(of_array: str, value: int | np.ndarray | None) -> str:
        """Returns how a value is written in the struct; an array is a table of its own, once."""
        if value is None or not np.size(value):
            return "0"
        if isinstance(value, int):
            return str(value)
        if id(value) not in written:
            written[id(value)] = of_array
            arrays.append(array_in_c(of_array, value))
        return written[id(value)]

    fields = [name_of(f"table_{field}", value) for field, value in tables.fields.items()]
    matrices = [
        "{" + ", ".join(name_of(f"matrix_{i}_{field}", value) for field, value in matrix.items()) + "}"
        for i, matrix in enumerate(tables.matrices)
    ]
    struct = f"static const lm_matrix matrices[] = {{{', '.join(matrices)}}};\n\nconst lm_model {name} = {{\n"
    return "\n".join(
        ['#include "model.h"', "#include <math.h>", "", *arrays, f"{struct}{', '.join(fields)},\nmatrices}};\n"]
    )
