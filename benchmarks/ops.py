"""How fast the two operations are, forward and backward, over sizes, side by side with other implementations.

    python -m benchmarks.ops [--rounds 5] [--quick | --characters | --random N] [--avx2] [--only NAME …] [--csv FILE]

One size at a time differs from the notebook model's, or all are drawn at random. Every contender has its own process,
and only one of them runs at a time. At each size all take turns, for several rounds, so that disturbances of the
machine affect them alike. With a vocabulary of 200,000 words all of them together take some 24 GB.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

from benchmarks import machine
from benchmarks.contenders import REPOSITORY
from benchmarks.operations import CONTENDERS

LSTM = {"operation": "lstm", "batch": 60, "steps": 20, "features": 256, "units": 256}
LINEAR_CROSS_ENTROPY = {"operation": "linear_cross_entropy", "words": 1200, "features": 128, "vocabulary": 10000}
# A model of characters has long rows and few tokens: those of the Penn Treebank, and all bytes.
CHARACTERS = [
    {"operation": "lstm", "batch": 32, "steps": 200, "features": 640, "units": 640},
    *({"operation": "linear_cross_entropy", "words": 6400, "features": 640, "vocabulary": v} for v in (50, 256)),
]
_MOST_FLOPS_DRAWN = 25e9  # a tenth of a second
SWEEPS = {
    ("lstm", "units"): (64, 128, 200, 256, 512, 650, 1024, 1500),
    ("lstm", "batch"): (1, 8, 32, 60, 128, 256),
    ("lstm", "steps"): (5, 20, 35, 100),
    ("linear_cross_entropy", "vocabulary"): (1000, 10000, 33000, 200000),
    ("linear_cross_entropy", "words"): (20, 200, 1200, 5120),
    ("linear_cross_entropy", "features"): (64, 128, 650, 1500),
}


def sizes(quick=False):
    """Returns the sizes to measure, a list of dicts; the notebook model's own come first."""
    chosen = [LSTM, LINEAR_CROSS_ENTROPY]
    for (operation, varied), values in SWEEPS.items():
        base = LSTM if operation == "lstm" else LINEAR_CROSS_ENTROPY
        for value in (values[0], values[-1]) if quick else values:
            size = {**base, varied: value}
            if varied == "units":
                size["features"] = value  # a layer on a layer of its own size
            if size not in chosen:
                chosen.append(size)
    return chosen if quick else chosen + CHARACTERS


def random_sizes(number, seed):
    """Returns sizes drawn log-uniformly at random: a list of dicts in which the operations alternate."""
    random = np.random.default_rng(seed)

    def draw(lowest, highest):
        return round(float(np.exp(random.uniform(np.log(lowest), np.log(highest)))))

    chosen = []
    while len(chosen) < number:
        if len(chosen) % 2:
            size = {"operation": "lstm", "batch": draw(1, 256), "steps": draw(5, 100)}
            size |= {"features": draw(16, 1500), "units": draw(16, 1500)}
        else:
            size = {"operation": "linear_cross_entropy", "words": draw(1, 5120), "features": draw(16, 1500)}
            size |= {"vocabulary": draw(300, 60000)}
        if flops(size) < _MOST_FLOPS_DRAWN:
            chosen.append(size)
    return chosen


def flops(size):
    """Returns the floating-point operations of the matrix products, forward and backward."""
    if size["operation"] == "lstm":
        return 3 * 2 * size["batch"] * size["steps"] * 4 * size["units"] * (size["features"] + size["units"])
    return 3 * 2 * size["words"] * size["features"] * size["vocabulary"]


