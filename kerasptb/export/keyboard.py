"""A trained run as a pack for a keyboard: the network for phones and in C, its words and n-grams, and a card."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import kerasptb
from kerasptb.data import EOS, UNK
from kerasptb.data.lexicon import WORD
from kerasptb.export.arpa import END, NO_COUNTS, CountedWords
from kerasptb.export.c import export_c
from kerasptb.export.destination import atomic_folder
from kerasptb.export.source import AnyRun, run_of
from kerasptb.runs import files
from kerasptb.runs.folder import RunFolder
from kerasptb.runs.settings import NO_START
from kerasptb.runs.words import load_words
from kerasptb.utils.errors import ExportError
from kerasptb.utils.files import readable
from kerasptb.utils.types import StrPath

# What the folder may hold beside the card, and what it is for.
_LITERT, _C, _WORDS, _ARPA = "model.tflite", "c", "words.txt", "ngrams.arpa"
_PURPOSES = {
    _LITERT: "the network for LiteRT, with weights in 8 bits: it reads a token a call, and gives the next one's "
    "probabilities and its state",
    "model.tokenizer.json": "the network's tokens, for Hugging Face's library",
    "model.vocabulary.txt": "the network's tokens, a word a line in the order of the ids",
    _C: "the network with its tokens and the search for words in C99: `core.h`, `model.h`, and `main.c`, an example; "
    "its runtime is of kerasptb, under MIT",
    _WORDS: "a word a line, the most frequent first, and after a tab how often the text has it, where that is known",
    _ARPA: "words after up to two others, which the text has twice, in ARPA form, with modified Kneser-Ney smoothing: "
    "for KenLM, SRILM and Presage; signs of punctuation are words",
}
_FIGURES = {
    "test_perplexity_every_word": "perplexity of a token",
    "test_word_perplexity": "of a word",
    "test_bits_per_byte": "bits a byte",
    "test_unknown_share": "share of unknown words",
}
_ENGLISH = (
    "11 million words of books, speeches, talk, scripture, reference works and manuals. They are in the public domain, "
    "but for conversations of students (Chit-Chat, of the Perception, Control and Cognition Lab, MIT), examples of "
    "WordNet 3.0 (WordNet's licence) and manuals: of PostgreSQL (PostgreSQL Licence), Django, NumPy and CMake "
    "(BSD-3-Clause), Python (PSF-2.0), SQLAlchemy and Twisted (MIT), Rust (MIT or Apache-2.0), the Apache HTTP Server "
    "and Erlang/OTP (Apache-2.0) and Ganeti (BSD-2-Clause). The model's CARD.md lists them."
)


def export_keyboard(run: AnyRun, folder: StrPath) -> Path:
    """Writes what a keyboard needs of a run: a folder, whose `CARD.md` says what the model has read.

    `model.tflite` is the network in 8 bits, with its tokenizer beside it, and `c/` the same in C99. `words.txt` has a
    word a line, the most frequent first, and after a tab how often the training text has it. `ngrams.arpa` is what
    `export_arpa` writes. Without counts a run has no n-grams and no frequencies; then the card says how to get them.

    Args:
        run: a `Run`, or the path of its folder.
        folder: the folder to write; new or empty.

    Returns:
        The folder, a `Path`.

    Raises:
        ExportError: if it is no run that is given, or the folder is taken.
        RunError: if the run has no weights yet, or its counts are damaged.
        OSError: if a file cannot be written.
    """
    run = run_of(run)
    counted: CountedWords | None = None
    missing: dict[str, str] = {}
    with atomic_folder(folder) as temporary:
        with _telling(missing, _LITERT):
            _write_litert(run, temporary / _LITERT)
        with _telling(missing, _C):
            export_c(run, temporary / _C, name=Path(folder).name)
        with _telling(missing, _ARPA):
            counted = CountedWords.of(run)
            counted.write(temporary / _ARPA)
        with _telling(missing, _WORDS):
            lines = "".join(_lines(run, counted))
            (temporary / _WORDS).write_text(lines, encoding="utf-8", newline="\n")
        there = [name for name in _PURPOSES if (temporary / name).exists()]
        (temporary / "CARD.md").write_text(_card(run, counted, there, missing), encoding="utf-8")
    return Path(folder)


def _write_litert(run: RunFolder, path: Path) -> None:
    """Writes the network for LiteRT, the part of the pack that needs TensorFlow."""
    try:
        from kerasptb.conversion.litert import export_litert  # noqa: PLC0415  (a door in the wall)
    except ImportError:
        raise ExportError("TensorFlow, which writes it, is not installed") from None
    export_litert(run, path, quantize=True)


@contextlib.contextmanager
def _telling(missing: dict[str, str], name: str) -> Iterator[None]:
    """Notes why a part cannot be written; the others are of use without it."""
    try:
        yield
    except ExportError as error:
        missing[name] = f"{error}."


def _lines(run: RunFolder, counted: CountedWords | None) -> Iterator[str]:
    """Yields the lines of the list of words."""
    if counted is not None:
        frequencies = sorted(counted.frequencies.items(), key=lambda item: (-item[1], item[0]))
        lines = [(word, f"{word}\t{number}\n") for word, number in frequencies]
    elif lexicon := load_words(run):
        lines = [(word, f"{word}\n") for word in lexicon.words]
    else:
        raise ExportError(NO_COUNTS)
    no_words = {UNK, EOS, END, *run.vocabulary.unnamed}
    return (line for word, line in lines if word not in no_words and WORD.search(word))


def _card(run: RunFolder, counted: CountedWords | None, there: Iterable[str], missing: dict[str, str]) -> str:
    """Returns the text of the card."""
    parts = {
        "What it has read": list(_read(run, counted)),
        "Figures": list(_figures(run)),
        "Files": [f"`{name}`: {_PURPOSES[name]}." for name in there],
        "Not here": [f"`{name}`: {reason}" for name, reason in missing.items()],
    }
    written = [_section(title, lines) for title, lines in parts.items() if lines]
    about = f"A language model for a keyboard, written by kerasptb {kerasptb.__version__}."
    return "\n\n".join([f"# {_name(run.settings.data.name)}", about, *written]) + "\n"


def _section(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"## {title}\n", *(f"- {line}" for line in lines)])


def _read(run: RunFolder, counted: CountedWords | None) -> Iterator[str]:
    """Yields what the model has read, and under which licences."""
    data, start = run.settings.data, run.settings.training.start_from
    is_english = data.digest == RunFolder.open(files.IN_THE_PACKAGE).settings.data.digest
    if is_english or start == files.ENGLISH:
        yield f"`{files.ENGLISH}`: {_ENGLISH}"
    elif start not in (None, NO_START):
        yield f"What the model had read that it began with, `{_name(Path(start).name)}`."
    if not is_english:
        size = "" if counted is None else f": {len(counted.text):,} words, signs and ends of sentences"
        yield f"`{_name(data.name)}`{size}. The texts that it was trained on keep their licences."


def _figures(run: RunFolder) -> Iterator[str]:
    """Yields the size of the network and, once its training has ended, its figures."""
    model, data = run.settings.model, run.settings.data
    yield f"{data.vocabulary_size:,} {data.tokens}, layers of {' and '.join(map(str, model.units))} units."
    known = {name: value for key, name in _FIGURES.items() if (value := run.metrics.get(key)) is not None}
    if known:
        listed = ", ".join(f"{name} {value:.4g}" for name, value in known.items())
        yield f"Of its text's test part, by the network in float32, without n-grams: {listed}."


def _name(text: str) -> str:
    """Returns a name as a line of Markdown can hold it."""
    return " ".join(readable(text).split()).replace("`", "'")
