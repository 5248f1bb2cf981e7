"""The counts of a run's training text: made, written, and read by memory map."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kerasptb.data.streams import checked_text
from kerasptb.reading.counted_reader import CountedText, learn_weights
from kerasptb.reading.counts import NUM_WEIGHTS, sort_positions
from kerasptb.runs.damage import damage
from kerasptb.runs.files import COUNTS
from kerasptb.runs.weights import identity
from kerasptb.runs.words import make_words
from kerasptb.utils.files import atomic_write
from kerasptb.utils.status_line import at_work
from kerasptb.utils.types import Report

if TYPE_CHECKING:
    from kerasptb.data import Corpus
    from kerasptb.reading.reader import Reader
    from kerasptb.runs.folder import RunFolder

# Tokens of the validation text that the weights are learned on: as many as the text of 20 novels has for it.
LEARNED_ON = 1 << 17
_DIGEST_SIZE = 4  # in numbers of four bytes
_REMEDY = "`kerasptb count RUN` makes the counts anew; --counts none does without."


def make_counts(run: RunFolder, reader: Reader, corpus: Corpus, report: Report) -> CountedText | None:
    """Writes the words and counts of a corpus' training text into a run; no counts if they do not help on valid.

    `reader` is that of the network. Returns the `CountedText`, `None` if they do not help.
    """
    with at_work("Counting the training text"):
        make_words(run, corpus.train)
        counts, line = _learned(reader, corpus)
    if counts is None:
        (run.folder / COUNTS).unlink(missing_ok=True)
    else:
        write_counts(run, counts)
    report(line)
    return counts


def _learned(reader: Reader, corpus: Corpus) -> tuple[CountedText | None, str]:
    """Returns the `CountedText` of a corpus, `None` if it does not help, and a line that says so."""
    begin, vocabulary_size = time.perf_counter(), len(corpus.vocabulary)
    if min(len(corpus.train), len(corpus.valid)) < 2 or len(corpus.train) >= 1 << 31:
        return None, "Counts need a training and a validation text of 2 to 2^31 tokens: none are kept."
    tokens, valid = (  # the library trusts them
        np.ascontiguousarray(checked_text(vocabulary_size, ids)) for ids in (corpus.train, corpus.valid[:LEARNED_ON])
    )
    counts, means = learn_weights(reader, tokens, sort_positions(tokens, vocabulary_size), valid)
    network, static, going_on = np.exp(-means)
    taken = f"in {time.perf_counter() - begin:.0f} s"
    if static >= network:
        line = f"Counts of the training text do not help: perplexity {network:.2f} becomes {static:.2f} ({taken})."
        return None, line
    return counts, (
        f"Counts of the training text: perplexity {network:.2f} of the validation text becomes {static:.2f}, and "
        f"{going_on:.2f} if they go on while it is read ({taken})."
    )


def remove_counts(run: RunFolder) -> None:
    """Removes the counts of a run, if it has some; its words, which do not go with the network, stay."""
    (run.folder / COUNTS).unlink(missing_ok=True)


def load_counts(run: RunFolder) -> CountedText | None:
    """Returns the `CountedText` of a run; `None` if it has none. Raises `RunError` for damaged ones."""
    path = run.folder / COUNTS
    try:
        with damage(path, _REMEDY):
            return _read(path, len(run.vocabulary), _owner(run))
    except FileNotFoundError:
        return None


def _owner(run: RunFolder) -> bytes:
    """Returns what the counts of a run go with: its tokenizer, and the network that their weights were learned on."""
    return run.vocabulary.digest.encode() + identity(run.find_weights("best"))


def _digest(counts: CountedText, owner: bytes) -> bytes:
    return hashlib.blake2b(counts.digest + owner, digest_size=4 * _DIGEST_SIZE).digest()


def _read(path: Path, vocabulary_size: int, owner: bytes) -> CountedText:
    """Returns the `CountedText` of a file; raises ValueError for what `write_counts` has not written."""
    stored = np.lib.format.open_memmap(path, mode="r")  # unlike np.load, no archive of several
    size, rest = divmod(stored.size - 3 * NUM_WEIGHTS - _DIGEST_SIZE, 2)
    if stored.ndim != 1 or stored.dtype != np.int32 or size < 0 or rest:
        raise ValueError("it does not hold counts")
    ends = np.cumsum([size, size, *[NUM_WEIGHTS] * 3])
    tokens, order, *weights, digest = np.split(stored, ends)
    counts = CountedText(tokens, order, *np.array(weights).view("float32"))
    if digest.tobytes() != _digest(counts, owner):
        raise ValueError("it is not what was written for this tokenizer and these weights")
    if not np.isfinite([counts.weights, counts.going_on, counts.alone]).all():
        raise ValueError("its weights are no numbers")
    for array, end in (tokens, vocabulary_size), (order, size):
        if size and not 0 <= array.min() <= array.max() < end:  # the library trusts them
            raise ValueError("its numbers are out of range")
    return counts


def write_counts(run: RunFolder, counts: CountedText) -> None:
    """Writes `CountedText` into a run, as one array of the tokens, their order, the weights' bits and a digest."""
    arrays = [np.ascontiguousarray(getattr(counts, field.name)) for field in dataclasses.fields(counts)]
    header = {"descr": "<i4", "fortran_order": False, "shape": (sum(map(len, arrays)) + _DIGEST_SIZE,)}
    with atomic_write(run.folder / COUNTS) as temporary, temporary.open("wb") as file:
        # As `np.save`, which does not tell of a full disk, and without a copy of a long text.
        np.lib.format.write_array_header_1_0(file, header)
        for array in arrays:
            file.write(array.data)
        file.write(_digest(counts, _owner(run)))
