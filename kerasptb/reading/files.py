"""Readers of models in files: `.keras`, and SavedModels."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kerasptb.data.text_format import TextFormat
from kerasptb.engine.files import ASSETS, load_keras_file
from kerasptb.engine.saved_model import load_network
from kerasptb.native import NativeUnavailableError
from kerasptb.reading.reader import Reader
from kerasptb.utils.errors import ExportError
from kerasptb.utils.files import DAMAGE

TOKENIZER_DIGEST = "tokenizer.sha256"  # an asset of a .keras file, that of its tokenizer


def load_keras_model(path: str | os.PathLike[str], **how: Any) -> Reader:
    """Returns what reads with a `.keras` file that `LanguageModel.save` wrote.

    Args:
        path: the file.
        **how: further arguments of `Network`.

    Raises:
        ExportError: if it holds no such model, or one that does not know its tokenizer.
    """
    try:
        network = load_keras_file(Path(path), **how)
        with zipfile.ZipFile(path) as archive, TemporaryDirectory() as folder:
            for name in archive.namelist():
                if name.startswith(ASSETS):
                    Path(folder, Path(name).name).write_bytes(archive.read(name))
            return Reader(network, _load_format(Path(folder)))
    except FileNotFoundError:
        if not Path(path).exists():
            raise
        raise ExportError(f"Expected a model that knows its tokenizer. Received: {path}, which has none") from None
    except DAMAGE as error:
        if isinstance(error, NativeUnavailableError) or getattr(error, "errno", None) not in (None, errno.EINVAL):
            raise  # not the file's
        raise ExportError(
            f"Expected a .keras file of a LanguageModel. Received: {path} ({_first_line(error)})"
        ) from None


def load_saved_model(folder: str | os.PathLike[str]) -> Reader:
    """Opens a SavedModel that `kerasptb.export_saved_model` wrote: suggestions and scores take what it returns.

    It needs TensorFlow, to read the folder alone.

    Args:
        folder: its folder, which is no longer needed afterwards.

    Returns:
        A `Reader`.

    Raises:
        ExportError: if the folder holds no such SavedModel.
    """
    try:
        return Reader(load_network(folder), TextFormat.load(Path(folder, "assets")))
    except (OSError, LookupError, AttributeError, ValueError) as error:
        raise ExportError(
            f"Expected a folder made by `kerasptb train` or `kerasptb export`. Received: {folder} "
            f"({_first_line(error)})"
        ) from None


def _load_format(folder: Path) -> TextFormat:
    """Returns the `TextFormat` in a folder of assets; raises a ValueError if the tokenizer was put in its place."""
    text_format, digest = TextFormat.load(folder), folder / TOKENIZER_DIGEST
    tokenizer = text_format.tokenizer
    if tokenizer is not None and digest.exists() and tokenizer.digest != digest.read_text(encoding="utf-8"):
        raise ValueError("its tokenizer is not the one that it was saved with")
    return text_format


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
