"""The n-grams of a run's training text in ARPA form, which SRILM, KenLM and Presage read.

A text file (Paul and Baker, 1992, "The design for the Wall Street Journal-based CSR corpus"): of each n-gram the
logarithm of its probability, its words, and that of its backoff, to the base 10. KenLM's page has the details.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from kerasptb.data import EOS, UNK, Tokenizer
from kerasptb.export.destination import atomic_file
from kerasptb.export.kneser_ney import NGrams, kneser_ney
from kerasptb.export.source import AnyRun, run_of
from kerasptb.runs.counted_text import load_counts
from kerasptb.runs.folder import RunFolder
from kerasptb.runs.words import load_words
from kerasptb.utils.errors import ExportError
from kerasptb.utils.types import StrPath

BEGIN, END = "<s>", "</s>"
ORDER = 3  # Presage reads no more; a fourth word would bring 3 % of the perplexity on PTB, for 40 % more bytes
LEAST = 2  # so that nothing stands in the file that the text has only once
_MOST = 300_000  # n-grams of several words: about 9 MB
_TOGETHER = 1 << 20  # tokens that are written out at once
_PART = re.compile(r"\S+|\n")
_REMEMBERED = 50_000  # parts, with their words
NO_COUNTS = (
    "Expected a run with the counts of its training text. `kerasptb count RUN` makes them, with --data TEXT where the "
    "text is no longer in its place. Received: a run without"
)


@dataclasses.dataclass(frozen=True, eq=False)
class CountedWords:
    """The words of a run's training text.

    Attributes:
        names: the V words, `<unk>` and `</s>` among them.
        text: int [N], the text as indices of them; each sentence, which is a line or a paragraph, ends with `</s>`.
    """

    names: list[str]
    text: np.ndarray

    @functools.cached_property
    def frequencies(self) -> dict[str, int]:
        """How often the text has each word."""
        return dict(zip(self.names, np.bincount(self.text, minlength=len(self.names)).tolist(), strict=True))

    @classmethod
    def of(cls, run: RunFolder) -> CountedWords:
        """Returns the words that the counts of a run were made of.

        Those of subwords and characters are the words that keys show. The text must have them twice, or the run's
        words.txt once: others are `<unk>`, as are words that an ARPA file cannot hold.

        Raises:
            ExportError: if the run has no counts.
        """
        counts, tokenizer = load_counts(run), run.vocabulary
        if counts is None:
            raise ExportError(NO_COUNTS)
        if not tokenizer.spells:
            return cls._named(tokenizer.tokens, counts.tokens)
        words, text = _words_of(tokenizer, counts.tokens)
        lexicon = load_words(run)
        listed = dict.fromkeys(lexicon.words if lexicon else ())
        frequent = np.bincount(text, minlength=len(words)) >= LEAST
        names = [word if often or word in listed else UNK for word, often in zip(words, frequent, strict=True)]
        return cls._named([*names, *listed], text)

    @classmethod
    def _named(cls, words: Iterable[str], text: np.ndarray) -> CountedWords:
        """Returns a text of words as an ARPA file names them."""
        named = [_name_of(word) for word in words]
        names = list(dict.fromkeys([UNK, END, *named]))
        index = {name: i for i, name in enumerate(names)}
        text = np.array([index[name] for name in named])[text]
        return cls(names, text if text[-1] == index[END] else np.append(text, index[END]))

    def n_grams(self) -> list[NGrams]:
        """Returns the n-grams of one word, two and three; the word V is `<s>`."""
        return kneser_ney(self.text, self.names.index(END), len(self.names), ORDER, LEAST, _MOST)

    def write(self, path: Path) -> None:
        """Writes the n-grams to a file."""
        names, orders = np.array([*self.names, BEGIN], dtype=object), self.n_grams()
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.write("\\data\\\n")
            file.writelines(f"ngram {n}={len(grams.words)}\n" for n, grams in enumerate(orders, 1))
            for n, grams in enumerate(orders, 1):
                file.write(f"\n\\{n}-grams:\n")
                file.writelines(_lines(grams, names))
            file.write("\n\\end\\\n")


def _lines(grams: NGrams, names: np.ndarray) -> Iterator[str]:
    """Yields the lines of n-grams; the longest are no contexts, and nothing predicts `<s>`, for which -99 stands."""
    begins, longest = grams.words[:, -1] == len(names) - 1, grams.words.shape[1] == ORDER
    probabilities = np.where(begins, -99, np.log10(grams.probabilities)).tolist()
    backoffs = [f"\t{value:.6f}" for value in np.log10(grams.backoffs).tolist()]
    for probability, words, backoff in zip(probabilities, names[grams.words].tolist(), backoffs, strict=True):
        yield f"{probability:.6f}\t{' '.join(words)}{'' if longest else backoff}\n"


def export_arpa(run: AnyRun, path: StrPath) -> Path:
    """Writes the n-grams of a run's training text, up to three words long, in ARPA form.

    Those of several words are there that the text has at least twice, the 300,000 most frequent at most, with modified
    Kneser-Ney smoothing: the probabilities of all words sum to one after any other words. A sentence, between `<s>` and
    `</s>`, is a line, of subwords and characters a paragraph; there signs of punctuation are words.

    Args:
        run: a `Run`, or the path of its folder, with counts of its training text.
        path: the file to write; it must not exist, and its name must end in `.arpa`.

    Returns:
        The file, a `Path`.

    Raises:
        ExportError: if it is no run that is given, the run has no counts, or the file exists or has another suffix.
        RunError: if its counts are damaged.
        OSError: if the file cannot be written.
    """
    run = run_of(run)
    with atomic_file(path, ".arpa") as temporary:
        CountedWords.of(run).write(temporary)
    return Path(path)


def _words_of(tokenizer: Tokenizer, tokens: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Returns the words that tokens of pieces write, each once, and the text as indices of them, int32 [N]."""
    index: dict[str, int] = {}
    ends = np.flatnonzero(tokens == tokenizer.eos_id) + 1
    blocks = np.split(tokens, ends[:-1][np.diff(ends // _TOGETHER) > 0])

    @functools.lru_cache(_REMEMBERED)
    def indices_of(part: str) -> list[int]:
        return [index.setdefault(word, len(index)) for word in tokenizer.words_typed(part)]

    parts = (part for block in blocks for part in _PART.findall(tokenizer.decode(block)))
    text = np.fromiter(itertools.chain.from_iterable(map(indices_of, parts)), np.int32)
    return list(index), text


def _name_of(word: str) -> str:
    return END if word == EOS else UNK if "\0" in word or word in (BEGIN, END, UNK.upper()) else word
