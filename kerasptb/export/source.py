"""What an export is made from: a run, or a model."""

import os

from kerasptb.data import Tokenizer
from kerasptb.models import LanguageModel
from kerasptb.models.portable import ExportError
from kerasptb.runs import Run, load_run


def run_of(run: Run | str | os.PathLike[str]) -> Run:
    """Returns the run to export, or that of a folder; raises an `ExportError` for a model."""
    if isinstance(run, str | os.PathLike):
        return load_run(run)
    if not isinstance(run, Run):
        raise ExportError(f"Expected a run, of which more than its model is written. Received: {type(run).__name__}")
    return run


def resolve(run_or_model: Run | str | os.PathLike[str] | LanguageModel) -> tuple[LanguageModel, Tokenizer]:
    """Returns the model to export and its tokenizer; that of a run is in float32, without native operations."""
    if isinstance(run_or_model, str | os.PathLike):
        run_or_model = load_run(run_or_model)
    if isinstance(run_or_model, Run):
        # Only the weights are needed, so the exporting machine need not support what the training ran on.
        run_or_model = run_or_model.load_model(backend="keras", precision="float32")
    if run_or_model.tokenizer is None:
        raise ExportError("This model does not know its tokens: give a `tokenizer` where it is made. Received: None")
    return run_or_model, run_or_model.tokenizer
