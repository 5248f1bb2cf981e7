"""What a run's settings stand for: its recipe, optimizer, callbacks and batches."""

import keras

from kerasptb.arguments import BatchArguments, TrainingArguments, with_changes
from kerasptb.callbacks import EarlyStopping
from kerasptb.data import Corpus, DataError, make_dataset
from kerasptb.data.batching import count_batches
from kerasptb.ops.plan import default_precision
from kerasptb.ops.platform import why_not_native
from kerasptb.optimizers import decay_of, rate_of, with_optimizer
from kerasptb.presets import Facts, get_preset

# What a model that takes a run's weights does not take of it: they are the text's, the machine's, or drawn.
_NOT_INHERITED = ("vocabulary_size", "seed", "backend", "precision", "dtype", "name")


def with_tokens(preset, data, reading):
    """Returns the arguments of `load_corpus` with what a recipe cuts a text into, where nothing says it, a dict.

    Args:
        preset: name of the recipe, or `None`.
        data: the text, as `load_corpus` takes it.
        reading: dict of the arguments that are named.
    """
    tokens = None if preset is None else get_preset(preset).tokens
    said = isinstance(data, Corpus) or {"tokens", "vocabulary", "vocabulary_size"} & set(reading)
    return reading if tokens is None or said else {**reading, "tokens": tokens}


def facts_of(asked, num_tokens, source=None):
    """Returns the `Facts` of a new training before anything is timed.

    Args:
        asked: the result of `asked_settings`.
        num_tokens: of the training text.
        source: the `Run` whose weights the model begins with, or `None`.
    """
    model = asked["model"]
    return Facts(
        num_tokens=num_tokens,
        given={**inherited(source), **model},
        started=source is not None,
        taught="teacher" in asked["training"],
        bfloat16=has_bfloat16(model.get("backend", "auto"), model.get("dtype")),
    )


def inherited(source):
    """Returns what a model takes of the settings of the run that it begins with, a dict."""
    arguments = {} if source is None else source.settings.model.as_dict()
    return {name: value for name, value in arguments.items() if name not in _NOT_INHERITED}


def has_bfloat16(backend="auto", dtype=None):
    """Returns whether a model has native kernels for bfloat16 here, of a backend and a dtype policy."""
    is_plain = keras.dtype_policies.get(dtype).name == "float32"
    return backend in ("auto", "native") and is_plain and why_not_native("bfloat16") is None


def precision_of(recipe, backend="auto", dtype=None):
    """Returns the precision of a new training that names none, of a backend and a dtype policy."""
    return recipe.precision or default_precision(backend, keras.dtype_policies.get(dtype))


def settings_of_recipe(preset, facts, asked, source=None, workers=1):
    """Returns the settings of a new training: the recipe's, with what is asked for in their place.

    Args:
        preset: name of the recipe.
        facts: the `Facts` that it goes by.
        asked: the result of `asked_settings`.
        source: the `Run` whose weights the model begins with, and whose sizes and regularisation it has; or `None`.
        workers: number of processes that train together.

    Returns:
        Dict of the model's arguments, `BatchArguments`, `TrainingArguments`, and the dict of the recipe's settings.

    Raises:
        ValueError: if the recipe does not have such a setting.
    """
    recipe = get_preset(preset, facts)
    model = with_changes({**with_changes(recipe.model, inherited(source)), **recipe.fitted}, asked["model"])
    # A run records its precision, so that it does not depend on the dtype policy of a later process.
    model = {"precision": precision_of(recipe, model.get("backend", "auto"), model.get("dtype")), **model}
    batches = BatchArguments(**{**recipe.batches, **asked["batches"]})
    named = asked["training"]
    # Several processes are not timed.
    minutes = {"minutes": recipe.minutes} if "epochs" not in named and workers == 1 else {}
    training = TrainingArguments(**{"epochs": recipe.epochs, **minutes, **named, "preset": preset})
    of_recipe = recipe.training_arguments()
    if unknown := sorted(set(asked["recipe"]) - set(of_recipe)):
        raise ValueError(f"Expected training arguments among {sorted(of_recipe)}. Received: {unknown}")
    if training.optimizer is not None:
        of_recipe["learning_rate"] = rate_of(training.optimizer)
        if "weight_decay" in of_recipe:
            of_recipe["weight_decay"] = decay_of(training.optimizer)
    return model, batches, training, {**of_recipe, **asked["recipe"]}


def make_trainer(settings, steps_per_epoch):
    """Returns the optimizer and the callbacks of a training.

    Args:
        settings: the `RunSettings`.
        steps_per_epoch: number of batches of an epoch.
    """
    training = settings.training
    optimizer, callbacks = get_preset(training.preset).training(steps_per_epoch, training.epochs, **settings.recipe)
    if training.optimizer is not None:
        optimizer = with_optimizer(optimizer, training.optimizer, settings.recipe.get("weight_decay"))
    if training.early_stopping is not None:
        callbacks = [*callbacks, EarlyStopping(training.early_stopping)]
    return optimizer, callbacks


def check_texts(corpus, batch_size, num_steps):
    """Raises a `DataError` if a text is too short for a batch, or for an evaluation; the message names it."""
    for name, text in (("training", corpus.train), ("validation", corpus.valid)):
        try:
            count_batches(len(text), batch_size, num_steps)
        except DataError as error:
            raise DataError(str(error).replace("The text", f"The {name} text", 1)) from None
    if len(corpus.test) < 2:
        raise DataError(f"Expected a test text of at least two words. Received: {len(corpus.test)}")


def make_batches(corpus, settings, epoch=0):
    """Returns the batches of training, from this epoch on, and those of validation.

    Args:
        corpus: a `Corpus`.
        settings: the `RunSettings`.
        epoch: number of epochs that are done.
    """
    model, batches = settings.model, settings.batches
    size = model.batch_size, model.num_steps
    passes = {"jitter": batches.jitter, "parts": batches.parts, "seed": model.seed, "epoch": epoch}
    training = make_dataset(corpus.train, *size, **passes)
    if batches.steps_per_epoch is not None:
        training = training.take(batches.steps_per_epoch)
    return training, make_dataset(corpus.valid, *size)
