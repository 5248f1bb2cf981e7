"""Pictures of a search."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from kerasptb.tuning.leaderboard import setting_names
from kerasptb.tuning.records import TrialView
from kerasptb.utils.files import atomic_write

PARAMETERS = "perplexity-parameters.png"
SETTINGS = "perplexity-settings.png"

_COLUMNS = 4
# Up to this many different whole numbers are all ticks of the axis.
_FEW = 8
# Perplexities above this multiple of the best are drawn at it. Drawn in full, a single one would flatten all others.
_CLIP = 1.5


def plot_search(trials: Sequence[TrialView], folder: Path) -> list[Path]:
    """Draws perplexity against parameters, and against each setting, into two PNG files, if any trial has completed."""
    completed = [trial for trial in trials if trial.score is not None]
    if not completed:
        return []
    folder, written = Path(folder), []
    folder.mkdir(parents=True, exist_ok=True)
    if sized := [trial for trial in completed if trial.record.parameters]:
        figure = Figure(figsize=(7, 5), layout="constrained")
        axes = figure.subplots()
        _scatter(axes, [trial.record.parameters for trial in sized], sized, "parameters")
        for trial, perplexity in zip(sized, _shown(sized), strict=True):
            axes.annotate(trial.trial_id, (trial.record.parameters, perplexity), fontsize=7, alpha=0.7)
        written.append(_save(figure, folder / PARAMETERS))
    if names := setting_names(completed):
        rows = math.ceil(len(names) / _COLUMNS)
        figure = Figure(figsize=(3.2 * _COLUMNS, 2.8 * rows), layout="constrained")
        grid = figure.subplots(rows, _COLUMNS, squeeze=False, sharey=True)
        for axes, name in zip(grid.flat, names, strict=False):
            having = [trial for trial in completed if name in trial.values]
            _scatter(axes, [trial.values[name] for trial in having], having, name)
        for axes in grid[:, 1:].flat:
            axes.set_ylabel("")
        for axes in grid.flat[len(names) :]:
            axes.axis("off")
        written.append(_save(figure, folder / SETTINGS))
    return written


def _scatter(axes: Any, values: list[Any], trials: Sequence[TrialView], label: str) -> None:
    if any(isinstance(value, str | bool) for value in values):
        values = [str(value) for value in values]
    shown = _shown(trials)
    best = shown.index(min(shown))
    is_above = [trial.score != y for trial, y in zip(trials, shown, strict=True)]
    # One call draws all points, so that words keep their order on the axis.
    axes.scatter(values, shown, s=[0 if above else 18 for above in is_above])
    if any(is_above):
        edge = [(x, y) for x, y, above in zip(values, shown, is_above, strict=True) if above]
        axes.scatter(*zip(*edge, strict=True), s=30, marker="^", color="tab:gray", label="worse than shown")
        axes.legend(fontsize=7)
    axes.scatter(values[best], shown[best], s=60, facecolors="none", edgecolors="tab:red", label="best")
    if len(set(values)) <= _FEW and not isinstance(values[0], float | str):
        axes.set_xticks(sorted(set(values)))
    axes.set_xlabel(label)
    axes.set_ylabel("validation perplexity")
    axes.grid(alpha=0.3)


def _shown(trials: Sequence[TrialView]) -> list[float]:
    """Returns the perplexities of trials that have completed, as they are drawn."""
    scores = [trial.score for trial in trials if trial.score is not None]
    return [min(score, _CLIP * min(scores)) for score in scores]


def _save(figure: Figure, path: Path) -> Path:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    return path
