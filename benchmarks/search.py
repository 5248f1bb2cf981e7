"""How many of the likeliest words the search for whole words misses, and what it costs.

    python -m benchmarks.search [RUN] [--text FILE] [--places 120] [--csv FILE]

Places are drawn at words of the text, or of the package's sample. At each, words are looked for before the word is
typed, and after one to three of its letters, with the model of the package ("english") or of a run; of subwords or
characters, since a vocabulary of words needs no search.

The other search reads every beginning that has a twentieth of the tenth word's probability, and a millionth of the
prefix's. An answer misses a word that is among its k likeliest, unless that is as likely as one that the answer has.
A row is a beginning that the model reads, a round a call of the model; the times are those of the engine, which
the server uses, with nothing remembered between searches.
"""

import argparse
import heapq
import itertools
import math
import random
import time
from pathlib import Path

import numpy as np

from benchmarks import machine
from kerasptb.data.sources.sample import read_sample
from kerasptb.data.tokenizers.prefixes import fold_bytes
from kerasptb.data.tokenizers.tokenizer import EOS
from kerasptb.data.tokenizers.written_text import comes_unspaced, is_of_word
from kerasptb.reading import run_search
from kerasptb.reading.pieces import pieces_of
from kerasptb.reading.words import search_words
from kerasptb.serving.server import load_reader

_LETTERS = 3  # typed at most
_SHORTEST = 4  # letters of a word that is typed
_KEYS = (3, 5, 10)
_SHARE, _OF_WORD = 1e-6, 1 / 20
_ROUND = 64
_AS_LIKELY = 1e-4
_MOST_WORDS = 40  # in a paragraph before the word


def places_of(text, number):
    """Returns pairs of a text and the word that comes after it, at random places."""
    draw, places = random.Random(0), []
    paragraphs = [line.split(" ") for line in text.split("\n")]
    every = [(words, i) for words in paragraphs for i, word in enumerate(words[:_MOST_WORDS]) if _is_typed(word)]
    for words, i in draw.sample(every, min(number, len(every))):
        places.append((" ".join(words[:i]), words[i]))
    return places


def _is_typed(word):
    return len(word) >= _SHORTEST and all(map(is_of_word, word[:_SHORTEST]))


class Reading:
    """Reads beginnings of words, and counts rows and rounds."""

    def __init__(self, reader):
        self._reader = reader
        self.rows = self.rounds = 0

    def __call__(self, beginnings):
        """Returns the contexts after `Beginning`s."""
        self.rows, self.rounds = self.rows + len(beginnings), self.rounds + 1
        return self._reader.after(beginnings)


