"""What correctors make of what people typed and left standing.

    python -m benchmarks.people FOLDER [--run english] [--margins 3 1.5] [--sentences 3000] [--skip N] [--csv FILE]

FOLDER is a clone of wxyzz22/TypeLikeU, or its `data/keystroke-samples`: sentences that were shown to people, and what
they typed, of Dhakal et al., 2018, "Observations on Typing from 136 Million Keystrokes" (not for commerce, with
attribution: to measure only). People with an id below 4000 are there to look at and to choose settings by. Those of
4000 and above are held back, for the last figure of what is finished: `--held-back`.

What was typed is aligned with what was shown, word by word; a word is compared by its letters alone, without case and
signs. Of words that are wrong in their letters it is counted how many are made right, and of right words how many are
made wrong. Hunspell (its first suggestion for what it does not know), SymSpell (the first of its words within two edits
for what it does not know) and codespell (what it would write) stand beside, if they are there.
"""

import argparse
import csv
import dataclasses
import functools
import importlib.resources
import random
import re
import subprocess
import time
from pathlib import Path

from benchmarks import machine
from kerasptb.evaluation import Share
from kerasptb.keyboard import Correction, apply_corrections
from kerasptb.keyboard.correction import MARGIN
from kerasptb.run import load_run

_HELD_BACK = 4000
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def read_people(folder, held_back):
    """Returns pairs of a sentence and what was typed for it, those of a person together."""
    pairs = {}
    below = folder / "data" / "keystroke-samples"
    for path in sorted((below if below.is_dir() else folder).glob("*_keystrokes.txt")):
        number = int(path.name.partition("_")[0])
        if (number >= _HELD_BACK) != held_back:
            continue
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                if row["SENTENCE"] and row["USER_INPUT"]:
                    pairs[number, row["TEST_SECTION_ID"]] = row["SENTENCE"], row["USER_INPUT"]
    return list(pairs.values())


def letters(text):
    """Returns the letters and digits of a text, in small letters."""
    return "".join(filter(str.isalnum, text.lower()))


def aligned(shown, typed):
    """Returns words, (start, end, meant): where each stands in what was typed, and its letters in what was shown.

    Words of which nothing says what was meant are left out: added ones, two that were written as one, one as two, and
    those of which more than half of the letters differ.
    """
    meant = [letters(word) for word in shown.split() if letters(word)]
    found = [match for match in re.finditer(r"\S+", typed) if letters(match.group())]
    written = [letters(match.group()) for match in found]
    return [
        (*found[j].span(), meant[i])
        for i, j in _pairs(meant, written)
        if 2 * edits(meant[i], written[j]) <= max(len(meant[i]), len(written[j]))
    ]


def _pairs(meant, written):
    """Returns the places of words that stand for each other where fewest letters are changed."""
    best = {(0, 0): (0, [])}
    for i in range(len(meant) + 1):
        for j in range(len(written) + 1):
            ways = [best[i, j]] if (i, j) in best else []
            for a, b in (i - 1, j - 1), (i - 1, j), (i, j - 1), (i - 2, j - 1), (i - 1, j - 2):
                if (a, b) in best:
                    cost, pairs = best[a, b]
                    cost += edits("".join(meant[a:i]), "".join(written[b:j]))
                    ways.append((cost, [*pairs, (a, b)] if (i - a, j - b) == (1, 1) else pairs))
            best[i, j] = min(ways, key=lambda way: way[0])
    return best[len(meant), len(written)][1]


@functools.lru_cache(100_000)
def edits(meant, written):
    """Returns how many letters are changed, left out, added or exchanged between two words."""
    rows = [list(range(len(written) + 1))]
    for i, letter in enumerate(meant, start=1):
        rows.append([i])
        for j, other in enumerate(written, start=1):
            ways = [rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (letter != other)]
            if i > 1 and j > 1 and (letter, other) == (written[j - 2], meant[i - 2]):
                ways.append(rows[i - 2][j - 2] + 1)
            rows[i].append(min(ways))
    return rows[-1][-1]


def misspelt():
    """Returns texts with a common misspelling each, as `figures` takes them."""
    lines = Path(__file__).with_name("misspellings.txt").read_text(encoding="utf-8").splitlines()
    pairs = [[re.sub(r"\{(.*)\|(.*)\}", which, line) for which in (r"\1", r"\2")] for line in lines]
    return [(typed, aligned(shown, typed)) for shown, typed in pairs]


