"""Sentences that linguists judge: a model beside published ones, whose figures are read from their repositories.

    python -m benchmarks.judged blimp RUN FOLDER [--csv FILE]
    python -m benchmarks.judged syntaxgym RUN FOLDER [--csv FILE]
    python -m benchmarks.judged agreement RUN FOLDER [--csv FILE]

Each takes a clone of the repository that holds sentences and results, as it is: alexwarstadt/blimp (CC BY),
cpllab/syntactic-generalization (MIT), facebookresearch/colorlessgreenRNNs (CC BY-NC: to measure). Figures are
percentages of what is judged right. With --ngrams the counts of the run's training text are asked alone.
"""

import argparse
import csv
import dataclasses
import json
import re
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import numpy as np

from benchmarks import machine
from kerasptb.evaluation import Share, evaluate_pairs, read_pairs, score_sentences
from kerasptb.reading import Reader
from kerasptb.reading.counted_reader import CountedReader
from kerasptb.reading.counts import log_unigrams
from kerasptb.run import load_run

# SyntaxGym's circuits by how the names of their suites begin, the suites that the authors leave out, and models that
# they have, by the names of their files; BLLIP has 1 (xs) to 42 million tokens (lg).
CIRCUITS = {
    "agreement": ("number",),
    "center embedding": ("center",),
    "garden-path effects": ("mvrr", "npz"),
    "gross syntactic state": ("subordination",),
    "licensing": ("npi", "reflexive"),
    "long-distance dependencies": ("cleft", "fgd"),
}
LEFT_OUT = ("fgd-embed3", "fgd-embed4")
PUBLISHED = {
    "ngram_bllip_lg": "ngram_bllip-lg",
    "lstm_bllip_xs": "vanilla_bllip-xs",
    "lstm_bllip_sm": "vanilla_bllip-sm",
    "lstm_bllip_md": "vanilla_bllip-md",
    "lstm_bllip_lg": "vanilla_bllip-lg",
    "grnn": "grnn_",
    "jrnn": "jrnn_",
    "gpt2": "gpt-2-pretrained_",
}
# The files of colorlessgreenRNNs with what their best models of a kind say of English.
AGREEMENT = {"lstm": "best_model", "ngram_lstm": "best_model_ngram_lstm", "srnn": "best_model_srnn"}


def percent(count, total):
    """Returns what share that is, with its interval."""
    share = Share.of(count, total)
    return {
        "right": round(100 * share.value, 1),
        "low": round(100 * share.low, 1),
        "high": round(100 * share.high, 1),
    }


class Unigrams:
    """A network that expects the same after any text: of log probabilities, float32 [V]."""

    state_size = 0

    def __init__(self, log_probabilities):
        self._row, self.vocabulary_size = log_probabilities, len(log_probabilities)

    def encode(self, tokens, states):
        """Returns nothing, after each token."""
        return np.zeros((*tokens.shape, 0), "float32"), states

    def log_likelihoods(self, tokens, targets, states):
        """Returns the log probabilities of targets."""
        return self._row[targets], states

    def log_probabilities(self, hidden):
        """Returns those of all tokens."""
        return np.tile(self._row, (len(hidden), 1))


def ngrams(reader):
    """Returns what reads with the counts of a `CountedReader` alone."""
    counts = reader._text_counts
    network = Unigrams(log_unigrams(counts.tokens, reader.network.vocabulary_size))
    return CountedReader(Reader(network, reader.text_format), dataclasses.replace(counts, weights=counts.alone))


def blimp(reader, folder):
    """Returns a row for each set of pairs, for each phenomenon, as the authors group the sets, and for all."""
    summary = folder / "raw_results" / "summary"
    lines = [json.loads(line) for line in (summary / "models_summary.jsonl").read_text().splitlines()]
    with (summary / "human_validation_summary.csv").open(newline="") as file:
        people = {row["Condition"]: float(row["total_mean"]) for row in csv.DictReader(file)}
    pairs = [pair for path in sorted((folder / "data").glob("*.jsonl")) for pair in read_pairs(path)]
    found = {each.name: each for each in evaluate_pairs(reader, pairs).sets}
    term_of = {line["UID"]: line["linguistics_term"] for line in lines}
    rows = []
    for line in lines:
        name, term = line.pop("UID"), line.pop("linguistics_term")
        names = [name] if name in found else [each for each in found if term in ("overall", term_of[each])]
        total = sum(found[each].num_pairs for each in names)
        right, by_length = (
            sum(getattr(found[each], key).value * found[each].num_pairs for each in names)
            for key in ("accuracy", "by_length")
        )
        published = {model: round(100 * value, 1) for model, value in line.items()}
        of_people = {"people": round(100 * fmean(people[each] for each in names), 1)}
        lengths = {"right_by_length": round(100 * by_length / total, 1)}
        rows.append({"set": name, "phenomenon": term, "pairs": total, **percent(right, total), **lengths, **published})
        rows[-1] |= of_people
    return rows


def syntaxgym(reader, folder):
    """Returns a row for each suite that the authors count, for each of their circuits, and for all."""
    published, rows = read_published(folder / "data" / "raw" / "sg_results"), []
    for path in sorted((folder / "test_suites" / "json").glob("*.json")):
        circuit = next((name for name, begins in CIRCUITS.items() if path.stem.startswith(begins)), None)
        if circuit is None or path.stem in LEFT_OUT:
            continue
        suite = json.loads(path.read_text())
        right = judge(reader, suite)
        of_others = {model: round(100 * fmean(suites[path.stem]), 1) for model, suites in published.items()}
        rows.append({"suite": path.stem, "circuit": circuit, "items": len(right), **percent(sum(right), len(right))})
        rows[-1] |= of_others
    for circuit in [*CIRCUITS, "all"]:
        of_circuit = [row for row in rows if circuit in (row["circuit"], "all") and row["suite"] != "mean"]
        means = {name: round(fmean(row[name] for row in of_circuit), 1) for name in ("right", *published)}
        items = sum(row["items"] for row in of_circuit)
        rows.append({"suite": "mean", "circuit": circuit, "items": items, "low": "", "high": "", **means})
    return rows


