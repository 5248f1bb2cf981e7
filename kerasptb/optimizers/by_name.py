"""An optimizer by its name, in the place of another."""

import keras

from kerasptb.optimizers.clipped_adamw import ClippedAdamW
from kerasptb.optimizers.clipped_sgd import ClippedSGD

_OURS = {"sgd": ClippedSGD, "adamw": ClippedAdamW}


def with_optimizer(optimizer: keras.optimizers.Optimizer, name: str) -> keras.optimizers.Optimizer:
    """Returns an optimizer of that name with the learning rate, or its schedule, and the clip norm of another one.

    Args:
        optimizer: a `keras.optimizers.Optimizer`.
        name: "sgd" and "adamw" are `ClippedSGD` and `ClippedAdamW`; else a name that `keras.optimizers.get` knows.

    Raises:
        ValueError: for an unknown name.
    """
    config = optimizer.get_config()
    rate = config["learning_rate"]
    rate = keras.optimizers.schedules.deserialize(rate) if isinstance(rate, dict) else rate
    return _class_of(name)(learning_rate=rate, global_clipnorm=config["global_clipnorm"])


def rate_of(name: str) -> float:
    """Returns the default learning rate of the optimizer of that name, a float.

    Raises:
        ValueError: for an unknown name.
    """
    return float(_class_of(name)().learning_rate)


def _class_of(name):
    try:
        return _OURS.get(name) or type(keras.optimizers.get(name))
    except ValueError:
        raise ValueError(
            f'Expected "sgd", "adamw" or the name of another Keras optimizer, such as "rmsprop". Received: {name!r}'
        ) from None
