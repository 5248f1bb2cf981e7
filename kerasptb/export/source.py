"""What an export is made from: a run, or a model."""

import os

from kerasptb.data import Tokenizer
from kerasptb.data.lexicon import Lexicon
from kerasptb.models import LanguageModel
from kerasptb.models.portable import ExportError
from kerasptb.runs import Run, load_run
from kerasptb.runs.words import load_words


def opened(run_or_model: Run | str | os.PathLike[str] | LanguageModel) -> Run | LanguageModel:
    """Returns a run or a model, or the run of a folder."""
    return load_run(run_or_model) if isinstance(run_or_model, str | os.PathLike) else run_or_model


def words_of(run_or_model: Run | LanguageModel) -> Lexicon | None:
    """Returns the words that a run knows; `None` if it has none, as a model."""
    return load_words(run_or_model) if isinstance(run_or_model, Run) else None


def run_of(run: Run | str | os.PathLike[str]) -> Run:
    """Returns the run to export, or that of a folder; raises an `ExportError` for a model."""
    run = opened(run)
    if not isinstance(run, Run):
        raise ExportError(f"Expected a run, of which more than its model is written. Received: {type(run).__name__}")
    return run


def resolve(run_or_model: Run | str | os.PathLike[str] | LanguageModel) -> tuple[LanguageModel, Tokenizer]:
    """Returns the model to export and its tokenizer; that of a run is in float32, without native operations."""
    run_or_model = opened(run_or_model)
    if isinstance(run_or_model, Run):
        # Only the weights are needed, so the exporting machine need not support what the training ran on.
        run_or_model = run_or_model.load_model(backend="keras", precision="float32")
    if run_or_model.tokenizer is None:
        raise ExportError("This model does not know its tokens: give a `tokenizer` where it is made. Received: None")
    return run_or_model, run_or_model.tokenizer
