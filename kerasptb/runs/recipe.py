"""What a run's settings stand for: its recipe, optimizer, callbacks and batches."""

import math

from kerasptb.callbacks import EarlyStopping
from kerasptb.data import DataError, make_dataset
from kerasptb.models.arguments import KEEP_PROB_RATES
from kerasptb.optimizers import decay_of, rate_of, with_optimizer
from kerasptb.presets import PRESETS, get_preset


def training_settings(preset, given, training_arguments):
    """Returns what a run records of its training, a dict.

    Args:
        preset: name of the recipe.
        given: dict of settings that any training has, such as "learning_rate" or "early_stopping".
        training_arguments: dict of settings of the recipe.

    Raises:
        ValueError: if the recipe has no such setting, or one is out of range.
    """
    recipe = get_preset(preset)
    own = recipe.training_arguments()
    if unknown := set(training_arguments) - {"preset", *own}:
        raise ValueError(f"Expected training arguments among {sorted({'preset', *own})}. Received: {sorted(unknown)}")
    given = {**given, **training_arguments}
    settings = {"preset": preset, "epochs": recipe.epochs, **own, **given}
    if settings["preset"] != preset:
        settings["recipe"] = preset
    if name := given.get("optimizer"):
        settings["learning_rate"] = given.get("learning_rate", rate_of(name))
        if "weight_decay" in own:
            settings["weight_decay"] = given.get("weight_decay", decay_of(name))
    for name in ("learning_rate", "global_clipnorm", "weight_decay"):
        value = settings.get(name)
        if value is not None and not (0 < value < math.inf or (value == 0 and name == "weight_decay")):
            raise ValueError(f"Expected a {name} above 0, and finite. Received: {name}={value}")
    return settings


def recipe_of(settings):
    """Returns the `Preset` of a run's settings; the notebook's for runs of searches, as they have been."""
    name = settings.get("recipe", settings["preset"])
    return get_preset(name if name in PRESETS else "notebook")


def make_trainer(settings, steps_per_epoch):
    """Returns the optimizer and the callbacks of a training.

    Args:
        settings: what the run records of its training.
        steps_per_epoch: number of batches of an epoch.
    """
    recipe = recipe_of(settings)
    own = {name: settings[name] for name in recipe.training_arguments() if name in settings}
    optimizer, callbacks = recipe.training(steps_per_epoch, settings["epochs"], **own)
    if settings.get("optimizer"):
        optimizer = with_optimizer(optimizer, settings["optimizer"], settings.get("weight_decay"))
    if settings.get("early_stopping"):
        callbacks = [*callbacks, EarlyStopping(settings["early_stopping"])]
    return optimizer, callbacks


def make_batches(corpus, model_arguments, settings, epoch=0):
    """Returns the batches of training, from this epoch on, and those of validation.

    Args:
        corpus: a `Corpus`.
        model_arguments: the model's, of which the sizes of batches and the seed are read.
        settings: what the run records of its training.
        epoch: number of epochs that are done.

    Raises:
        DataError: if a text is too short for a batch; the message names it.
    """
    batches, arguments = {}, recipe_of(settings).batch_arguments()
    size = model_arguments["batch_size"], model_arguments["num_steps"]
    if arguments.get("jitter"):
        arguments |= {"seed": model_arguments["seed"], "epoch": epoch}
    for name, text, further in (("training", corpus.train, arguments), ("validation", corpus.valid, {})):
        try:
            batches[name] = make_dataset(text, *size, **further)
        except DataError as error:
            raise DataError(str(error).replace("The text", f"The {name} text", 1)) from None
    if settings["steps_per_epoch"]:
        batches["training"] = batches["training"].take(settings["steps_per_epoch"])
    return list(batches.values())


def inherited(source, given):
    """Returns the arguments of a model that is to take a run's weights: its sizes and its regularisation.

    Args:
        source: the `Run`.
        given: dict of arguments that are named for the new model.
    """
    own = ["vocabulary_size", "seed", "backend", "precision", "dtype", "name"]
    if "keep_prob" in given:
        own += KEEP_PROB_RATES
    return {name: value for name, value in source.config["model"].items() if name not in own}
