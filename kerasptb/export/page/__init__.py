"""A trained model as a page that anyone can open: one HTML file, without a server, a network or an installation."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import itertools
import json
import re
from pathlib import Path

import numpy as np

import kerasptb
from kerasptb.data.scripts import UNSPACED
from kerasptb.export.c.tables import CELLS_IN_C, Tables, tables_of
from kerasptb.export.c.taps import LAYOUTS
from kerasptb.export.destination import atomic_file
from kerasptb.export.source import RunOrModel, Source, check_cell, open_source
from kerasptb.keyboard.writer import Writer
from kerasptb.utils.types import StrPath

_HERE = Path(__file__).parent
# The page of the server, of which this one is made: its sources are files, no modules of Python.
_SOURCES = Path(kerasptb.__file__).parent / "serving" / "page"
# The module of the server's page that asks the server, and the one that asks the model in the page.
_INSTEAD = {"server": "local"}
_WORD = np.dtype("<i4")
_POLICY = (
    "default-src 'none'; script-src 'sha256-{script}' 'wasm-unsafe-eval'; style-src 'sha256-{style}'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
# What a browser need not read: comments, those behind code if no text can be meant, empty lines, and indents.
_UNREAD = re.compile(r"""^\s*(?:/\*.*?\*/|//[^\n]*)\n| +// [^\n"'`]*$|^\s+""", re.MULTILINE | re.DOTALL)
_IMPORT = re.compile(r'^import (?:\* as )?(.+?) from "\./(\w+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:class|const|function) (\w+))", re.MULTILINE)


def export_page(run_or_model: RunOrModel, path: StrPath) -> Path:
    """Writes a trained model as one HTML file: a keyboard page that asks no server.

    The page is that of `kerasptb serve`, with the weights in 8 bits, the tokenizer, and the core that `export_c`
    writes, compiled to WebAssembly. It opens from a disk or any server, in browsers of 2023 or later, asks no network,
    and shows the words that `suggest` finds. What it learns of its writer stays in the browser.

    Args:
        run_or_model: a `Run`, the path of its folder, or a `LanguageModel`.
        path: the file to write; it must not exist, and its name must end in `.html`.

    Returns:
        The file, a `Path`.

    Raises:
        ExportError: if the file exists or has another suffix, the tokenizer has rules that are not in C, or the model
            does not know its tokenizer.
        RunError: if the run has no weights yet.
        OSError: if the file cannot be written.
    """
    source = open_source(run_or_model)
    check_cell(source.network, "A page", source.network.cell.name in CELLS_IN_C)
    tables = tables_of(source, is_float=False)
    with atomic_file(path, ".html") as temporary:
        temporary.write_text(_page(_about(source), _image(tables)), encoding="utf-8", newline="\n")
    return Path(path)


def _about(source: Source) -> dict:
    """Returns what the page's scripts know of a model, beside what `/version` tells."""
    tokenizer = source.tokenizer
    return {
        "kerasptb": kerasptb.__version__,
        "name": source.name,
        "tokens": tokenizer.kind,
        "vocabulary_size": len(tokenizer),
        "first": tokenizer.first,
        "eos_id": tokenizer.eos_id,
        "unk_id": tokenizer.unk_id,
        "exclude": sorted(Writer(tokenizer).exclude),
        "signs": {sign: len(elsewhere) for sign, (_, elsewhere) in source.text_format.signs.readings.items()},
        "unspaced": UNSPACED,
        "layouts": LAYOUTS,
    }


def _image(tables: Tables) -> bytes:
    """Returns what `load` of wasm.c takes: where pointers are, the struct `lm_model`, its matrices, and its arrays."""
    matrices = [value for matrix in tables.matrices for value in matrix.values()]
    values = [*tables.fields.values(), _WORD.itemsize * (len(tables.fields) + 1), *matrices]
    arrays = {id(value): _padded(value) for value in values if isinstance(value, np.ndarray)}  # tied weights once
    ends = itertools.accumulate(map(len, arrays.values()), initial=_WORD.itemsize * len(values))
    places = dict(zip(arrays, ends, strict=False))
    struct = [places.get(id(value)) or value or 0 for value in values]
    pointers = [_WORD.itemsize * i for i, value in enumerate(values) if id(value) in places or i == len(tables.fields)]
    return b"".join([np.array([len(pointers), *pointers, *struct], _WORD).tobytes(), *arrays.values()])


def _padded(array: np.ndarray) -> bytes:
    content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return content + bytes(-len(content) % 8)


def _page(about: dict, image: bytes) -> str:
    """Returns the page of what is said of a model, and its image."""
    style = _UNREAD.sub("", _source("keyboard.css") + _source("page.css"))
    script = _UNREAD.sub("", f'"use strict";\n{_bundle("keyboard")}')
    parts = {"about": json.dumps(about).encode(), "runtime": (_HERE / "runtime.wasm").read_bytes(), "model": image}
    data = "".join(_packed(name, part) for name, part in parts.items())
    # The script comes last: it does not run before all is there.
    changes = {
        '<meta charset="utf-8">': f'<meta charset="utf-8">\n    {_policy(script, style)}',
        "<title>kerasptb": f"<title>{html.escape(about['name'] or 'kerasptb')} –",
        "static/icon.svg": f"data:image/svg+xml;base64,{_base64(_source('icon.svg').encode())}",
        '<link rel="stylesheet" href="static/keyboard.css">': f"<style>{style}</style>",
        '    <script src="static/keyboard.js" type="module"></script>\n': "",
        "    <main>\n": f"{_source('before.html')}    <main hidden>\n",
        " autofocus": "",
        '      <p id="correcting"': f'{_source("remembering.html")}      <p id="correcting"',
        "  </body>": f"{data}    <script>{script}</script>\n  </body>",
    }
    page = re.sub("    <noscript>.*\n", "", _source("index.html"))
    for before, after in changes.items():
        assert before in page, before
        page = page.replace(before, after)
    return re.sub(r"^ +", "", page, flags=re.MULTILINE)


def _packed(name: str, content: bytes) -> str:
    """Returns an element that holds bytes; gzip has a sum over them, by which damage is found."""
    packed = _base64(gzip.compress(content, mtime=0))
    return f'    <script id="gzip-{name}" type="application/gzip">{packed}</script>\n'


def _bundle(entry: str) -> str:
    """Returns a module and all that it imports as one script: each is a function that returns what it exports."""
    modules: dict[str, str] = {}

    def add(name: str) -> None:
        if name not in modules:
            text = _source(f"{_INSTEAD.get(name, name)}.js")
            for _, imported in _IMPORT.findall(text):
                add(imported)
            modules[name] = _module(name, text)

    add(entry)
    return "\n".join(modules.values())


def _module(name: str, text: str) -> str:
    exported = ", ".join(name for _, name in _EXPORT.findall(text))
    text = _IMPORT.sub(lambda found: f"const {found[1].replace(' as ', ': ')} = {found[2]}Module;", text)
    text = _EXPORT.sub(r"\1", text)
    return f"const {name}Module = (() => {{\n{text}return {{ {exported} }};\n}})();"


def _source(name: str) -> str:
    """Returns a source of this page, or else of the server's."""
    path = _HERE / name
    return (path if path.exists() else _SOURCES / name).read_text(encoding="utf-8")


def _policy(script: str, style: str) -> str:
    """Returns the element that says what the page may do: run this script, if it is whole, and its WebAssembly."""
    policy = _POLICY.format(script=_digest(script), style=_digest(style))
    return f'<meta http-equiv="Content-Security-Policy" content="{policy}">'


def _digest(text: str) -> str:
    return _base64(hashlib.sha256(text.encode()).digest())


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