def figures(texts, correct):
    """Returns what a function that takes a text and returns its `Correction`s makes of texts with their words."""
    wrong, mended, right, changed, begin = 0, 0, 0, 0, time.perf_counter()
    for typed, words in texts:
        corrections = correct(typed)
        for start, end, meant in words:
            is_right = letters(corrected(typed, start, end, corrections)) == meant
            if letters(typed[start:end]) == meant:
                right, changed = right + 1, changed + (not is_right)
            else:
                wrong, mended = wrong + 1, mended + is_right
    return {
        "words": wrong + right,
        "wrong": wrong,
        **percent("mended", mended, wrong),
        **percent("changed", changed, right),
        "wrong_after": wrong - mended + changed,
        "ms_a_word": round(1000 * (time.perf_counter() - begin) / max(wrong + right, 1), 2),
    }


def corrected(text, start, end, corrections):
    """Returns what a word becomes, with what else one of its corrections spans."""
    inside = [each for each in corrections if each.start < end and each.end > start]
    first, last = min([start, *(each.start for each in inside)]), max([end, *(each.end for each in inside)])
    moved = [dataclasses.replace(each, start=each.start - first, end=each.end - first) for each in inside]
    return apply_corrections(text[first:last], moved)


def percent(name, count, total):
    """Returns what share that is, with its interval."""
    ends = zip(("", "_low", "_high"), dataclasses.astuple(Share.of(count, total)), strict=True)
    return {f"{name}{key}": round(100 * value, 2) for key, value in ends}


def by_words(mend):
    """Returns a function from texts to `Correction`s, by one that takes a word and returns a word."""

    def correct(text):
        words = ((match.span(), match.group(), mend(match.group())) for match in _WORD.finditer(text))
        return [Correction(*span, word, other, 0.0) for span, word, other in words if other != word]

    return correct


def hunspell():
    """Returns what corrects a word by hunspell's first suggestion."""
    command = ["hunspell", "-a", "-i", "utf-8", "-d", "en_US"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    process.stdout.readline()  # its version

    @functools.cache
    def mend(word):
        process.stdin.write(f"^{word}\n")
        process.stdin.flush()
        lines = list(iter(process.stdout.readline, "\n"))
        suggestions = re.match(r"& \S+ \d+ \d+: ([^,\n]+)", lines[0]) if len(lines) == 1 else None
        return suggestions[1] if suggestions else word

    return mend


def symspell():
    """Returns what corrects a word by SymSpell, with its own list of English."""
    import symspellpy  # noqa: PLC0415  (a peer)

    speller = symspellpy.SymSpell()
    with importlib.resources.as_file(importlib.resources.files("symspellpy")) as folder:
        speller.load_dictionary(folder / "frequency_dictionary_en_82_765.txt", 0, 1)
    closest = functools.partial(speller.lookup, verbosity=symspellpy.Verbosity.TOP, max_edit_distance=2)
    return functools.cache(lambda word: next((each.term for each in closest(word.lower())), word))


def codespell():
    """Returns what corrects a word by codespell's dictionary, where it has one correction, which it would write."""
    folder = importlib.resources.files("codespell_lib")
    lines = (folder / "data" / "dictionary.txt").read_text(encoding="utf-8").splitlines()
    known = dict(line.split("->") for line in lines)
    return lambda word: word if "," in known.get(word.lower(), ",") else known[word.lower()]


def peers():
    """Yields names and functions of the correctors that are there."""
    for make in hunspell, symspell, codespell:
        try:
            yield make.__name__, by_words(make())
        except (ImportError, OSError) as error:
            print(f"{make.__name__} is left out: {error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--run", default="english")
    parser.add_argument("--margins", nargs="*", type=float, default=[MARGIN])
    parser.add_argument("--sentences", type=int, default=3000, help="drawn at random, with one seed (default: 3000)")
    parser.add_argument("--skip", type=int, default=0, help="sentences of the same draw to leave out before them")
    parser.add_argument("--misspellings", action="store_true", help="the hundred of misspellings.txt instead of people")
    parser.add_argument("--held-back", action="store_true", help="people with an id of 4000 and above")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    pairs, run = [] if options.misspellings else read_people(options.folder, options.held_back), load_run(options.run)
    random.Random(1).shuffle(pairs)
    pairs = pairs[options.skip : options.skip + options.sentences]
    texts = misspelt() if options.misspellings else [(typed, aligned(shown, typed)) for shown, typed in pairs]
    correctors = {
        f"{options.run}, margin {margin:g}": functools.partial(run.correct, margin=margin) for margin in options.margins
    }
    rows = []
    for name, correct in (correctors | dict(() if options.no_peers else peers())).items():
        rows.append({"corrector": name, "sentences": len(texts), **figures(texts, correct)})
        print(*(f"{key} {value}" for key, value in rows[-1].items()), sep=", ", flush=True)
    if options.csv:
        machine.write_csv(options.csv, rows)


if __name__ == "__main__":
    main()
