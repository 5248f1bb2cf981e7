"""How many words of texts `correct` puts right, and how many right ones it changes.

    python -m benchmarks.corrections RUN TEXT … [--rates 0 0.02 0.05] [--words 5000] [--margin 3] [--csv FILE]

The first words of each text are typed on QWERTY with errors, as
kerasptb/keyboard/measure/simulator.py makes them, and the
whole is corrected. At a rate of 0 the text is as it is, and each correction is taken for a mistake. A word is what
stands between white space; two whose space was left out are right if both are.
"""

import argparse
import re
import time
from pathlib import Path

from benchmarks import machine
from kerasptb.keyboard import Simulator, apply_corrections, load_layout
from kerasptb.keyboard.correction import MARGIN
from kerasptb.run import load_run


def first_words(text, number):
    """Returns the beginning of a text with so many words."""
    ends = [match.end() for match in re.finditer(r"\S+", text)]
    return text if len(ends) <= number else text[: ends[number - 1]]


def type_text(text, rate):
    """Returns what is typed for a text, and a list of units, (start, end, meant, words): where each stands in it."""
    words, gaps = re.findall(r"\S+", text), re.split(r"\S+", text)
    typed = [(1, word) for word in words]
    if rate:
        typed = [(number, taps.text) for number, taps in Simulator(load_layout("qwerty"), rate).type(words)]
    parts, units, place, done = [], [], 0, 0
    for number, written in typed:
        parts += [gaps[done], written]
        place += len(gaps[done])
        units.append((place, place + len(written), " ".join(words[done : done + number]), number))
        place, done = place + len(written), done + number
    return "".join(parts), units


def figures(typed, units, corrections):
    """Returns shares of words that are wrong before and after corrections, and of right ones that were changed."""
    rest, counts = list(corrections), dict.fromkeys(("words", "wrong", "wrong_after", "changed"), 0)
    for start, end, meant, number in units:
        inside = []
        while rest and rest[0].start < end:
            inside.append(rest.pop(0))
        last = max([end, *(each.end for each in inside)])  # two words may have become one
        written = apply_corrections(typed[:last], inside)[start:]
        was_right, is_right = typed[start:end] == meant, written == meant
        counts["words"] += number
        counts["wrong"] += number * (not was_right)
        counts["wrong_after"] += number * (not is_right)
        counts["changed"] += number * (was_right and not is_right)
    words = counts["words"]
    return {
        "words": words,
        "wrong_percent": round(100 * counts["wrong"] / words, 2),
        "wrong_after_percent": round(100 * counts["wrong_after"] / words, 2),
        "changed_per_1000": round(1000 * counts["changed"] / (words - counts["wrong"]), 2),
        "corrections": len(corrections),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT")
    parser.add_argument("--rates", nargs="+", type=float, default=[0.0, 0.02, 0.05])
    parser.add_argument("--words", type=int, default=5000)
    parser.add_argument("--margin", type=float, default=MARGIN)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    run, rows = load_run(options.run), []
    run.correct("It is so.")  # compiles
    for path in options.texts:
        text = first_words(path.read_text(encoding="utf-8"), options.words)
        for rate in options.rates:
            typed, units = type_text(text, rate)
            before = time.process_time()
            found = figures(typed, units, run.correct(typed, margin=options.margin))
            milliseconds = 1000 * (time.process_time() - before) / found["words"]
            row = {"text": path.stem, "rate": rate, "margin": options.margin, **found}
            rows.append({**row, "processor_ms_a_word": round(milliseconds, 2)})
            print(*(f"{key} {value}" for key, value in rows[-1].items()), sep=", ", flush=True)
    if options.csv:
        machine.write_csv(options.csv, rows, run=options.run)


if __name__ == "__main__":
    main()
