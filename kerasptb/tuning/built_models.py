"""Models that a space builds itself: the arguments with which `kerasptb.train` trains the same model."""

import warnings
from typing import Any

import keras

import kerasptb
from kerasptb.layers.tied_dense import TiedDense
from kerasptb.optimizers import ClippedSGD

# Arguments of `compile` that change the results. `train` chooses the others for speed.
_COMPILED = ("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics")


def arguments_of(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the `model_arguments` and `training_arguments` with which `train` trains a model like this one.

    A model that is made from them is compared with it, so that nothing that may differ needs a rule of its own; raises
    ValueError if it would be trained differently.
    """
    if type(model) is not kerasptb.LanguageModel or not model.compiled:
        raise _refusal(f"a {type(model).__name__}{'' if model.compiled else ' that is not compiled'}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about LoRA, which is a difference
        config = model.get_config()
    states = ("frozen", "trainable")  # in the config, but no arguments
    arguments = {name: value for name, value in config.items() if value is not None and name not in states}
    optimizer = model.optimizer
    training = {"learning_rate": float(optimizer.learning_rate), "global_clipnorm": optimizer.global_clipnorm}
    plain = kerasptb.LanguageModel(**arguments)
    plain.compile(ClippedSGD(**training, name=optimizer.name))
    if (difference := _difference(_description(model), _description(plain))) is not None:
        raise _refusal(difference)
    return arguments, training


def _refusal(received: str) -> ValueError:
    return ValueError(
        "A space's model is trained by kerasptb.train: a LanguageModel, with ClippedSGD at a constant rate and the "
        f"default loss. To train another, give the HyperModel a `fit`. Received: {received}"
    )


def _description(model: kerasptb.LanguageModel) -> dict[str, Any]:
    """Returns all that decides how a model is trained, but its weights' values, in nested dicts."""
    compiled: Any = model.get_compile_config()
    description = {**{name: compiled[name] for name in _COMPILED}, "teacher": model.teacher is not None}
    for layer in model.layers:
        # A TiedDense refuses to give its config, because the layer could not be made from it.
        config = keras.layers.Layer.get_config(layer) if isinstance(layer, TiedDense) else layer.get_config()
        names = ("trainable", "regularizer", "constraint")
        weights = {weight.name: {name: getattr(weight, name) for name in names} for weight in layer.weights}
        description[layer.name] = {**config, **keras.saving.serialize_keras_object(weights)}
    return description


def _difference(model: Any, plain: Any, path: str = "") -> str | None:
    """Returns the first value that differs in two nested dicts, with its path; `None` if there is none."""
    if not (isinstance(model, dict) and isinstance(plain, dict)):
        return None if model == plain else f"{path}={model!r}"
    names = [name for name in {**model, **plain} if name != "module"]  # `class_name`, which comes next, says more
    found = (_difference(model.get(name), plain.get(name), f"{path}.{name}" if path else name) for name in names)
    return next((difference for difference in found if difference is not None), None)
