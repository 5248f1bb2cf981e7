"""The arguments of `LanguageModel` where all are optional, for type checkers and for `help`."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, TypeVar

import keras

from kerasptb.data import Tokenizer
from kerasptb.data.text_format import TextFormat
from kerasptb.utils.types import Backend, CellName, Precision


class Overrides(TypedDict, total=False):
    """The arguments of `LanguageModel`, none of them required. The tests compare."""

    vocabulary_size: int
    embedding_size: int
    units: int | Sequence[int]
    batch_size: int
    num_steps: int
    keep_prob: float
    init_scale: float
    backend: Backend
    precision: Precision | None
    seed: int | None
    name: str
    tie_embeddings: bool
    dtype: str | keras.DTypePolicy | None
    input_dropout: float | None
    hidden_dropout: float | None
    output_dropout: float | None
    variational_dropout: bool
    word_dropout: float
    recurrent_dropout: float
    recurrent_kernel_dropout: float
    activation_regularization: float
    temporal_activation_regularization: float
    projection: bool
    cell: CellName
    tokenizer: Tokenizer | TextFormat | None


_Function = TypeVar("_Function", bound=Callable[..., Any])


def showing_overrides(function: _Function) -> _Function:
    """Lets `help` show the arguments that type checkers see in `**overrides: Unpack[Overrides]`."""
    of_preset = type("OfPreset", (), {"__repr__": lambda self: "the preset's"})()
    signature = inspect.signature(function)
    named = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    named += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=of_preset, annotation=annotation)
        for name, annotation in Overrides.__annotations__.items()
    ]
    function.__signature__ = signature.replace(parameters=named)  # type: ignore[attr-defined]
    return function