class Contender:
    """A contender's process. If it dies, it is started again for the next size."""

    def __init__(self, name):
        self.name = name
        self._failed_at = None
        self._start()

    def _start(self):
        # A file, not a pipe: nothing reads it while the process runs, and a full pipe would block the process.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (open as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.operations", self.name],
            cwd=REPOSITORY,
            env={"TF_CPP_MIN_LOG_LEVEL": "3", **machine.ALLOCATOR, **os.environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def measure(self, size):
        """Returns the seconds of each repetition: an empty list without an implementation, `None` if it dies."""
        if self._failed_at == size:
            return None
        if self._failed_at is not None:
            self.close()
            self._failed_at = None
            self._start()
        answer = ""
        with contextlib.suppress(BrokenPipeError):  # it has died since its last answer
            self._process.stdin.write(json.dumps(size) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if answer:
            return json.loads(answer)
        self._failed_at = size
        status = self._process.wait()
        self._errors.seek(0)
        last_words = self._errors.read().strip().splitlines()[-1:]
        print(f"{self.name}: failed at {size}, status {status}: {last_words}", file=sys.stderr, flush=True)
        return None

    def close(self):
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def main():
    """Measures every size, prints a line for each and writes what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--quick", action="store_true", help="only the ends of each sweep")
    chosen.add_argument("--characters", action="store_true", help="only the sizes of a model of characters")
    chosen.add_argument("--random", type=int, metavar="N", help="N sizes drawn at random")
    parser.add_argument("--seed", type=int, default=1, help="of the sizes drawn (default: 1)")
    machine.add_options(parser, CONTENDERS)
    options = parser.parse_args()
    options.only = machine.begin(options, CONTENDERS)
    rates = machine.matrix_rates()

    contenders = [Contender(name) for name in options.only]
    rows, failed = [], set()
    if options.random:
        to_measure = random_sizes(options.random, options.seed)
    else:
        to_measure = CHARACTERS if options.characters else sizes(options.quick)
    for size in to_measure:
        print(" ".join(f"{key}={value}" for key, value in size.items()), flush=True)
        results = {contender.name: [] for contender in contenders}
        for _ in range(options.rounds):
            for contender in contenders:
                seconds = contender.measure(size)
                if seconds is None:
                    failed.add(contender.name)
                elif seconds:
                    results[contender.name].append(seconds)
        times = {name: machine.quantiles(rounds) for name, rounds in results.items() if rounds}
        best = {name: measured["ms_best_round"] for name, measured in times.items()}
        peers = [
            ms for name, ms in best.items() if not name.startswith("kerasptb") and CONTENDERS[name][0] == "float32"
        ]
        for name, ms in best.items():
            row = {**dict.fromkeys(("batch", "steps", "words", "features", "units", "vocabulary")), **size}
            row |= {"contender": name, **times[name]}
            row |= {"gflops": flops(size) / ms / 1e6, "ratio": min(peers) / ms if peers else None}
            rows.append(row)
            rate, ratio = f"{row['gflops']:.0f} GFLOP/s", f"× {row['ratio'] or 0:.2f}"
            rounds = "all rounds: {ms_median:.2f}, {ms_p10:.2f}–{ms_p90:.2f}".format(**row)
            print(f"  {name:<32}{ms:>10.2f} ms  ({rounds})  {rate:>14}  {ratio}", flush=True)
    for contender in contenders:
        contender.close()
    if not rows:
        sys.exit(f"Failed at every size: {', '.join(options.only)}")
    rates = machine.best_rates(rates, machine.matrix_rates())
    print(", ".join(f"{dtype} matrix products: {rate / 1e9:,.0f} GFLOP/s" for dtype, rate in rates.items()))
    print("ms: the median of the best round; ×: to the fastest float32 contender of others at that size")
    if options.csv:
        gflops = {f"{dtype}_gflops": rate / 1e9 for dtype, rate in rates.items()}
        machine.write_csv(options.csv, rows, rounds=options.rounds, **gflops)
    if failed:
        sys.exit(f"Failed at some sizes, and so in none of their figures or ratios above: {', '.join(sorted(failed))}")


if __name__ == "__main__":
    main()
