"""The weights of models in Keras, written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import h5py

from kerasptb.compat.keras import H5IOStore, save_state
from kerasptb.runs.weights import DIGEST, digest
from kerasptb.utils.files import atomic_write

if TYPE_CHECKING:
    from kerasptb.models.language_model import LanguageModel


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
