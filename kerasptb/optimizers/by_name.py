"""An optimizer by its name, in the place of another."""

from typing import Any

import keras

from kerasptb.optimizers.clipped_adamw import ClippedAdamW
from kerasptb.optimizers.clipped_sgd import ClippedSGD
from kerasptb.optimizers.one_pass import OnePassStep

_OURS = {"sgd": ClippedSGD, "adamw": ClippedAdamW}


def with_optimizer(
    optimizer: keras.optimizers.Optimizer, name: str, weight_decay: float | None = None
) -> keras.optimizers.Optimizer:
    """Returns an optimizer of that name with the learning rate, or its schedule, and the clip norm of another one.

    Averages of the weights are kept if the other one keeps them and the new one can.

    Args:
        optimizer: a `keras.optimizers.Optimizer`.
        name: "sgd" and "adamw" are `ClippedSGD` and `ClippedAdamW`; else a name that `keras.optimizers.get` knows.
        weight_decay: rate of the decay, relative to the learning rate; `None` for the new one's default.

    Raises:
        ValueError: for an unknown name.
    """
    config = optimizer.get_config()
    rate = config["learning_rate"]
    rate = keras.optimizers.schedules.deserialize(rate) if isinstance(rate, dict) else rate
    kind = _class_of(name)
    further: dict[str, Any] = {}
    if config.get("polyak_averaging") and issubclass(kind, OnePassStep):
        further["polyak_averaging"] = True
    elif config.get("use_ema") and not config.get("polyak_averaging"):
        further |= {"use_ema": True, "ema_momentum": config["ema_momentum"]}
    if weight_decay is not None:
        further["weight_decay"] = weight_decay
    return kind(learning_rate=rate, global_clipnorm=config["global_clipnorm"], **further)


def rate_of(name: str) -> float:
    """Returns the default learning rate of the optimizer of that name, as in `with_optimizer`."""
    return float(_class_of(name)().learning_rate)


def decay_of(name: str) -> float:
    """Returns the default weight decay of the optimizer of that name, as in `with_optimizer`."""
    return float(_class_of(name)().weight_decay or 0.0)


def _class_of(name: str) -> type[keras.optimizers.Optimizer]:
    try:
        return _OURS.get(name) or type(keras.optimizers.get(name))
    except ValueError:
        raise ValueError(
            f'Expected "sgd", "adamw" or the name of another Keras optimizer, such as "rmsprop". Received: {name!r}'
        ) from None
