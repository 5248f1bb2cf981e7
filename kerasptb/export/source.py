"""What an export is made from: a run, or a model with its tokenizer."""

import os

from kerasptb.data import DataError, Tokenizer
from kerasptb.models import LanguageModel
from kerasptb.models.portable import ExportError
from kerasptb.runs import Run, load_run


def resolve(
    run_or_model: Run | str | os.PathLike[str] | LanguageModel, vocabulary: Tokenizer | None = None
) -> tuple[LanguageModel, Tokenizer]:
    """Returns the model and the vocabulary to export.

    Args:
        run_or_model: a `Run`, the path of its folder, or a `LanguageModel`.
        vocabulary: the `Tokenizer`; `None` for the run's, or the one that the model was saved with.

    Returns:
        A `LanguageModel`, in float32 and without native operations if it comes from a run, and a `Tokenizer`.

    Raises:
        ExportError: if the vocabulary is missing or of another size.
    """
    if isinstance(run_or_model, str | os.PathLike):
        run_or_model = load_run(run_or_model)
    if isinstance(run_or_model, Run):
        vocabulary = run_or_model.vocabulary if vocabulary is None else vocabulary
        # Only the weights are needed, so the exporting machine need not support what the training ran on.
        run_or_model = run_or_model.load_model(backend="keras", precision="float32")
    elif vocabulary is None:
        vocabulary = run_or_model.tokenizer
    if vocabulary is None:
        raise ExportError("This model does not know its tokens: give its `vocabulary`. Received: vocabulary=None")
    try:
        vocabulary.check_size(run_or_model.vocabulary_size)
    except DataError as error:
        raise ExportError(str(error)) from None
    return run_or_model, vocabulary
