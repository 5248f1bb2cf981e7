"""The weights of models in Keras: written, and those of a run read."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from kerasptb.arguments import with_changes
from kerasptb.compat.keras import H5IOStore, save_state
from kerasptb.engine.quantized import as_float32
from kerasptb.models.language_model import LanguageModel
from kerasptb.runs.weights import DIGEST, digest, read_checked
from kerasptb.utils.files import atomic_write

if TYPE_CHECKING:
    from kerasptb.runs.folder import RunFolder


def save_weights(model: LanguageModel, *paths: Path) -> None:
    """Writes a model's weights, with their digest in the same file, to each path; the files are replaced whole."""
    # In memory: HDF5 kills the process if the disk is full.
    content = io.BytesIO()
    store = H5IOStore(content, mode="w")
    save_state(model, store, assets_store=None, inner_path="", visited_saveables=set())
    store.close()
    with h5py.File(content, "r+") as file:
        file.attrs[DIGEST] = digest(file)
    for path in paths:
        with atomic_write(path) as temporary:
            temporary.write_bytes(content.getbuffer())


def load_model(run: RunFolder, path: Path, changes: Mapping[str, Any]) -> LanguageModel:
    """Returns a run's model with the weights of a file, compiled; `changes` are arguments in place of the run's.

    Raises:
        RunError: the file is damaged, or of another model.
    """
    weights = read_checked(path, run.settings.model)
    model = LanguageModel(**with_changes(run.settings.model.as_dict(), changes), tokenizer=run.text_format)
    model.set_weights([as_float32(weight) for weight in weights])
    model.compile()
    return model
