"""The counts of a run's training text: made, written, and read by memory map."""

import hashlib
import time

import numpy as np

from kerasptb.evaluation.perplexity import checked_text
from kerasptb.ops.counts import NUM_WEIGHTS, sort_positions
from kerasptb.reading.counted_reader import CountedText, learn_weights
from kerasptb.runs.damage import damage
from kerasptb.runs.files import COUNTS, COUNTS_WEIGHTS
from kerasptb.utils.files import atomic_write

# Tokens of the validation text that the weights are learned on: as many as the text of 20 novels has for it.
LEARNED_ON = 1 << 17
_REMEDY = "`kerasptb count RUN` makes the counts anew; --counts none does without."


def make_counts(run, reader, corpus, report):
    """Writes the counts of a corpus' training text into a run, unless they do not help on its validation text.

    `reader` is that of the network. Returns the `CountedText`, `None` if they do not help.
    """
    counts, line = _learned(reader, corpus)
    remove_counts(run)
    if counts is not None:
        write_counts(run.folder, counts)
    report(line)
    return counts


def _learned(reader, corpus):
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


def remove_counts(run):
    """Removes the counts of a run, if it has some."""
    for name in COUNTS_WEIGHTS, COUNTS:
        (run.folder / name).unlink(missing_ok=True)


def load_counts(run):
    """Returns the `CountedText` of a run; `None` if it has none. Raises `RunError` for damaged ones."""
    path = run.folder / COUNTS_WEIGHTS
    if not path.exists():
        return None
    with damage(path, _REMEDY), path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        weights, going_on, expected = stored["weights"], stored["going_on"], str(stored["digest"])
        sound = (each.shape == (NUM_WEIGHTS,) and each.dtype == np.float32 for each in (weights, going_on))
        if not all(sound) or not np.isfinite([weights, going_on]).all():
            raise ValueError("its weights are not those of counts")
    path = run.folder / COUNTS
    with damage(path, _REMEDY):
        if not path.exists():
            raise ValueError("it is gone")
        arrays = np.load(path, mmap_mode="r", allow_pickle=False)
        if arrays.ndim != 2 or len(arrays) != 2 or arrays.dtype != np.int32:
            raise ValueError("it does not hold two rows of numbers")
        if _digest(weights, going_on, *arrays) != expected:
            raise ValueError(f"it does not fit {COUNTS_WEIGHTS}")
        for array, end in zip(arrays, (len(run.vocabulary), arrays.shape[1]), strict=True):
            if array.size and not 0 <= array.min() <= array.max() < end:  # the library trusts them
                raise ValueError("its numbers are out of range")
    return CountedText(*arrays, weights, going_on)


def write_counts(folder, counts):
    """Writes `CountedText` into a folder."""
    header = {"descr": "<i4", "fortran_order": False, "shape": (2, len(counts.tokens))}
    with atomic_write(folder / COUNTS) as temporary, temporary.open("wb") as file:
        # As `np.save`, which does not tell of a full disk, and without a copy of a long text.
        np.lib.format.write_array_header_1_0(file, header)
        file.write(counts.tokens)
        file.write(counts.order)
    weights = {"weights": counts.weights, "going_on": counts.going_on}
    with atomic_write(folder / COUNTS_WEIGHTS) as temporary:
        np.savez(temporary, **weights, digest=_digest(*weights.values(), counts.tokens, counts.order))


def _digest(*arrays):
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
