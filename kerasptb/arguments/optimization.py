"""The arguments of recipes: those that the `training` functions of `kerasptb.presets` may have, with their defaults."""

from __future__ import annotations

import dataclasses

from kerasptb.arguments.fields import Arguments, Sampling, argument, preset_argument
from kerasptb.arguments.kinds import Number, Whole

_ABOVE_0 = Number(0, without_low=True)


@dataclasses.dataclass(frozen=True)
class RecipeArguments(Arguments):
    """What a recipe's training may be asked for; each has some of these."""

    learning_rate: float = preset_argument(_ABOVE_0, "largest learning rate", sampling=Sampling(log=True, around=3))
    decay: float = argument(
        Number(0, 1, without_low=True),
        "factor of the rate in each epoch after the `constant_epochs`, or when validation stalls",
        sampling=Sampling(0.05),
    )
    constant_epochs: int = argument(Whole(0), "number of epochs at the first rate", sampling=Sampling(1))
    patience: int = argument(
        Whole(), "epochs without a lower perplexity before something changes", sampling=Sampling(1)
    )
    warmup_fraction: float = argument(
        Number(0, 1), "share of the steps in which the rate rises", sampling=Sampling(0.05)
    )
    global_clipnorm: float | None = argument(
        _ABOVE_0,
        "largest global norm of the gradients of the cost summed over time",
        optional=True,
        sampling=Sampling(log=True),
    )
    weight_decay: float | None = argument(
        Number(0),
        "rate of the weights' decay, relative to the learning rate",
        optional=True,
        sampling=Sampling(log=True, around=3),
    )
    beta_1: float = argument(
        Number(0, 1, without_high=True),
        "decay of the mean of the gradients, momentum; 0 for none",
        sampling=Sampling(0.05),
    )


RECIPE_ARGUMENTS = RecipeArguments.fields()
