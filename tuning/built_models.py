"""Models that a space builds itself: the settings from which `kerasptb.train` builds and trains the same model."""

import warnings

import keras

import kerasptb
from kerasptb.layers.tied_dense import TiedDense
from kerasptb.optimizers import ClippedSGD

# Arguments of `compile` that change the results. `train` chooses the others for speed.
_COMPILED = ("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics")

# What a model's config holds beside its constructor's arguments.
_STATE = ("frozen", "trainable")


def arguments_of(model):
    """Returns what `kerasptb.train` takes as `model_arguments` and `training_arguments` to train a model like this one.

    Args:
        model: a `kerasptb.LanguageModel`.

    Raises:
        ValueError: if it would be trained differently from how this model was compiled. A model that is made from the
            arguments is compared with it, so that nothing that may differ needs a rule of its own.
    """
    if type(model) is not kerasptb.LanguageModel:
        raise _refusal(f"a {type(model).__name__}")
    if not model.compiled:
        raise _refusal("a model that is not compiled")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about LoRA, which is a difference
        config = model.get_config()
    arguments = {name: value for name, value in config.items() if value is not None and name not in _STATE}
    training = {
        "learning_rate": float(model.optimizer.learning_rate),
        "global_clipnorm": model.optimizer.global_clipnorm,
    }
    plain = kerasptb.LanguageModel(**arguments)
    plain.compile(ClippedSGD(**training, name=model.optimizer.name))
    if (difference := _difference(_description(model), _description(plain))) is not None:
        raise _refusal(difference)
    return arguments, training


def _refusal(received):
    return ValueError(
        "A space's model is trained by kerasptb.train: a LanguageModel, with ClippedSGD at a constant rate and the "
        f"default loss. To train another, give the HyperModel a `fit`. Received: {received}"
    )


def _description(model):
    """Returns all that decides how a model is trained, but its weights' values, in nested dicts."""
    compiled = model.get_compile_config()
    return {
        **{name: compiled[name] for name in _COMPILED},
        **{layer.name: {**_config_of(layer), **_weights_of(layer)} for layer in model.layers},
    }


def _config_of(layer):
    # A TiedDense refuses to give its config, because the layer could not be made from it.
    return keras.layers.Layer.get_config(layer) if isinstance(layer, TiedDense) else layer.get_config()


def _weights_of(layer):
    return {
        weight.name: {
            "trainable": weight.trainable,
            "regularizer": keras.saving.serialize_keras_object(weight.regularizer),
            "constraint": keras.saving.serialize_keras_object(weight.constraint),
        }
        for weight in layer.weights
    }


def _difference(own, plain, path=()):
    """Returns the first value that differs in two nested dicts, with its path; `None` if there is none."""
    if not (isinstance(own, dict) and isinstance(plain, dict)):
        return None if own == plain else f"{'.'.join(path)}={own!r}"
    names = [name for name in {**own, **plain} if name != "module"]  # `class_name`, which comes next, says more
    found = (_difference(own.get(name), plain.get(name), (*path, name)) for name in names)
    return next((difference for difference in found if difference is not None), None)
