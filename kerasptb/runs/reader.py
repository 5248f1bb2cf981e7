"""What reads with a model, wherever it lies."""

from __future__ import annotations

import os
from pathlib import Path

from kerasptb.reading.files import load_keras_model, load_saved_model
from kerasptb.reading.reader import Reader
from kerasptb.runs.folder import RunFolder
from kerasptb.utils.types import Backend, Precision


def load_reader(
    path: str | os.PathLike[str],
    counts: bool = True,
    backend: Backend | None = None,
    precision: Precision | None = None,
) -> Reader:
    """Opens a trained model to ask it: `kerasptb.suggest`, `generate` and scores take what it returns.

    It needs no framework, but for a SavedModel TensorFlow, to read it.

    Args:
        path: a run folder; "english"; a `.keras` file that `LanguageModel.save` wrote; or the folder of a SavedModel
            that `kerasptb.export_saved_model` wrote.
        counts: whether the counts of a run's training text refine what its network says, if it has them.
        backend: as in `kerasptb.engine.Network`; `None` for the run's, or "auto".
        precision: likewise; `None` for the run's, or "float32".

    Returns:
        A `Reader`.

    Raises:
        ExportError: if a file or a SavedModel holds no such model.
        RunError: if a folder is no run, or has no weights yet.
        NativeUnavailableError: if a backend or precision that is named is not there.

    Example:
        >>> import kerasptb
        >>> reader = kerasptb.load_reader("english")
        >>> [each.word for each in kerasptb.suggest(reader, "I would like", k=2)]
        ['to', 'the']
    """
    how = {name: value for name, value in (("backend", backend), ("precision", precision)) if value is not None}
    if (Path(path) / "saved_model.pb").exists():
        return load_saved_model(path)
    if Path(path).suffix == ".keras":
        return load_keras_model(path, **how)
    return RunFolder.open(path).using(counts, **how).reader
