"""Pictures of a training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter


def plot_curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draws the perplexities and the learning rate of each epoch of a `Run.history` into a PNG file."""
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(7, 5.5), layout="constrained")
    perplexity, rate = figure.subplots(2, sharex=True, height_ratios=[3, 1])
    best = min(history, key=lambda row: row["val_perplexity"])

    perplexity.plot(epochs, [row["perplexity"] for row in history], "o-", ms=4, label="training (running)")
    perplexity.plot(epochs, [row["val_perplexity"] for row in history], "s-", ms=4, label="validation")
    perplexity.annotate(
        f"best: {best['val_perplexity']:.2f}",
        (best["epoch"], best["val_perplexity"]),
        xytext=(0, 10),
        textcoords="offset points",
        ha="right" if best["epoch"] > 1 else "left",
    )
    perplexity.set_yscale("log")
    perplexity.yaxis.set_major_formatter(ScalarFormatter())
    perplexity.yaxis.set_minor_formatter(ScalarFormatter())
    perplexity.set_ylabel("perplexity")
    perplexity.grid(alpha=0.3, which="both")
    perplexity.legend(loc="upper right")  # free, since the curves fall; loc="best" can take seconds

    rate.step(epochs, [row["learning_rate"] for row in history], where="mid", color="tab:gray")
    rate.set_yscale("log", base=2)
    rate.set_ylabel("learning rate")
    rate.set_xlabel("epoch")
    rate.xaxis.set_major_locator(MaxNLocator(integer=True))
    rate.grid(alpha=0.3)
    figure.savefig(path, dpi=120, format="png")
