"""The results of a search: a table, a CSV file, the best model as a run folder and as a script."""

import contextlib
import itertools
import pprint
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import kerasptb
from kerasptb.runs import RunError
from kerasptb.runs.files import lock_run, write_rows
from kerasptb.runs.settings import NO_START
from kerasptb.tuning.progress import duration
from kerasptb.tuning.records import RUN, TrialView, best_trial, copy_folder, rank
from kerasptb.tuning.settings import SearchSettings
from kerasptb.utils.files import atomic_write
from kerasptb.utils.types import Report

CSV = "leaderboard.csv"
BEST = "best"
SCRIPT = "best_model.py"


def setting_names(trials: Iterable[TrialView]) -> list[str]:
    """Returns the names of all settings that any trial has: sizes first, the others in alphabetical order."""
    names = {name for trial in trials for name in trial.values}
    sizes: list[str] = [name for name in ("num_layers", "embedding_size") if name in names]
    sizes += sorted((name for name in names if re.fullmatch(r"units_\d+", name)), key=lambda name: int(name[6:]))
    return [*sizes, *sorted(names.difference(sizes))]


def write_csv(trials: Iterable[TrialView], path: Path) -> None:
    """Writes a row for each trial, in the order of `rank`; a setting with the name of another column is "hp/NAME"."""
    rows, names = [], setting_names(trials)
    for i, trial in enumerate(rank(trials)):
        record = trial.record
        row = {
            "rank": i + 1 if trial.score is not None else None,
            "trial": trial.trial_id,
            "status": trial.status.lower(),
            "valid_perplexity": trial.score,
            "valid_bits_per_byte": record.bits_per_byte,
            "train_perplexity": record.train_perplexity,
            "parameters": record.parameters,
            "words_per_second": record.words_per_second,
            "seconds": round(record.seconds, 1),
            "epochs": len(record.curve),
            "stopped": record.stopped,
            "reason": record.reason,
        }
        rows.append(row | {f"hp/{name}" if name in row else name: trial.values.get(name) for name in names})
    write_rows(path, rows)


def format_table(trials: Iterable[TrialView], rows: int = 10) -> str:
    """Returns a text of 80 columns: a table of the best trials, the best one's settings, why each failed trial did."""
    completed = [trial for trial in rank(trials) if trial.score is not None]
    lines = [["", "trial", "perplexity", "bits/byte", "parameters", "words/s", "time", "epochs"]]
    for i, trial in enumerate(completed[:rows]):
        record = trial.record
        lines.append(
            [
                str(i + 1),
                trial.trial_id,
                trial.figure,
                f"{record.bits_per_byte:.3f}" if record.bits_per_byte else "",
                f"{record.parameters:,}" if record.parameters else "",
                f"{record.words_per_second:,.0f}" if record.words_per_second else "",
                duration(record.seconds),
                str(len(record.curve)),
            ]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    if len(completed) > rows:
        text.append(f"… and {len(completed) - rows} more in {CSV}")
    said = []
    if completed:
        best = completed[0]
        settings = ", ".join(f"{name} {_short(best.values[name])}" for name in setting_names([best]))
        said.append(f"trial {best.trial_id}: {settings}")
    said += [f"trial {trial.trial_id} failed: {trial.record.reason}" for trial in trials if trial.status == "FAILED"]
    text += [textwrap.fill(line, 80, subsequent_indent="  ", break_on_hyphens=False) for line in said]
    return "\n".join(text)


def save_best(settings: SearchSettings, trials: list[TrialView], report: Report) -> kerasptb.Run | None:
    """Copies the best trial's run folder, if it left one, to FOLDER/best, with a script for its model; returns the run.

    A copy that was trained further is never overwritten: it stays if it is the best trial's, and is renamed to
    FOLDER/best-1 or the next free number otherwise. While a training runs in FOLDER/best, nothing changes there.
    """
    folder, best = settings.folder, best_trial(trials)
    if best is None or not (best.folder / RUN).exists():
        return None
    try:
        with lock_run(folder / BEST) if (folder / BEST).exists() else contextlib.nullcontext():
            _replace_best(folder, trials, best, report)
    except RunError:
        report(f"A training is at work in {folder / BEST}, which stays: the best is trial {best.trial_id}'s run")
        return kerasptb.load_run(best.folder / RUN)
    run = kerasptb.load_run(folder / BEST)
    with atomic_write(folder / SCRIPT) as temporary:
        temporary.write_text(_write_script(run, best, settings), encoding="utf-8")
    return run


def _replace_best(folder: Path, trials: Iterable[TrialView], best: TrialView, report: Report) -> None:
    kept = _history(folder / BEST)
    of_trials = {trial.trial_id: _history(trial.folder / RUN) for trial in trials}
    of_best = of_trials[best.trial_id]
    if kept and of_best and kept[: len(of_best)] == of_best:
        return  # the best trial's run is there already, perhaps trained further
    if kept and kept not in of_trials.values():
        numbered = next(path for i in itertools.count(1) if not (path := folder / f"{BEST}-{i}").exists())
        (folder / BEST).rename(numbered)
        report(f"The best so far, which had been trained further, is now {numbered}")
    copy_folder(best.folder / RUN, folder / BEST)


def _history(run_folder: Path) -> list[dict[str, float]]:
    """Returns the history of a run, a list of its epochs; empty if there is no run."""
    try:
        return kerasptb.load_run(run_folder).history
    except ValueError:
        return []


def _write_script(run: kerasptb.Run, best: TrialView, search: SearchSettings) -> str:
    settings, batches = run.settings, run.settings.batches
    text = {name: getattr(search, name) for name in ("data", "tokens", "tokenizer", "vocabulary_size", "keep_lines")}
    others = {
        "steps_per_epoch": batches.steps_per_epoch,
        "start_from": settings.training.start_from or NO_START,
        "batch_arguments": None if batches.parts == 1 else {"parts": batches.parts},
    }
    model = {name: value for name, value in settings.model.to_config().items() if name != "name"}
    return _SCRIPT.format(
        trial=best.trial_id,
        perplexity=best.score,
        parameters=best.record.parameters,
        epochs=settings.training.epochs,
        text="".join(f"{name}={value!r}, " for name, value in {**text, **others}.items() if value is not None),
        model=pprint.pformat(model, sort_dicts=False, width=100),
        training=pprint.pformat(settings.recipe, sort_dicts=False, width=100),
        preset=settings.training.preset,
    )


_SCRIPT = '''"""The best model of a search.

Trial {trial}: validation perplexity {perplexity:.2f}, {parameters:,} parameters.
`build_model()` gives it untrained; run as a script, this trains it anew into the folder `retrained`.
As it was trained in the search: `kerasptb.load_run("best").load_model()`.
"""

import kerasptb

MODEL = {model}
TRAINING = {training}


def build_model(steps_per_epoch=1):
    """Returns the model, compiled, with weights as at the beginning.

    Args:
        steps_per_epoch: batches of an epoch, which a learning rate that varies with the steps needs.
    """
    model = kerasptb.LanguageModel(**MODEL)
    optimizer, _ = kerasptb.presets.get_preset({preset!r}).training(steps_per_epoch, {epochs}, **TRAINING)
    model.compile(optimizer)
    return model


if __name__ == "__main__":
    arguments = {{"preset": {preset!r}, "model_arguments": MODEL, "training_arguments": TRAINING}}
    kerasptb.train({text}epochs={epochs}, **arguments, out="retrained")
'''


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
