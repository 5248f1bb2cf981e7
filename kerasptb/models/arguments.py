"""The arguments of a `LanguageModel`: checked, and as numbers that its config can hold."""

import math

import numpy as np

# Rates that `keep_prob` stands for: whoever names it replaces them.
KEEP_PROB_RATES = ("input_dropout", "hidden_dropout", "output_dropout")
# Arguments that are a probability of dropping something.
DROPOUT_RATES = (*KEEP_PROB_RATES, "word_dropout", "recurrent_dropout", "recurrent_kernel_dropout")
PENALTIES = ("activation_regularization", "temporal_activation_regularization")
# What is kept is divided by it: with less, nothing that float32 holds is left of a model.
_LEAST_KEEP_PROB = 0.01
_SIZES = ("vocabulary_size", "embedding_size", "batch_size", "num_steps")


def checked_arguments(**arguments):
    """Returns the arguments as a dict that JSON can hold, but for `units`, a tuple.

    NumPy numbers and an int for `units` are accepted too.

    Args:
        **arguments: all arguments of `LanguageModel` but its name and dtype.

    Raises:
        ValueError: if an argument is out of range.
    """
    checked = dict(arguments)
    units = checked["units"]
    units = (units,) if isinstance(units, int | np.integer) else tuple(units)
    sizes = {name: checked[name] for name in _SIZES} | {f"units[{i}]": size for i, size in enumerate(units)}
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise ValueError(f"`{name}` must be a whole number of at least 1. Received: {name}={size!r}")
    if not units:
        raise ValueError("`units` must name at least one LSTM layer. Received: units=()")
    if not _LEAST_KEEP_PROB <= checked["keep_prob"] <= 1.0:
        raise ValueError(
            f"`keep_prob` must be at least {_LEAST_KEEP_PROB} and at most 1. Received: keep_prob={checked['keep_prob']}"
        )
    seed = checked["seed"]
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0):
        raise ValueError(f"`seed` must be a whole number of at least 0, or None. Received: seed={seed!r}")
    for name in ("init_scale", *PENALTIES):
        if not 0 <= checked[name] < math.inf:
            raise ValueError(f"`{name}` must be 0 or more, and finite. Received: {name}={checked[name]}")
    for name, rate in dropout_rates(checked).items():
        if not 0 <= rate < 1:
            raise ValueError(f"`{name}` must be at least 0 and below 1. Received: {name}={rate}")
    if checked["tie_embeddings"] and units[-1] != checked["embedding_size"]:
        raise ValueError(
            "Tied embeddings need a last LSTM layer of the embedding's size. "
            f"Received: embedding_size={checked['embedding_size']}, units={units}"
        )
    checked |= {name: int(checked[name]) for name in _SIZES}
    checked["units"] = tuple(int(size) for size in units)
    checked["seed"] = None if checked["seed"] is None else int(checked["seed"])
    checked["variational_dropout"] = bool(checked["variational_dropout"])
    numbers = ("keep_prob", "init_scale", *PENALTIES, *DROPOUT_RATES)
    return checked | {name: float(checked[name]) for name in numbers if checked[name] is not None}


def dropout_rates(arguments):
    """Returns the rates of `DROPOUT_RATES`, where `None` follows `keep_prob`, as a dict of floats."""
    default = 1.0 - arguments["keep_prob"]
    return {name: default if arguments[name] is None else arguments[name] for name in DROPOUT_RATES}
