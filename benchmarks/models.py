"""Perplexity against minutes: a table and a picture of trained runs.

    python -m benchmarks.models RUN … [--csv FILE] [--curves FILE] [--picture FILE]

Reads run folders that `kerasptb train` wrote on this machine. A row a run: parameters, epochs, minutes of training
(without validation, from the words per second of each epoch), TFLOP, perplexities. `--curves` has a row for each epoch,
and `--picture` draws them: validation by epoch, and the test text, which played no part in any choice, at the end.
"""

import argparse
import csv
import sys
from pathlib import Path

from benchmarks import machine

PTB_TEXT = 929_589  # words of the training text
# Test perplexity, and minutes where the paper names them with the hardware.
PUBLISHED = (
    ("Inan et al., 2016: 2 x 200, 2.65 M", 82.7, None),
    ("Zaremba et al., 2014: medium, 20 M", 82.7, None),
    ("Melis et al., 2017: 1 layer, 10 M", 59.6, None),
    ("AWD-LSTM, 24 M, Quadro GP100", 57.3, 9 * 60),
)


def tflop(config, words, epochs):
    """Returns the floating-point operations of a training, 6 for each word and parameter in a product, in 10¹²."""
    units, below = config["units"], config["embedding_size"]
    products = units[-1] * config["vocabulary_size"]
    for size in units:
        products += 4 * size * (below + size)
        below = size
    return 6 * words * products * epochs / 1e12


def curve(run):
    """Returns a row for each epoch: epoch, minutes since the beginning, running train and validation perplexity."""
    rows, minutes = [], 0.0
    model = run.config["model"]
    batches = (PTB_TEXT // model["batch_size"] - 1) // model["num_steps"]
    batches = run.config["training"].get("steps_per_epoch") or batches
    words = batches * model["batch_size"] * model["num_steps"]
    for row in run.history:
        minutes += words / row["words_per_second"] / 60
        rows.append(
            {
                "epoch": row["epoch"],
                "minutes": round(minutes, 2),
                "train": round(row["perplexity"], 2),
                "valid": round(row["val_perplexity"], 2),
            }
        )
    return rows


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
        "tflop": round(tflop(run.config["model"], PTB_TEXT, epochs)),
        "valid": round(metrics["valid_perplexity"], 2),
        "test": round(metrics["test_perplexity"], 2),
        "test_every_word": round(metrics["test_perplexity_every_word"], 2),
    }


def picture(curves, tests, path):
    """Draws the curves: validation perplexity against minutes, and the test text's at the end."""
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import ScalarFormatter  # noqa: PLC0415

    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots()
    for (name, rows), test in zip(curves.items(), tests, strict=True):
        (line,) = axes.plot([row["minutes"] for row in rows], [row["valid"] for row in rows], label=name)
        axes.plot(rows[-1]["minutes"], test, "*", ms=11, color=line.get_color())
        axes.annotate(f"test {test:.1f}", (rows[-1]["minutes"], test), xytext=(6, -4), textcoords="offset points")
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
    axes.legend()
    figure.savefig(path, dpi=120, format="png")


def write(path, rows):
    """Writes dicts as a CSV file."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


def main(arguments=None):
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders")
    parser.add_argument("--csv", type=Path, help="file to write the table to")
    parser.add_argument("--curves", type=Path, help="file to write a row for each epoch to")
    parser.add_argument("--picture", type=Path, help="PNG file to draw the curves into")
    options = parser.parse_args(arguments)
    from kerasptb.runs import load_run  # noqa: PLC0415

    runs = [load_run(folder) for folder in options.runs]
    rows = [{**describe(run), "machine": machine.processor()} for run in runs]
    for row in rows:
        print(", ".join(f"{key} {value}" for key, value in row.items()))
    curves = {f"{row['preset']}, seed {row['seed']}": curve(run) for row, run in zip(rows, runs, strict=True)}
    if options.csv:
        write(options.csv, rows)
    if options.curves:
        write(options.curves, [{"run": name, **row} for name, rows in curves.items() for row in rows])
    if options.picture:
        picture(curves, [row["test"] for row in rows], options.picture)


if __name__ == "__main__":
    sys.exit(main())
