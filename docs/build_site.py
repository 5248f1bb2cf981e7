"""Builds the site: `make docs`.

The pages link to each other, to tables and to scripts as they lie in the repository. So they are laid out for the site
as they lie there, and what they link to with them; the notebook and the reference become pages on the way. What builds
the site then sees Markdown alone.
"""

import base64
import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import griffe
from latex2mathml.converter import convert as mathml

from kerasptb.export import export_page

ROOT = Path(__file__).parents[1]
NOTEBOOK = Path("examples/walkthrough.ipynb")
ASSETS = ("iframe-worker.js", "site.css")
# The page of the package's own model, which anyone can try on the first page of the site, before anything is installed.
KEYBOARD = Path("try.html")
TRY_IT = f'''
**Try it:** a model of English, in this page alone. What you type stays in it.

<iframe class="keyboard" src="{KEYBOARD}" title="A keyboard page with a model of English"></iframe>
'''
PAGES = ("*.md", "docs/**/*.md", "examples/*.md", "kerasptb/runs/english/CARD.md")
# It names everything once and explains nothing: a search would find it first.
UNSEARCHED = ("CHANGELOG.md",)

# Public by what the pages say of them, not by the package's stub.
OTHER_ROOMS = ("models.transfer", "ops.logits", "runs.settings", "serving")


def build(folder=ROOT):
    """Builds the site into the folder `site` of a folder, and raises if a link leads nowhere."""
    pages = folder / "build" / "pages"
    shutil.rmtree(pages, ignore_errors=True)
    copy_pages(pages)
    write(pages / NOTEBOOK.with_suffix(".md"), page_of(NOTEBOOK, pages))
    for name, text in reference().items():
        write(pages / "reference" / name, text)
    export_page("english", pages / KEYBOARD)
    for name in ASSETS:
        write(pages / name, (ROOT / "docs" / name).read_bytes())
    for name in ("mkdocs.yml", "docs/docstrings.py"):
        if folder != ROOT:
            write(folder / name, (ROOT / name).read_bytes())
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "--config-file", folder / "mkdocs.yml"]
    subprocess.run(command, cwd=ROOT, check=True)


def write(path, content):
    """Writes text or bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def copy_pages(pages):
    """Copies the pages of the repository, and the files that they link to."""
    for page in [page for where in PAGES for page in ROOT.glob(where)]:
        text = page.read_text(encoding="utf-8")
        links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
        for file in [(page.parent / link).resolve() for link in links]:
            if file.suffix != ".md":
                write(pages / file.relative_to(ROOT), file.read_bytes())
        if page.name in UNSEARCHED:
            text = f"---\nsearch:\n  exclude: true\n---\n{text}"
        if page == ROOT / "README.md":
            text = re.sub(r"^# .*\n", lambda title: title[0] + TRY_IT, text, count=1)
        write(pages / page.relative_to(ROOT), text.replace(f"({NOTEBOOK.name})", f"({NOTEBOOK.stem}.md)"))


def page_of(notebook, pages):
    """Returns a notebook with its stored outputs as Markdown, and writes its pictures."""
    parts = []
    for cell in json.loads((ROOT / notebook).read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(with_formulas(source) if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                picture = notebook.with_name(f"{notebook.stem}-{len(parts)}.png")
                write(pages / picture, base64.b64decode(data["image/png"]))
                parts.append(f"![What the cell above draws]({picture.name})")
            else:
                text = "".join(output.get("text") or data["text/plain"])
                parts.append(f"``` {{.text .output}}\n{text.rstrip()}\n```")
    parts.insert(1, f"This page is a notebook: [{notebook.name}]({notebook.name}).")
    return "\n\n".join(parts)


def with_formulas(text):
    """Turns TeX into MathML, which browsers show by themselves."""
    text = text.replace("{aligned}", "{align*}")  # the name that the converter knows
    text = re.sub(r"\$\$(.+?)\$\$", lambda found: mathml(found[1].strip(), display="block"), text, flags=re.DOTALL)
    return re.sub(r"\$([^$\n]+)\$", lambda found: mathml(found[1]), text)


def public_names(room):
    """Returns the public names of a module that griffe has read, without those of modules."""
    exports = room.exports
    if exports == []:  # imported lazily: Python reads them from the stub
        exports = [name for name in importlib.import_module(room.path).__all__ if name not in room.modules]
    if exports is None:
        exports = [name for name, member in room.members.items() if member.is_public and not member.is_alias]
    return sorted(exports)


def reference():
    """Returns the reference: by file name, a page for each public module and the list of them.

    A name that `kerasptb` itself offers is described on its page, and linked from the page of the module.
    """
    loader = griffe.GriffeLoader(search_paths=[ROOT])
    loader.load("kerasptb")
    root = loader.modules_collection["kerasptb"]
    names = [name for name in importlib.import_module("kerasptb").__all__ if name in root.modules]
    paths = ["kerasptb", *(f"kerasptb.{name}" for name in [*names, *OTHER_ROOMS])]
    rooms = [loader.modules_collection[path] for path in sorted(paths)]
    at_root = public_names(root)
    pages = {"SUMMARY.md": "\n".join(f"- [{room.path}]({room.path}.md)" for room in rooms)}
    for room in rooms:
        elsewhere = [name for name in public_names(room) if name in at_root and room is not root]
        parts = [f"::: {room.path}\n    options:\n      heading_level: 1\n      members: false"]
        if elsewhere:
            links = ", ".join(f"[`{name}`][kerasptb.{name}]" for name in elsewhere)
            parts.append(f"On the page of [`kerasptb`](kerasptb.md): {links}.")
        for name in public_names(room):
            path = f"{room.path}.{name}"
            if name in room.modules:  # an operation, in a file of its name
                parts.append(f"::: {path}.{name}\n    options:\n      heading: {path}")
            elif name not in elsewhere:
                parts.append(f"::: {path}")
        pages[f"{room.path}.md"] = "\n\n".join(parts)
    return pages


if __name__ == "__main__":
    build()