def read_published(folder):
    """Returns the share of right items of each suite, a list of one a seed, by suite, by model."""
    shares = {}
    for model, file in PUBLISHED.items():
        of_seeds = defaultdict(list)
        with (folder / f"syntaxgym_results_{file}.csv").open(newline="") as table:
            for row in csv.DictReader(table):
                of_seeds[row["suite"], row["model"]].append(row["correct"] == "True")
        shares[model] = defaultdict(list)
        for (suite, _), correct in of_seeds.items():
            shares[model][suite].append(fmean(correct))
    return shares


def judge(reader, suite):
    """Returns whether the first prediction of a suite holds, for each item."""
    conditions = [(item, each) for item in suite["items"] for each in item["conditions"]]
    texts = [with_ends([region["content"] for region in each["regions"]]) for _, each in conditions]
    surprisals = defaultdict(dict)
    for (item, condition), (_, ends), scored in zip(
        conditions, texts, score_sentences(reader, (text for text, _ in texts)), strict=True
    ):
        surprisals[item["item_number"]][condition["condition_name"]] = of_regions(scored, ends)
    formula = suite["predictions"][0]["formula"]
    return [holds(formula, surprisals[item["item_number"]]) for item in suite["items"]]


def with_ends(regions):
    """Returns the sentence of regions, signs as they are written, and where each region ends in it."""
    text, ends = "", []
    for region in regions:
        for word in region.split():
            text += f" {word}" if text and word[0] not in ",.:;)'" and word != "n't" and text[-1] != "(" else word
        ends.append(len(text))
    return text, ends


def of_regions(scored, ends):
    """Returns the surprisal of each region: of the tokens that begin in it, or with the space before it."""
    written = [len(token) for token in scored.tokens[:-1]]
    begins = np.cumsum([0, *written])[:-1] - (sum(written) - ends[-1])  # a text may be read with a space before it
    places = np.searchsorted(ends, begins, side="right")
    return np.bincount(places, scored.surprisals[:-1], minlength=len(ends)).tolist()


def holds(formula, surprisals):
    """Returns whether a formula as SyntaxGym has them is true, of surprisals by the name of the condition."""
    numbers = re.sub(r"\((\d+);%([^%]+)%\)", lambda found: f"{surprisals[found[2]][int(found[1]) - 1]:.9f}", formula)
    plain = numbers.translate(str.maketrans("[]", "()"))
    if not re.fullmatch(r"[-+<>()&.\d\s]+", plain):
        raise ValueError(f"Expected sums, comparisons and conjunctions of surprisals. Received: {formula}")
    return bool(eval(plain))  # numbers and signs alone


def agreement(reader, folder):
    """Returns a row for sentences as people wrote them, and for those of other words in their places.

    What an LSTM of n-grams says is of sentences with other words than the rest.
    """
    english, rows = folder / "data" / "evaluation_output" / "English", []
    files = {model: read_agreement(english / f"{name}.tab") for model, name in AGREEMENT.items()}
    pairs = files["lstm"]
    texts = [with_ends([f"{each['prefix']} {each['form']}"])[0] for both in pairs for each in both]
    for each, scored in zip(
        (each for both in pairs for each in both), score_sentences(reader, texts, entropy=True), strict=True
    ):
        *_, word, _ = scored.by_word()
        each |= {
            "ours": -word["word_surprisal"],
            "without_its_end": -word["surprisal"],
            "frequency": float(each["freq"]),
        }
    for kind in "original", "generated":
        right, total = count_right(pairs, kind, "ours")
        rows.append({"sentences": kind, "pairs": total, **percent(right, total)})
        measures = {"without_its_end": pairs, "frequency": pairs, **files}
        for name, of_file in measures.items():
            right, total = count_right(of_file, kind, name if name not in files else "model")
            rows[-1][name] = round(100 * right / total, 1)
    return rows


def read_agreement(path):
    """Returns pairs of rows, those of the right form first, with what the model says in `model`."""
    pairs = defaultdict(dict)
    with path.open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            row["model"] = float(list(row.values())[-1])
            pairs[row["pattern"], row["constr_id"], row["sent_id"]][row["class"]] = row
    return [(both["correct"], both["wrong"]) for both in pairs.values()]


def count_right(pairs, kind, name):
    """Returns how many pairs of a kind have the right form likelier, and how many there are."""
    found = [good[name] > bad[name] for good, bad in pairs if good["type"] == kind]
    return sum(found), len(found)


def main():
    benchmarks = {"blimp": blimp, "syntaxgym": syntaxgym, "agreement": agreement}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=benchmarks)
    parser.add_argument("run")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ngrams", action="store_true", help="by the counts alone, of a run that has them")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    reader = load_run(options.run).reader
    rows = benchmarks[options.benchmark](ngrams(reader) if options.ngrams else reader, options.folder)
    for row in rows:
        print(*(f"{key} {value}" for key, value in row.items()), sep=", ")
    if options.csv:
        machine.write_csv(options.csv, rows, run=options.run)


if __name__ == "__main__":
    main()
