"""How fast the notebook model trains, side by side with other implementations.

    python -m benchmarks.training [--data DIR] [--rounds 3] [--avx2] [--only NAME …] [--csv FILE] [--plot FILE]

Every contender runs in its own process, in turn, for several rounds, on the same batches from the same weights. Shared
machines are noisy: compare the ratios of one run. The cost after the same steps stands beside the times, so that nobody
wins by computing less; training at learning rate 1 is chaotic, so the costs agree to a percent or so, not to the bit.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import machine
from benchmarks.contenders import CONTENDERS, EMBEDDING, REPOSITORY, UNITS

BATCH_SIZE, NUM_STEPS = 60, 20
WARM_UP = 16  # steps that are not counted: tracing, compilation, first touch of memory


def training_flops(num_words, vocabulary_size):
    """Returns the floating-point operations of a step's matrix products: forward, and twice as many backward."""
    multiply_adds, size = 0, EMBEDDING
    for units in UNITS:
        multiply_adds += (size + units) * 4 * units
        size = units
    return 3 * 2 * (multiply_adds + size * vocabulary_size) * num_words


def make_inputs(path, data, num_batches, batch_size=BATCH_SIZE, num_steps=NUM_STEPS):
    """Writes batches of the training text and random weights in Keras' order to an npz file."""
    from kerasptb.data import load_corpus, ptb_iterator  # noqa: PLC0415

    corpus = load_corpus(data)
    batches = [
        batch for _, batch in zip(range(num_batches), ptb_iterator(corpus.train, batch_size, num_steps), strict=False)
    ]
    if len(batches) < num_batches:
        raise SystemExit(f"The text has {len(batches)} batches; {num_batches} are asked for with --steps.")
    x, y = (np.stack(arrays) for arrays in zip(*batches, strict=True))
    save_inputs(path, x, y, len(corpus.vocabulary))
    return corpus


def save_inputs(path, x, y, vocabulary_size):
    """Writes batches, int32 [N, B, T] each, and random weights in Keras' order to an npz file."""
    random = np.random.default_rng(0)

    def uniform(*shape):
        return random.uniform(-0.1, 0.1, shape).astype(np.float32)

    weights, size = [uniform(vocabulary_size, EMBEDDING)], EMBEDDING
    for units in UNITS:
        weights += [uniform(size, 4 * units), uniform(units, 4 * units), np.zeros(4 * units, np.float32)]
        size = units
    weights += [uniform(size, vocabulary_size), uniform(vocabulary_size)]
    np.savez(path, x=x, y=y, **{f"w{i}": weight for i, weight in enumerate(weights)})


def run(name, inputs):
    """Runs a contender in a process of its own; returns what it measured, or None with its error shown."""
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **machine.ALLOCATOR, **os.environ}
    if name == "original API":
        environment["TF_USE_LEGACY_KERAS"] = "1"
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.contenders", name, inputs],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        print(f"{name}: failed: {process.stderr.strip().splitlines()[-1:]}", file=sys.stderr, flush=True)
        return None
    return json.loads(process.stdout.strip().splitlines()[-1])


def summarise(name, measured, words):
    """Returns a row of the table from a contender's rounds."""
    seconds = np.concatenate([result["seconds"][WARM_UP:] for result in measured])
    low, median, high = np.quantile(seconds, [0.1, 0.5, 0.9])
    # One median for each round, because a disturbance may last a whole round.
    rounds = [float(np.median(result["seconds"][WARM_UP:])) for result in measured]
    return {
        "contender": name,
        "precision": CONTENDERS[name][0],
        "step_ms_median": 1e3 * median,
        "step_ms_p10": 1e3 * low,
        "step_ms_p90": 1e3 * high,
        "step_ms_best_round": 1e3 * min(rounds),
        "words_per_second": words / median,
        "peak_mib": max(result["peak_bytes"] for result in measured) / 2**20,
        "step_mib": max(result["step_bytes"] for result in measured) / 2**20,
        "cost_first": measured[0]["costs"][0],
        "cost_last_ten": float(np.mean(measured[0]["costs"][-10:])),
    }


