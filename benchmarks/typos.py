"""Corrections side by side: our runs, unigrams of words, hunspell and SymSpell correct the same taps.

    python -m benchmarks.typos RUN TEXT … [--rates 0 0.03 0.069 0.1] [--words 5000] [--train FILE] [--csv FILE]

The first words of each text are typed on QWERTY, with errors as kerasptb/keyboard/measure/simulator.py makes them,
and each
is corrected after the text before it, typed right.

- The run corrects from points and from letters, the keys that were hit; the others from letters.
- The unigrams have the run's channel, margin and beam, but words of the training text FILE, with their shares of it.
- hunspell (Debian's packages `hunspell` and `hunspell-en-us`) writes its first suggestion for a word that it does not
  know.
- SymSpell (`pip install symspellpy`) writes what its `lookup` finds first with two edits at most, in its own dictionary
  of frequencies, with the case of what was typed.
"""

import argparse
import dataclasses
import os
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks import machine
from kerasptb.data import EOS, UNK, Vocabulary
from kerasptb.data.lexicon import WORD, Lexicon
from kerasptb.evaluation import Share
from kerasptb.keyboard import Keyboard, Simulator, Writer
from kerasptb.keyboard.measure.typos import contexts_before, type_words, typed_words
from kerasptb.reading import Context, run_search
from kerasptb.reading.search import run_searches
from kerasptb.run import load_run

_SEARCHES, _KEYS = 32, 3


class Unigrams:
    """Corrects by the shares of words in a text, whatever comes before them.

    Args:
        text: the text.
        keyboard: the `Keyboard`.
    """

    def __init__(self, text, keyboard):
        counts = Counter(WORD.findall(text))
        words = [word for word, count in counts.most_common() if count > 1]
        vocabulary = Vocabulary([EOS, UNK, *words])
        # A word that is new is as likely as those that came once (Good and Turing).
        shares = np.array([1, counts.total() - sum(counts[word] for word in words), *map(counts.get, words)], float)
        self._context = Context(np.zeros(0, "float32"), np.log(shares / shares.sum()).astype("float32"))
        self._writer, self._lexicon, self._keyboard = Writer(vocabulary), Lexicon(words), keyboard

    def correct(self, unit):
        """Returns what is written for a `Unit`."""
        search = self._writer.readings(
            self._context, unit.taps, self._keyboard, _KEYS, whole=True, lexicon=self._lexicon
        )
        return run_search(search, lambda asked: [self._context] * len(asked)).corrected()


class Hunspell:
    """The program, in a process that answers line by line."""

    def __init__(self):
        self._process = subprocess.Popen(
            ["hunspell", "-a", "-d", os.environ.get("DICTIONARY", "en_US"), "-i", "utf-8"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._process.stdout.readline()  # its version

    def correct(self, unit):
        """Returns what is written for a `Unit`."""
        print(f"^{unit.taps.text}", file=self._process.stdin, flush=True)
        answers = list(iter(self._process.stdout.readline, "\n"))
        # A text of several words, such as "well-known", stays unless all of it is unknown.
        found = answers[0].partition(": ") if len(answers) == 1 else ("", "", "")
        return found[2].strip().split(", ")[0] if found[0].startswith("&") else unit.taps.text


class SymSpell:
    """Its dictionary, and the nearest of its words."""

    def __init__(self):
        import symspellpy  # noqa: PLC0415  (a peer)

        self._lookup = symspellpy.SymSpell(max_dictionary_edit_distance=2)
        path = Path(symspellpy.__file__).with_name("frequency_dictionary_en_82_765.txt")
        self._lookup.load_dictionary(path, term_index=0, count_index=1)
        self._top = symspellpy.Verbosity.TOP

    def correct(self, unit):
        """Returns what is written for a `Unit`."""
        found = self._lookup.lookup(unit.taps.text, self._top, 2, include_unknown=True, transfer_casing=True)
        return found[0].term


def corrected_by_run(reader, ids, units, keyboard):
    """Returns what a run writes for each of some units, in their order."""
    writer = Writer(reader.tokenizer)

    def searches():
        for unit, contexts in contexts_before(reader, ids, units):
            (word, memory), *_ = unit.words
            options = {"begins": word.begins, "memory": memory, "lexicon": reader.lexicon}
            yield id(unit), writer.readings(contexts[0], unit.taps, keyboard, _KEYS, whole=True, **options)

    found = dict(run_searches(searches(), reader.after, _SEARCHES))
    return [found[id(unit)].corrected() for unit in units]


def figures(units, written):
    """Returns the shares of words that are right, and of those typed right that were changed."""
    words = [len(unit.words) for unit in units]
    as_typed = [unit.taps.text == unit.text for unit in units]
    right = [unit.text == text for unit, text in zip(units, written, strict=True)]
    kept = sum(a and b for a, b in zip(as_typed, right, strict=True))
    shares = {
        "right": Share.of(sum(n for n, is_right in zip(words, right, strict=True) if is_right), sum(words)),
        "right_as_typed": Share.of(sum(n for n, is_right in zip(words, as_typed, strict=True) if is_right), sum(words)),
        "changed": Share.of(sum(as_typed) - kept, sum(as_typed)),
    }
    return {
        f"{name}{end}": round(value, 5)
        for name, share in shares.items()
        for end, value in zip(("", "_low", "_high"), dataclasses.astuple(share), strict=True)
    } | {"num_words": sum(words)}


def type_text(reader, peers, text, rate, num_words, learn):
    """Yields the name of each corrector, the units, and what it writes."""
    keyboard = Keyboard()
    ids, words = typed_words(reader, text, learn, num_words)
    for points in (True, False):
        units = type_words(Simulator(keyboard.layout, rate), words, points)
        yield "points" if points else "letters", units, corrected_by_run(reader, ids, units, keyboard)
    for name, peer in peers.items():
        yield name, units, [peer.correct(unit) for unit in units]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT")
    parser.add_argument("--rates", nargs="+", type=float, default=[0.0, 0.03, 0.069, 0.1])
    parser.add_argument("--words", type=int, default=5000)
    parser.add_argument("--learn", action="store_true", help="words typed before are likelier")
    parser.add_argument("--train", type=Path, help="the text whose words the unigrams have")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    peers = {"hunspell": Hunspell(), "SymSpell": SymSpell()}
    if options.train:
        peers = {"unigrams": Unigrams(options.train.read_text(encoding="utf-8"), Keyboard()), **peers}
    reader, rows = load_run(options.run).reader, []
    for path in options.texts:
        text = path.read_text(encoding="utf-8")
        for rate in options.rates:
            for name, units, written in type_text(reader, peers, text, rate, options.words, options.learn):
                row = {"corrector": name, "text": path.stem, "rate": rate, **figures(units, written)}
                print(*(f"{key} {value}" for key, value in row.items()), sep=", ", flush=True)
                rows.append(row)
            if options.csv:
                machine.write_csv(options.csv, rows)


if __name__ == "__main__":
    main()
