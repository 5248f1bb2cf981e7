"""Perplexity against minutes: a table and a picture of trained runs.

    python -m benchmarks.models RUN … [--add]

Reads run folders that `kerasptb train` wrote on this machine. A row a run: parameters, epochs, TFLOP, perplexities, and
minutes of training, without validation: at the median words per second of the epochs, so that what other work on the
machine delayed does not count, and as they were. `--add` writes the rows into results/models.csv and a row for each
epoch into results/models-curves.csv, beside those of other machines' runs, and draws all of them: validation by epoch,
and the test text, which played no part in any choice, at the end.
"""

import argparse
import csv
import statistics
import sys
from pathlib import Path

from benchmarks import machine

TABLE, CURVES = (Path(__file__).parent / "results" / name for name in ("models.csv", "models-curves.csv"))
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "models.png"
PTB_TEXT = 929_589  # words of the training text
# Test perplexity, and minutes where the paper names them with the hardware.
PUBLISHED = (
    ("2 x 200, 2.65 M (Inan et al., 2016); 2 x 650, 20 M (Zaremba et al., 2014)", 82.7, None),
    ("1 layer, 10 M (Melis et al., 2017)", 59.6, None),
    ("AWD-LSTM, 24 M, 500 epochs on a Quadro GP100", 58.8, 9 * 60),
)


# The tutorial's own API (tests/original), run once, seed 1: epoch and validation perplexity, and test perplexity at the
# end. Its words per second are those of benchmarks/results/training-zen5-2-cores.csv.
ORIGINAL = (1, 239.0), (2, 179.3), (3, 154.5), (4, 142.1), (5, 137.8), (6, 126.2), (7, 123.8), (8, 123.3), (15, 121.84)
ORIGINAL_NAME, ORIGINAL_TEST, ORIGINAL_WORDS, ORIGINAL_RATE = "the original's API", 118.06, 774 * 1200, 16_117


def tflop(config, words, epochs):
    """Returns the floating-point operations of a training, 6 for each word and parameter in a product, in 10¹²."""
    units, below = config["units"], config["embedding_size"]
    last = below if config.get("projection") else units[-1]
    products = last * config["vocabulary_size"] + (units[-1] * last if config.get("projection") else 0)
    for size in units:
        products += 4 * size * (below + size)
        below = size
    return 6 * words * products * epochs / 1e12


def curve(run):
    """Returns a row for each epoch: epoch, minutes since the beginning, running train and validation perplexity."""
    words = run.config["model"]["batch_size"] * run.config["model"]["num_steps"] * batches_of(run)
    rate = statistics.median(row["words_per_second"] for row in run.history)
    elapsed, rows = 0.0, []
    for row in run.history:
        elapsed += words / row["words_per_second"] / 60
        rows.append(
            {
                "epoch": row["epoch"],
                "minutes": round(row["epoch"] * words / rate / 60, 2),
                "minutes_elapsed": round(elapsed, 2),
                "train": round(row["perplexity"], 2),
                "valid": round(row["val_perplexity"], 2),
            }
        )
    return rows


def batches_of(run):
    """Returns the batches of an epoch."""
    model = run.config["model"]
    all_of_them = (PTB_TEXT // model["batch_size"] - 1) // model["num_steps"]
    return run.settings.batches.steps_per_epoch or all_of_them


def describe(run):
    """Returns a run's row of the table, a dict."""
    rows, metrics = curve(run), run.metrics
    epochs = len(rows)
    return {
        "preset": metrics["preset"],
        "seed": metrics["seed"],
        "precision": metrics["precision"],
        "parameters": metrics["parameters"],
        "epochs": epochs,
        "minutes": round(rows[-1]["minutes"], 1),
        "minutes_elapsed": round(rows[-1]["minutes_elapsed"], 1),
        "tflop": round(tflop(run.config["model"], PTB_TEXT, epochs)),
        "valid": round(metrics["valid_perplexity"], 2),
        "test": round(metrics["test_perplexity"], 2),
        "test_every_word": round(metrics["test_perplexity_every_word"], 2),
    }


def picture(table, curves, path):
    """Draws rows of the two files: validation perplexity against minutes, and the test text's at the end."""
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import ScalarFormatter  # noqa: PLC0415

    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots()
    points = {ORIGINAL_NAME: [(epoch * ORIGINAL_WORDS / ORIGINAL_RATE / 60, valid) for epoch, valid in ORIGINAL]}
    for row in curves:
        points.setdefault(row["run"], []).append((float(row["minutes"]), float(row["valid"])))
    tests = {ORIGINAL_NAME: ORIGINAL_TEST, **{row["run"]: float(row["test"]) for row in table}}
    for name, test in tests.items():
        minutes, valid = zip(*points[name], strict=True)
        (line,) = axes.plot(minutes, valid, label=f"{name}: {test:.1f}")
        axes.plot(minutes[-1], test, "*", ms=11, color=line.get_color())
    for name, test, minutes in PUBLISHED:
        if minutes is None:
            axes.axhline(test, lw=0.7, ls=":", color="gray")
            axes.annotate(f"{name}: {test}", (0.01, test), xycoords=("axes fraction", "data"), fontsize=7, va="bottom")
        else:
            axes.plot(minutes, test, "kx")
            axes.annotate(f"{name}: {test}", (minutes, test), fontsize=7, ha="right", va="bottom")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(50, 300)
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(ScalarFormatter())
    axes.set_xlabel("minutes of training")
    axes.set_ylabel("perplexity: validation by epoch, test at the end")
    axes.grid(alpha=0.3, which="both")
    axes.legend(title="test")
    figure.savefig(path, dpi=120, format="png")


def write(path, rows):
    """Writes dicts as a CSV file."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


def added(path, rows):
    """Returns the rows of a file with those of some runs, which take the place of these runs' before, and writes it."""
    runs = {row["run"] for row in rows}
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["run"] not in runs] + rows
    write(path, rows)
    return rows


def main(arguments=None):
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, whose names the rows have")
    parser.add_argument("--add", action="store_true", help="add them to the table, the curves and the picture")
    options = parser.parse_args(arguments)
    from kerasptb.run import load_run  # noqa: PLC0415

    runs = [load_run(folder) for folder in options.runs]
    rows = [{"run": run.folder.name, **describe(run), "machine": machine.processor()} for run in runs]
    for row in rows:
        print(", ".join(f"{key} {value}" for key, value in row.items()))
    if options.add:
        curves = added(CURVES, [{"run": run.folder.name, **row} for run in runs for row in curve(run)])
        picture(added(TABLE, rows), curves, PICTURE)


if __name__ == "__main__":
    sys.exit(main())
