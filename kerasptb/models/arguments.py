"""The arguments of a `LanguageModel`: checked, and as numbers that its config can hold."""

import math

import numpy as np

# Arguments that are a probability of dropping something.
DROPOUT_RATES = (
    "input_dropout",
    "hidden_dropout",
    "output_dropout",
    "word_dropout",
    "recurrent_dropout",
    "recurrent_kernel_dropout",
)
PENALTIES = ("activation_regularization", "temporal_activation_regularization")


def checked_arguments(
    vocabulary_size, embedding_size, units, batch_size, num_steps, keep_prob, init_scale, seed, tie_embeddings
):
    """Checks the arguments and returns all but the last, as Python numbers and `units` as a tuple.

    NumPy numbers are accepted too, but JSON cannot hold them.

    Raises:
        ValueError: if an argument is out of range.
    """
    units = (units,) if isinstance(units, int | np.integer) else tuple(units)
    sizes = {
        "vocabulary_size": vocabulary_size,
        "embedding_size": embedding_size,
        "batch_size": batch_size,
        "num_steps": num_steps,
        **{f"units[{i}]": size for i, size in enumerate(units)},
    }
    for argument, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise ValueError(f"`{argument}` must be a whole number of at least 1. Received: {argument}={size!r}")
    if not units:
        raise ValueError("`units` must name at least one LSTM layer. Received: units=()")
    if not 0.0 < keep_prob <= 1.0:
        raise ValueError(f"`keep_prob` must be above 0 and at most 1. Received: keep_prob={keep_prob}")
    if not 0 <= init_scale < math.inf:
        raise ValueError(f"`init_scale` must be 0 or more, and finite. Received: init_scale={init_scale}")
    if tie_embeddings and units[-1] != embedding_size:
        raise ValueError(
            "Tied embeddings need a last LSTM layer of the embedding's size. "
            f"Received: embedding_size={embedding_size}, units={units}"
        )
    units = tuple(int(size) for size in units)
    sizes = int(vocabulary_size), int(embedding_size), units, int(batch_size), int(num_steps)
    return *sizes, float(keep_prob), float(init_scale), None if seed is None else int(seed)


def checked_regularization(keep_prob, given):
    """Checks the arguments of `DROPOUT_RATES` and `PENALTIES` and returns them as a dict of floats.

    Args:
        keep_prob: what the rates between the layers follow where they are `None`.
        given: dict from each argument to its value.

    Raises:
        ValueError: if an argument is out of range.
    """
    values = {name: 1.0 - keep_prob if value is None else value for name, value in given.items()}
    for name in DROPOUT_RATES:
        if not 0 <= values[name] < 1:
            raise ValueError(f"`{name}` must be at least 0 and below 1. Received: {name}={values[name]}")
    for name in PENALTIES:
        if not 0 <= values[name] < math.inf:
            raise ValueError(f"`{name}` must be 0 or more, and finite. Received: {name}={values[name]}")
    return {name: float(value) for name, value in values.items()}