def print_table(rows):
    """Prints the rows, each with its ratio to the fastest float32 contender of others whose cost is a number."""
    peers = [
        row
        for row in rows
        if row["precision"] == "float32"
        and not row["contender"].startswith("kerasptb")
        and np.isfinite(row["cost_last_ten"])
    ]
    best = min(peers, key=lambda row: row["step_ms_median"], default=rows[0])
    columns = (
        ("ms a step", 10),
        ("p10–p90", 14),
        ("words/s", 10),
        ("ratio", 7),
        ("MiB", 7),
        ("a step", 8),
        ("cost", 9),
    )
    print("\n" + " " * 38 + "".join(f"{column:>{width}}" for column, width in columns))
    for row in rows:
        ratio = best["step_ms_median"] / row["step_ms_median"]
        print(
            f"{row['contender']:<38}{row['step_ms_median']:>10.1f}"
            f"{row['step_ms_p10']:>8.1f}–{row['step_ms_p90']:<5.1f}{row['words_per_second']:>10,.0f}"
            f"{ratio:>7.2f}{row['peak_mib']:>7.0f}{row['step_mib']:>8.0f}{row['cost_last_ten']:>9.3f}"
        )
    print("MiB: the process at its peak; what steps allocate at most above framework and model, once all is traced")
    print(f"ratio: to {best['contender']!r}, the fastest float32 contender of others")


def plot(rows, path):
    """Draws words per second of each contender into a PNG file."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    rows = sorted(rows, key=lambda row: row["words_per_second"])
    colours = {"float32": "tab:blue", "bfloat16x3": "tab:purple", "bfloat16": "tab:orange"}
    figure = Figure(figsize=(8, 0.36 * len(rows) + 1.1), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(
        [row["contender"] for row in rows],
        [row["words_per_second"] for row in rows],
        color=[colours[row["precision"]] for row in rows],
        alpha=0.9,
    )
    axes.bar_label(bars, [f"{row['words_per_second']:,.0f}" for row in rows], padding=4, fontsize=8)
    axes.set_xlim(right=1.13 * max(row["words_per_second"] for row in rows))
    for precision, colour in colours.items():
        axes.barh([rows[0]["contender"]], [0], color=colour, label=precision)
    axes.legend(loc="lower right", title="matrix products")
    axes.set_xlabel("words per second, training the notebook model (60 × 20 words a step)")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=120, format="png")


def main():
    """Runs the rounds, prints the table and writes what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="auto", help="as for `kerasptb train`")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=80, help=f"steps of a round, the first {WARM_UP} not counted")
    machine.add_options(parser, CONTENDERS)
    parser.add_argument("--plot", type=Path, help="PNG file to draw words per second into")
    options = parser.parse_args()
    if options.steps <= WARM_UP or options.steps % WARM_UP:  # ours take so many a call
        parser.error(f"--steps must be a multiple of {WARM_UP} above it")

    options.only = machine.begin(options, CONTENDERS)
    rates = {}
    measured = {name: [] for name in options.only}
    with tempfile.TemporaryDirectory() as folder:
        inputs = str(Path(folder, "inputs.npz"))
        corpus = make_inputs(inputs, options.data, options.steps)
        for number in range(options.rounds):
            rates = machine.best_rates(rates, machine.matrix_rates())
            for name in options.only:
                result = run(name, inputs)
                if result is not None:
                    measured[name].append(result)
                    step = np.median(result["seconds"][WARM_UP:])
                    print(f"round {number + 1}, {name}: {1e3 * step:.1f} ms a step", flush=True)
    num_words = BATCH_SIZE * NUM_STEPS
    rows = [summarise(name, results, num_words) for name, results in measured.items() if results]
    if not rows:
        sys.exit(f"Failed in every round: {', '.join(options.only)}")
    print_table(rows)
    for dtype, rate in rates.items():
        floor = training_flops(num_words, len(corpus.vocabulary)) / rate
        print(f"{dtype} matrix products: {rate / 1e9:,.0f} GFLOP/s, so a step takes at least {1e3 * floor:.1f} ms")
    if options.csv:
        gflops = {f"{dtype}_gflops": rate / 1e9 for dtype, rate in rates.items()}
        machine.write_csv(options.csv, rows, data=corpus.name, rounds=options.rounds, steps=options.steps, **gflops)
    if options.plot:
        plot(rows, options.plot)
    if missing := [name for name, results in measured.items() if not results]:
        sys.exit(f"Failed in every round, and so in no figure or ratio above: {', '.join(missing)}")


if __name__ == "__main__":
    main()
