"""Reading times and surprisal: how much better the words of ten stories predict how long people read them.

The Natural Stories corpus (Futrell et al., 2021, github.com/languageMIT/naturalstories, CC BY-NC-SA) has how long some
eighty people took for each word, which a key showed. A line through length and frequency of a word and the two before
it predicts the logarithm of the mean time; then with their surprisal too. Each story is predicted by a line through the
others.

    git clone https://github.com/languageMIT/naturalstories
    python examples/14_reading_times.py naturalstories              # the model of English in the package
    python examples/14_reading_times.py naturalstories --run RUN    # one of yours; with counts, also these alone

Prints how much likelier each measure of surprisal makes the times, in thousandths of a nat a word. With `english`, and
with a copy of it to which its own text was counted (docs/counts.md):

    10 stories, 10,256 words, 10,236 of them with two before them
    surprisal          +21.0
    word_surprisal     +20.4

    10 stories, 10,256 words, 10,236 of them with two before them
    surprisal          +19.1
    word_surprisal     +18.5
    network_surprisal  +21.0
    counts_surprisal   +15.9
"""

import argparse
import csv
from pathlib import Path

import numpy as np

import kerasptb

BEFORE = 2  # words before one that may still be on a reader's mind


def read_table(path):
    """Returns the rows of a table with tabs, dicts."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def read_stories(folder):
    """Returns the stories, lists of words, and of each word its length, log frequency and log time, float64 [N, 3].

    A word without a time has NaN.
    """
    times = {
        (row["item"], row["zone"]): float(row["gmeanItemRT"])
        for row in read_table(folder / "naturalstories_RTS" / "processed_wordinfo.tsv")
    }
    with (folder / "freqs" / "freqs-1.tsv").open(encoding="utf-8", newline="") as file:
        counts = {row[0]: row[3] for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}
    stories, figures = {}, []
    for row in read_table(folder / "naturalstories_RTS" / "all_stories.tok"):
        stories.setdefault(row["item"], []).append(row["word"])
        count = float(counts.get(f"{row['item']}.{row['zone']}.word", 0))
        time = times.get((row["item"], row["zone"]), np.nan)
        figures.append([len(row["word"]), np.log(count + 1), np.log(time)])
    return list(stories.values()), np.array(figures)


def with_words_before(figures, numbers):
    """Returns the figures of each word and of those before it in its story, float64 [N, columns], else NaN."""
    columns = [figures]
    for back in range(1, BEFORE + 1):
        shifted = np.full_like(figures, np.nan)
        shifted[back:] = np.where((numbers[back:] == numbers[:-back])[:, np.newaxis], figures[:-back], np.nan)
        columns.append(shifted)
    return np.hstack(columns)


def log_likelihoods(predictors, times, numbers):
    """Returns that of each time, float64 [N], by a line through the times of the other stories."""
    predictors = np.column_stack([np.ones(len(times)), predictors])
    found = np.zeros(len(times))
    for number in np.unique(numbers):
        others, own = numbers != number, numbers == number
        slopes = np.linalg.lstsq(predictors[others], times[others], rcond=None)[0]
        variance = np.mean((times[others] - predictors[others] @ slopes) ** 2)
        errors = times[own] - predictors[own] @ slopes
        found[own] = -0.5 * (np.log(2 * np.pi * variance) + errors**2 / variance)
    return found


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a clone of naturalstories")
    parser.add_argument("--run", default="english")
    options = parser.parse_args(arguments)
    stories, figures = read_stories(options.folder)
    numbers = np.repeat(np.arange(len(stories)), [len(story) for story in stories])
    scored = kerasptb.load_run(options.run).score([" ".join(story) for story in stories], entropy=True)
    words = [word for story in scored for word in story.by_word()[:-1]]  # without the story's end

    times, known = figures[:, 2], with_words_before(figures[:, :2], numbers)
    used = np.isfinite(times) & np.isfinite(known).all(axis=1)
    print(f"{len(stories)} stories, {len(words):,} words, {used.sum():,} of them with two before them")
    without = log_likelihoods(known[used], times[used], numbers[used])
    names = ["surprisal", "word_surprisal"]
    if words[0]["counts_surprisal"] is not None:  # else there is nothing but the network
        names += ["network_surprisal", "counts_surprisal"]
    for name in names:
        measure = with_words_before(np.array([[word[name]] for word in words]), numbers)
        gained = log_likelihoods(np.hstack([known, measure])[used], times[used], numbers[used]) - without
        print(f"{name:<18} {1000 * gained.mean():+.1f}")


if __name__ == "__main__":
    main()
