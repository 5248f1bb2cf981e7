"""The arguments of a `LanguageModel`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args

from kerasptb.arguments.fields import Arguments, Sampling, argument, preset_argument
from kerasptb.arguments.kinds import Choice, Flag, Number, Several, Text, Whole
from kerasptb.utils.types import Backend, CellName, Precision

# Ranges of widths go in multiples of this: the native kernels work in blocks of 32 units.
WIDTH_STEP = 32
# The arguments that say which layers there are, and how large; and with the cell, what the weights of a run fit.
SHAPE = ("units", "embedding_size", "tie_embeddings", "projection")
LAYERS = (*SHAPE, "cell")
# What dropout keeps is divided by it: with less, nothing that float32 holds is left of a model.
_LEAST_KEEP_PROB = 0.01
_RATE = Number(0, 1, without_high=True)
_BY_RATE = Sampling(step=0.05, around=0.15)
_PENALTY = Sampling(log=True, around=3)


class _Policy:
    """A Keras dtype policy: its name, its config, or itself. Keras knows the names."""

    expected = "a Keras dtype policy, such as 'mixed_bfloat16'"

    def read(self, value: Any) -> Any:
        if not (isinstance(value, str | dict) or hasattr(value, "compute_dtype")):
            raise ValueError
        return value


@dataclasses.dataclass(frozen=True)
class ModelArguments(Arguments):
    """What a `LanguageModel` is made from, in the order of its constructor; see there."""

    vocabulary_size: int = argument(Whole(), "number V of words")
    embedding_size: int = preset_argument(Whole(), "size of a word's vector", sampling=Sampling(WIDTH_STEP))
    units: tuple[int, ...] = preset_argument(
        Several(Whole()),
        "sizes of the recurrent layers; where embeddings are tied, the last is the embedding's",
        metavar="H",
        sampling=Sampling(WIDTH_STEP),
    )
    batch_size: int = preset_argument(Whole(), "rows of a batch", sampling=Sampling(1))
    num_steps: int = preset_argument(Whole(), "words of a row", sampling=Sampling(1))
    keep_prob: float = preset_argument(
        Number(_LEAST_KEEP_PROB, 1),
        "probability of keeping a unit in dropout",
        1.0,
        sampling=_BY_RATE,
    )
    init_scale: float = argument(Number(0), "weights begin uniform within ± this", 0.1, sampling=Sampling(log=True))
    backend: str = argument(
        Choice(get_args(Backend)), "what runs the LSTMs and the loss", "auto", option=True, shown="auto"
    )
    precision: str | None = argument(
        Choice(get_args(Precision)), "of the matrix products", None, option=True, shown="the preset's, or float32"
    )
    seed: int | None = argument(
        Whole(0),
        "seed of the weights and of dropout, which makes the run repeatable",
        None,
        option=True,
        shown="drawn, and recorded",
    )
    name: str = argument(Text(), "name of the model", "language_model")
    tie_embeddings: bool = argument(Flag(), "whether the logits use the embedding matrix", False, sampling=Sampling())
    dtype: str | None = argument(_Policy(), "Keras dtype policy of the layers", None)
    input_dropout: float | None = argument(_RATE, "rate of dropout on the words' vectors", None, sampling=_BY_RATE)
    hidden_dropout: float | None = argument(_RATE, "rate of dropout between the LSTM layers", None, sampling=_BY_RATE)
    output_dropout: float | None = argument(
        _RATE, "rate of dropout on the last layer's output", None, sampling=_BY_RATE
    )
    variational_dropout: bool = argument(
        Flag(), "whether dropout draws one mask for all steps of a batch", False, sampling=Sampling()
    )
    word_dropout: float = argument(_RATE, "rate of words dropped wherever they occur", 0.0, sampling=_BY_RATE)
    recurrent_dropout: float = argument(_RATE, "rate of dropout on h[t-1]", 0.0, sampling=_BY_RATE)
    recurrent_kernel_dropout: float = argument(_RATE, "rate of dropped recurrent weights", 0.0, sampling=_BY_RATE)
    activation_regularization: float = argument(
        Number(0), "alpha of the penalty on activations", 0.0, sampling=_PENALTY
    )
    temporal_activation_regularization: float = argument(
        Number(0), "beta of the penalty on their changes from step to step", 0.0, sampling=_PENALTY
    )
    projection: bool = argument(
        Flag(), "whether the last output is projected to the embedding's size", False, sampling=Sampling()
    )
    cell: str = preset_argument(
        Choice(get_args(CellName)), "what the recurrent layers are", "lstm", sampling=Sampling()
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tie_embeddings and not self.projection and self.units[-1] != self.embedding_size:
            raise ValueError(
                "Tied embeddings need a last LSTM layer of the embedding's size, or projection=True. "
                f"Received: embedding_size={self.embedding_size}, units={self.units}"
            )

    def rate(self, name: str) -> float:
        """Returns a rate of dropout, that of `keep_prob` where the argument is `None`."""
        rate = getattr(self, name)
        return 1.0 - self.keep_prob if rate is None else rate


# The rates that `keep_prob` stands for where they are `None`.
_OF_KEEP_PROB = ("input_dropout", "hidden_dropout", "output_dropout")


def with_changes(arguments: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arguments of a model with some replaced, a dict. `keep_prob` replaces the rates that it stands for."""
    without = _OF_KEEP_PROB if "keep_prob" in changes else ()
    return {name: value for name, value in arguments.items() if name not in without} | dict(changes)
