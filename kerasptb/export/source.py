"""What an export is made from: a run, or a model."""

from __future__ import annotations

import os
from typing import Any, NamedTuple, TypeAlias, cast

from kerasptb.data import Tokenizer
from kerasptb.data.lexicon import Lexicon
from kerasptb.data.text_format import TextFormat
from kerasptb.engine import Network
from kerasptb.reading.reader import open_reader
from kerasptb.runs.folder import RunFolder
from kerasptb.utils.errors import ExportError
from kerasptb.utils.files import readable
from kerasptb.utils.types import StrPath

# A run or the path of its folder; and with those a `LanguageModel`, or what else is a model.
AnyRun: TypeAlias = RunFolder | StrPath
RunOrModel: TypeAlias = AnyRun | Any


class Source(NamedTuple):
    """What most exports need.

    Attributes:
        network: the trained `Network`, in float32.
        text_format: how its text is read, a `TextFormat` with its tokenizer.
        lexicon: the words that are known where one types with errors; `None` if none are listed.
        name: of the run's folder; "" of a model.
    """

    network: Network
    text_format: TextFormat
    lexicon: Lexicon | None
    name: str

    @property
    def tokenizer(self) -> Tokenizer:
        """The `Tokenizer`."""
        return cast(Tokenizer, self.text_format.tokenizer)


def open_source(run_or_model: RunOrModel) -> Source:
    """Returns what is to be exported of a run, of the path of its folder, or of a `LanguageModel`.

    Raises:
        ExportError: if the model does not know its tokens.
        RunError: if the run has no weights yet.
    """
    if isinstance(run_or_model, str | os.PathLike):
        run_or_model = RunFolder.open(run_or_model)
    if isinstance(run_or_model, RunFolder):
        # Only the weights are needed, so the exporting machine need not support what the training ran on.
        reader = run_or_model.using(counts=False, backend="reference", precision="float32").reader
        return Source(reader.network, reader.text_format, reader.lexicon, readable(run_or_model.folder.name))
    if getattr(run_or_model, "tokenizer", True) is None:
        raise ExportError("This model does not know its tokens: give a `tokenizer` where it is made. Received: None")
    reader = open_reader(run_or_model)
    return Source(reader.network, reader.text_format, reader.lexicon, "")


def run_of(run: AnyRun) -> RunFolder:
    """Returns the run to export, or that of a folder; raises an `ExportError` for a model."""
    run = RunFolder.open(run) if isinstance(run, str | os.PathLike) else run
    if not isinstance(run, RunFolder):
        raise ExportError(f"Expected a run, of which more than its model is written. Received: {type(run).__name__}")
    return run


def check_cell(network: Network, what: str, serves: bool) -> None:
    """Raises an `ExportError` unless a network has a cell that `what` has too."""
    if not serves:
        raise ExportError(
            f"{what} has no form of such a cell; --format saved-model and litert take any. "
            f"Received: a model of {network.cell.title}"
        )
