"""Three texts that anyone has: a novel, a book and manuals, out of Debian's packages.

    python -m benchmarks.texts [--folder FOLDER]

On Debian or a system like it. The packages are downloaded with `apt-get download`, and nothing is installed.

- novel: Emma, by Jane Austen, from the package r-cran-janeaustenr; lines wrapped at 72 characters.
- book: An Anarchist FAQ, from the package anarchism (GPL-2); HTML.
- manuals: the sources of the Linux kernel's documentation, from linux-doc-6.12 (GPL-2 and others); reStructuredText.
"""

import argparse
import bz2
import hashlib
import html.parser
import lzma
import re
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

FOLDER = Path("~/.cache/kerasptb/texts")
# How R packs a value, by the letter after its size; and a string in what was packed: four bytes of flags, and its size.
_PACKINGS = {
    b"2": bz2.BZ2Decompressor,
    b"Z": lambda: lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 6}]),
}
_SHORTEST = 100_000  # characters of a novel
_STRING = re.compile(rb"\x00..\x09(....)", re.DOTALL)


def text_of(name, folder=FOLDER):
    """Returns the path of a text, and makes it if it is not there.

    Args:
        name: "novel", "book" or "manuals".
        folder: where the texts are.
    """
    package, read = TEXTS[name]
    path = Path(folder).expanduser() / f"{name}.txt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_in_package(package, read), encoding="utf-8")
    return path


def novels():
    """Returns the novels of Jane Austen, a list of texts."""
    return _in_package("r-cran-janeaustenr", novels_in)


def _in_package(package, read):
    """Returns what `read` finds in the folder of a package's files."""
    with tempfile.TemporaryDirectory() as temporary:
        subprocess.run(["apt-get", "download", package], cwd=temporary, check=True)
        (archive,) = Path(temporary).glob("*.deb")
        subprocess.run(["dpkg-deb", "--extract", archive, temporary], check=True)
        return read(Path(temporary))


def novels_in(folder):
    """Returns the novels in the folder of the files of r-cran-janeaustenr, a list of texts."""
    content = (folder / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb").read_bytes()
    return [text for text in map(_strings, _values(content)) if len(text) > _SHORTEST]


def _novel(folder):
    return next(text for text in novels_in(folder) if text.startswith("EMMA"))


def _values(content):
    """Yields what a file of R's values holds: each after its size when packed, packed by itself."""
    for match in re.finditer(b"[2Zx]", content):
        begin = match.start()
        try:
            if match[0] == b"x":
                yield zlib.decompress(content[begin:])
            else:
                yield _PACKINGS[match[0]]().decompress(content[begin + 1 :])
        except (zlib.error, OSError, lzma.LZMAError):
            continue


def _strings(value):
    lines, end = [], 0
    for match in _STRING.finditer(value):
        (size,) = struct.unpack(">i", match[1])
        if match.start() >= end and 0 <= size < 400:
            end = match.end() + size
            lines.append(value[match.end() : end])
    return b"\n".join(lines).decode()


class _Paragraphs(html.parser.HTMLParser):
    """The text of a page, with an empty line between two paragraphs."""

    _BLOCKS = frozenset(["p", "h1", "h2", "h3", "h4", "li", "blockquote", "br", "div", "tr"])
    _HIDDEN = frozenset(["script", "style", "head"])

    def __init__(self):
        super().__init__()
        self.parts, self._hidden = [], 0

    def handle_starttag(self, tag, attrs):
        del attrs
        self._hidden += tag in self._HIDDEN
        if tag in self._BLOCKS:
            self.parts.append("\n\n")

    def handle_endtag(self, tag):
        self._hidden -= tag in self._HIDDEN
        if tag in self._BLOCKS:
            self.parts.append("\n\n")

    def handle_data(self, data):
        if not self._hidden:
            self.parts.append(re.sub(r"\s+", " ", data))


def _book(folder):
    texts = []
    for path in sorted((folder / "usr/share/doc/anarchism/html").glob("*.html")):
        page = _Paragraphs()
        page.feed(path.read_text(encoding="utf-8", errors="replace"))
        texts.append(re.sub(r" *\n\s*", "\n\n", "".join(page.parts)))
    return "\n\n".join(texts)


def _manuals(folder):
    paths = sorted((folder / "usr/share/doc/linux-doc-6.12/html/_sources").rglob("*.rst.txt"))
    return "\n\n".join(path.read_text(encoding="utf-8", errors="replace") for path in paths)


# Name -> package and what reads the text in it.
TEXTS = {
    "novel": ("r-cran-janeaustenr", _novel),
    "book": ("anarchism", _book),
    "manuals": ("linux-doc-6.12", _manuals),
}


def main(arguments=None):
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    for name in TEXTS:
        content = text_of(name, options.folder).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        print(f"{name}: {len(content.split()):,} words, {len(content):,} bytes, SHA-256 {digest}")


if __name__ == "__main__":
    sys.exit(main())
