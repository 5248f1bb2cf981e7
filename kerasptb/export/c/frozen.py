"""A frozen model as C99: the nodes of `native/src/frozen/ops.c`, a program of them, and its weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import kerasptb
from kerasptb.export.c.arrays import array_in_c, float_in_c
from kerasptb.export.destination import atomic_folder
from kerasptb.frozen.graph import Graph, count_numbers
from kerasptb.frozen.program import MATRICES, VALUES, Matrix, NotServedError, Packing, Program, fields_of, make_program
from kerasptb.frozen.steps import stepwise
from kerasptb.utils.errors import ExportError
from kerasptb.utils.types import StrPath

_OPS = Path(kerasptb.__file__).parent / "native" / "src" / "frozen"
LANES = 16  # of a panel: sums that compilers keep in registers

_CALL = """
typedef struct {
  int32_t external, offset; /* -1: in the memory */
} fz_place;

/* Runs a program for a row, over arrays of the caller's. */
static int fz_call(const fz_node* nodes, int32_t num_nodes, const fz_place* places, int32_t num_tensors,
                   float* const* externals, float* scratch) {
  int32_t i;
  for (i = 0; i < num_tensors; i++)
    tensors[i] = (places[i].external < 0 ? memory : externals[places[i].external]) + places[i].offset;
  return fz_run(nodes, num_nodes, tensors, scratch, 1);
}
"""


def write_frozen(graph: Graph, folder: StrPath, float32: bool, name: str | None = None) -> Path:
    """Writes a graph as NAME.h and NAME.c, NAME being that of the folder by default; see `export_c`."""
    name = re.sub(r"[^a-zA-Z0-9]", "_", name or Path(folder).name)
    name = name if name[:1].isalpha() else f"model_{name}"
    packing = Packing(LANES, "float32" if float32 else "int8", vectors=1, interleaves=False)
    programs = {
        kind: program for kind in ("predict", "step") if (program := _program(graph, kind, packing)) is not None
    }
    if not programs:
        raise ExportError("Expected a model whose inputs have a fixed shape, or a step at a time. Received: neither")
    with atomic_folder(folder) as temporary:
        (temporary / f"{name}.h").write_text(_header(graph, name, programs), encoding="utf-8")
        (temporary / f"{name}.c").write_text(_source(graph, name, programs, float32), encoding="utf-8")
    return Path(folder)


def _program(graph: Graph, kind: str, packing: Packing) -> Program | None:
    """Returns the program of a sequence, or of a step; `None` if a model has none."""
    shapes = [list(given.shape[1:]) for given in graph.inputs]
    if kind == "step":
        why_not, graph, _ = stepwise(graph)
        if why_not is not None or not graph.recurrent:
            return None
        shapes = [[1, *shape[1:]] for shape in shapes]
    if any(size is None for shape in shapes for size in shape):
        return None
    try:
        return make_program(graph, [tuple(shape) for shape in shapes], packing, kind == "step")  # type: ignore[arg-type]
    except NotServedError as error:
        raise ExportError(f"A source in C has no form of such a layer. Received: {error}") from None


def _header(graph: Graph, name: str, programs: dict[str, Program]) -> str:
    lines = [
        f"/* Written by kerasptb {kerasptb.__version__}. */",
        f"#ifndef {name.upper()}_H",
        f"#define {name.upper()}_H",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
    ]
    for kind, program in programs.items():
        sizes = _sizes(graph, kind, program)
        lines += ["", f"/* Floats of the arrays of {name}_{kind}. */"]
        lines += [f"#define {name.upper()}_{kind.upper()}_{array.upper()} {size}" for array, size in sizes.items()]
        lines += [_COMMENTS[kind], f"{_prototype(name, kind, sizes)};"]
    return "\n".join([*lines, "", "#ifdef __cplusplus", "}", "#endif", "", "#endif", ""])


_ONE_CALL = " * One call of any of these functions at a time: what is between the layers is kept in static memory. */"
_COMMENTS = {
    "predict": "/* Computes a row; ids are floats. Returns 0 if one was out of range and read as 0, else 1.\n"
    + _ONE_CALL,
    "step": "/* Computes a step, as if the sequence ended here, and changes the state, which begins with zeros.\n"
    + _ONE_CALL,
}


def _sizes(graph: Graph, kind: str, program: Program) -> dict[str, int]:
    """Returns the floats of each array that a function takes: inputs, a state, and outputs."""
    steps = kind == "step"
    inputs = [count_numbers((1, 1, *each.shape[2:]) if steps else each.shape) for each in graph.inputs]  # type: ignore
    outputs = [count_numbers((1, *shape)) for shape in program.shapes]
    states = {"state": sum(map(sum, graph.state_sizes))} if steps else {}
    return {**_named("in", inputs), **states, **_named("out", outputs)}


def _named(name: str, sizes: Sequence[int]) -> dict[str, int]:
    return {name if len(sizes) == 1 else f"{name}_{i}": size for i, size in enumerate(sizes)}


def _prototype(name: str, kind: str, arrays: Iterable[str]) -> str:
    given = ", ".join(f"{'const ' if each.startswith('in') else ''}float* {each}" for each in arrays)
    return f"int {name}_{kind}({given})"


def _source(graph: Graph, name: str, programs: dict[str, Program], float32: bool) -> str:
    arrays: dict[int, str] = {}
    texts: list[str] = []

    def named(array: Any) -> str:
        """Returns the name of an array, which is written once."""
        if array is None or not array.size:
            return "0"
        if id(array) not in arrays:
            arrays[id(array)] = f"array_{len(arrays)}"
            texts.append(array_in_c(arrays[id(array)], array))
        return arrays[id(array)]

    functions = [_function(graph, name, kind, program, named) for kind, program in programs.items()]
    memory = max(program.arena + max(program.block_scratch, 1) for program in programs.values())
    tensors = max(len(program.places) for program in programs.values())
    weight = "float" if float32 else "signed char"
    definitions = f"#define FZ_LANES {LANES}\n#define FZ_WEIGHT {weight}\n"
    room = f"static float memory[{memory}];\nstatic float* tensors[{max(tensors, 1)}];\n"
    includes = f'#include "{name}.h"\n\n#include <math.h>\n#include <string.h>\n'
    parts = [includes, _of("ops.h"), definitions, _of("ops.c"), room, _CALL, *texts, *functions]
    return "\n".join(parts)


def _of(file: str) -> str:
    return (_OPS / file).read_text(encoding="utf-8")


def _function(graph: Graph, name: str, kind: str, program: Program, named: Any) -> str:
    """Returns the nodes and the places of a program, and its function."""
    nodes = ",\n".join(_node(step, named) for step in program.steps)
    places = ", ".join(f"{{{place.external}, {place.offset}}}" for place in program.places)
    sizes = _sizes(graph, kind, program)
    inputs, outputs = ([each for each in sizes if each.startswith(part)] for part in ("in", "out"))
    states = ["state", "state"] if kind == "step" else []
    externals = ", ".join([*(f"(float*){each}" for each in inputs), *outputs, *states])
    return (
        f"static const fz_node {kind}_nodes[] = {{\n{nodes}}};\n"
        f"static const fz_place {kind}_places[] = {{{places}}};\n\n"
        f"{_prototype(name, kind, sizes)} {{\n"
        f"  float* externals[{len(inputs) + len(outputs) + len(states)}];\n"
        + "".join(f"  externals[{i}] = {each};\n" for i, each in enumerate(externals.split(", ")))
        + f"  return fz_call({kind}_nodes, {len(program.steps)}, {kind}_places, {len(program.places)}, externals,\n"
        f"                 memory + {program.arena});\n}}\n"
    )


def _node(step: Any, named: Any) -> str:
    fields = [
        "{" + ", ".join(map(str, value)) + "}"
        if isinstance(value, list)
        else float_in_c(value)
        if isinstance(value, float)
        else str(value)
        for _, value in fields_of(step)
    ]
    matrices = [_matrix(matrix, named) for matrix in step.matrices] or ["{0, 0, 0, 0, 0, 0}"]
    matrices += ["{0, 0, 0, 0, 0, 0}"] * (MATRICES - len(matrices))
    values = [*map(named, step.values), *["0"] * (VALUES - len(step.values))]
    return "{" + ", ".join([*fields, "{" + ", ".join(matrices) + "}", "{" + ", ".join(values) + "}"]) + "}"


def _matrix(matrix: Matrix, named: Any) -> str:
    arrays = ", ".join(named(array) for array in (matrix.weights, matrix.scales, matrix.bias))
    return f"{{{arrays}, {matrix.inputs}, {matrix.outputs}, 0}}"