class Exhaustive:
    """All words after a context that are not all but impossible.

    Args:
        reader: a `Reader`.
        context: the `Context`.
        prefix: as `search_words` takes it, like `begins`.
        begins: whether a paragraph begins.
        k: number of words that are of interest.
    """

    def __init__(self, reader, context, prefix, begins, k):
        self._reader, self._pieces = reader, pieces_of(reader.tokenizer)
        self._prefix, self._begins, self._k = fold_bytes(prefix), begins, k
        unnamed = zip(reader.tokenizer.tokens, self._pieces.written, strict=True)
        self._folded = [b"\0" if token in reader.tokenizer.unnamed else fold_bytes(text) for token, text in unnamed]
        self._sizes = np.array(list(map(len, self._folded)))
        self._after_space = np.flatnonzero([bool(text) and not text[0].isspace() for text in self._pieces.written])
        self._words, self._waiting, self._order, self._total = {}, [], itertools.count(), 0.0
        self._add(context, "", -self._pieces.log_given(context.log_probabilities, prefix, begins))

    def words(self):
        """Returns a list of pairs of a word and its probability, the likeliest first."""
        while some := self._likely():
            contexts = self._reader.extend([each[2] for each in some], [each[4] for each in some])
            for (value, _, _, written, _), after in zip(some, contexts, strict=True):
                if written.strip() and not self._rest(written):
                    self._found(written, math.exp(-value) * self._pieces.end_probability(after.log_probabilities))
                self._add(after, written, -value)
        return sorted(self._words.items(), key=lambda pair: -pair[1])

    def _rest(self, written):
        return self._prefix[len(fold_bytes(written)) :]

    def _likely(self):
        some, least = [], self._least()
        while self._waiting and len(some) < _ROUND and -self._waiting[0][0] > least:
            some.append(heapq.heappop(self._waiting))
        return some

    def _least(self):
        words = heapq.nlargest(self._k, self._words.values())
        least = max(_SHARE * self._total, words[-1] * _OF_WORD if len(words) == self._k else 0.0)
        return math.log(least) if least else -math.inf

    def _add(self, context, written, before):
        following, rest = context.log_probabilities, self._rest(written)
        ids = self._next(written, rest)
        covers = self._sizes[ids] >= len(rest)
        if rest or not written:
            self._total += float(np.exp(following[ids[covers]] + before).sum())
        values, least = following[ids] + before, self._least()
        for i in np.flatnonzero(values > least):
            text, value = written + self._pieces.written[ids[i]], float(values[i])
            if covers[i] and text.strip(" ") and not is_of_word(text[-1]):
                self._found(text, math.exp(value))
            else:
                heapq.heappush(self._waiting, (-value, next(self._order), context, text, int(ids[i])))

    def _next(self, written, rest):
        """Returns the ids of the pieces that may come next."""
        if rest:
            return np.array(
                [i for i, text in enumerate(self._folded) if text.startswith(rest) or rest.startswith(text)]
            )
        if not (written or self._begins):
            return np.flatnonzero(self._pieces.ends_word)
        return self._pieces.going_on if written.strip() else self._after_space

    def _found(self, written, probability):
        text = written.encode(errors="surrogateescape").decode(errors="replace")
        whole = "\N{REPLACEMENT CHARACTER}" not in text and len(set(map(is_of_word, text.strip()))) == 1
        if whole or text == "\n":
            word = text.strip() or EOS
            self._words[word] = self._words.get(word, 0.0) + probability


def misses(found, words, k):
    """Returns whether an answer lacks a word that is likelier than the least likely of the true k."""
    least = words[min(k, len(words)) - 1][1] * (1 + _AS_LIKELY)
    return any(word not in found and probability > least for word, probability in words[:k])


def measure(reader, places):
    """Yields of each search k, whether it missed a word, its rows, its rounds and its milliseconds."""
    pieces = pieces_of(reader.tokenizer)
    for text, word in places:
        context, begins = reader.read_typed(text), comes_unspaced(text, reader.tokenizer.first)
        for letters in range(_LETTERS + 1):
            prefix = ("" if begins else " ") + word[:letters] if letters else ""
            words = Exhaustive(reader, context, prefix, begins, max(_KEYS)).words()
            for k in _KEYS:
                read, start = Reading(reader), time.perf_counter()
                search = search_words(pieces, context, prefix, k, begins=begins)
                found = dict(run_search(search, read).words)
                yield k, misses(found, words, k), read.rows, read.rounds, 1000 * (time.perf_counter() - start)


def main():
    """Runs the measurement from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", default="english", help="run folder (default: english)")
    parser.add_argument("--text", type=Path, help="text of the places (default: the package's sample)")
    parser.add_argument("--places", type=int, default=120, help="number of places (default: 120)")
    parser.add_argument("--csv", help="file to write the rows to")
    options = parser.parse_args()
    text = options.text.read_text(encoding="utf-8") if options.text else read_sample()["test"]
    reader = load_reader(options.run)
    list(measure(reader, places_of(text, 4)))  # the first calls trace
    measured = np.array(list(measure(reader, places_of(text, options.places))))
    rows = []
    for k in _KEYS:
        _, missed, *costs = measured[measured[:, 0] == k].T
        row = {"k": k, "searches": len(missed), "missing_percent": round(100 * float(missed.mean()), 2)}
        for name, values in zip(("rows", "rounds", "ms"), costs, strict=True):
            row[f"{name}_mean"] = round(float(values.mean()), 2)
            row |= {f"{name}_{100 * q:.0f}": round(float(np.quantile(values, q)), 2) for q in (0.5, 0.99)}
        rows.append(row)
        print(row, flush=True)
    print("; ".join(f"{name} {value}" for name, value in machine.describe().items()))
    if options.csv:
        machine.write_csv(options.csv, rows, tokens=len(reader.tokenizer))


if __name__ == "__main__":
    main()
