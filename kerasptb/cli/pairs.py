"""What `kerasptb evaluate --pairs` prints."""

import dataclasses
import json
from collections.abc import Sequence

from kerasptb.cli.outcome import printable
from kerasptb.evaluation import PairsAccuracy
from kerasptb.run import Run
from kerasptb.utils.status_line import at_work


def report_pairs(files: Sequence[str], run: Run, as_json: bool) -> None:
    """Prints how often a run finds the good sentence of a pair the likelier."""
    with at_work("Reading pairs") as stage:
        found = run.evaluate_pairs(files, stage.tell)
    if as_json:
        print(json.dumps(dataclasses.asdict(found)))
        return
    groups = {"set": found.sets, "phenomenon": found.phenomena, "field": found.fields, "": [found.overall]}
    for title, rows in groups.items():
        if rows:
            print("\n".join([_line(title, "pairs", "accuracy", "by length"), *map(_of, rows)]), end="\n\n")
    print("95 % intervals; accuracy by the probability of the sentence, and by the mean of a token")


def _of(row: PairsAccuracy) -> str:
    alike = f"  read alike: {row.num_alike:,}" if row.num_alike else ""
    return _line(printable(row.name), f"{row.num_pairs:,}", str(row.accuracy), str(row.by_length)) + alike


def _line(name: str, pairs: str, accuracy: str, by_length: str) -> str:
    return f"{name:<52} {pairs:>6}  {accuracy:<24}  {by_length}".rstrip()
