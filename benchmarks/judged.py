"""Sentences that linguists judge: a model beside published ones, whose figures are read from their repositories.

    python -m benchmarks.judged blimp RUN FOLDER [--csv FILE]
    python -m benchmarks.judged syntaxgym RUN FOLDER [--csv FILE]
    python -m benchmarks.judged agreement RUN FOLDER [--csv FILE]

Each takes a clone of the repository that holds sentences and results, as it is: alexwarstadt/blimp (CC BY),
cpllab/syntactic-generalization (MIT), facebookresearch/colorlessgreenRNNs (CC BY-NC: to measure). Figures are
percentages of what is judged right.
"""

import argparse
import csv
import json
from pathlib import Path
from statistics import fmean

from benchmarks import machine
from kerasptb.evaluation import Share
from kerasptb.run import load_run


def percent(count, total):
    """Returns what share that is, with its interval."""
    share = Share.of(count, total)
    return {
        "right": round(100 * share.value, 1),
        "low": round(100 * share.low, 1),
        "high": round(100 * share.high, 1),
    }


def blimp(run, folder):
    """Returns a row for each set of pairs, for each phenomenon, as the authors group the sets, and for all."""
    summary = folder / "raw_results" / "summary"
    lines = [json.loads(line) for line in (summary / "models_summary.jsonl").read_text().splitlines()]
    with (summary / "human_validation_summary.csv").open(newline="") as file:
        people = {row["Condition"]: float(row["total_mean"]) for row in csv.DictReader(file)}
    found = {each.name: each for each in run.evaluate_pairs(sorted((folder / "data").glob("*.jsonl"))).sets}
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


def main():
    benchmarks = {"blimp": blimp}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=benchmarks)
    parser.add_argument("run")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    rows = benchmarks[options.benchmark](load_run(options.run), options.folder)
    for row in rows:
        print(*(f"{key} {value}" for key, value in row.items()), sep=", ")
    if options.csv:
        machine.write_csv(options.csv, rows, run=options.run)


if __name__ == "__main__":
    main()
