"""What a run's settings stand for: its batches, and its model compiled with optimizer, callbacks and teacher."""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import keras

from kerasptb.callbacks import AveragedWeights, EarlyStopping
from kerasptb.data import Corpus
from kerasptb.models import LanguageModel
from kerasptb.ops import platform as platforms
from kerasptb.optimizers.by_name import with_optimizer
from kerasptb.pipeline import make_dataset
from kerasptb.presets import Recipe
from kerasptb.runs.settings import RunSettings
from kerasptb.training.teacher import load_teacher

Callbacks: TypeAlias = Sequence[keras.callbacks.Callback]

# Batches that one call of Keras' step function trains on. The time between two calls, some 3 ms where a step takes 13,
# is then paid once for so many batches. On a GPU it would be most of a step, so more batches share it. The results are
# the same to the bit.
_STEPS_PER_EXECUTION = 16
_STEPS_PER_EXECUTION_ON_GPU = 32
# Between two calls a training can be interrupted: within some seconds on a slow processor.
_FLOP_PER_EXECUTION = 5e11


def compile_model(
    model: LanguageModel,
    settings: RunSettings,
    recipe: Recipe,
    steps_per_epoch: int,
    callbacks: Callbacks = (),
    done: int = 0,
) -> list[keras.callbacks.Callback]:
    """Compiles the model of a run, with the teacher that it has, and returns the callbacks of its recipe."""
    teacher = load_teacher(settings.training, model)
    if teacher is not None and (weight := settings.training.teacher_weight) is not None:  # a teacher has one
        model.distill(teacher, weight)
    optimizer, of_recipe = _make_trainer(settings, recipe, steps_per_epoch)
    # One that is resumed after some batches of an epoch begins a call of the step function where these end.
    steps_per_execution = math.gcd(_steps_per_execution(model, teacher, callbacks), done)
    model.compile(optimizer, steps_per_execution=steps_per_execution)
    if settings.batches.jitter:
        # The batches are of few lengths: what is faster for batches of one length is faster for these.
        model.compile(optimizer, steps_per_execution=steps_per_execution, jit_compile=model.jit_compile)
    return of_recipe


def freeze(model: LanguageModel, names: Iterable[str] | None) -> None:
    """Lets the weights of layers stay as they are; raises a ValueError for a layer that has none."""
    for name in names or ():
        if name not in (known := [layer.name for layer in model.layers if layer.weights]):
            raise ValueError(f"Expected layers to freeze among {known}. Received: {name!r}")
        model.get_layer(name).trainable = False


def make_batches(corpus: Corpus, settings: RunSettings, epoch: int = 0) -> tuple[Any, Any]:
    """Returns the batches of training, from an epoch on, and those of validation."""
    model, batches = settings.model, settings.batches
    size = model.batch_size, model.num_steps
    training = make_dataset(
        corpus.train, *size, jitter=batches.jitter, seed=model.seed or 0, parts=batches.parts, epoch=epoch
    )
    if batches.steps_per_epoch is not None:
        training = training.take(batches.steps_per_epoch)
    return training, make_dataset(corpus.valid, *size)


def _make_trainer(
    settings: RunSettings, recipe: Recipe, steps_per_epoch: int
) -> tuple[keras.optimizers.Optimizer, list[keras.callbacks.Callback]]:
    """Returns the optimizer and the callbacks of a training."""
    training = settings.training
    # With an optimizer by name there may be a weight decay that the recipe's own has not.
    of_recipe = {name: settings.recipe[name] for name in recipe.settings if name in settings.recipe}
    optimizer, callbacks = recipe.training(steps_per_epoch, training.epochs, **of_recipe)
    if training.optimizer is not None:
        optimizer = with_optimizer(optimizer, training.optimizer, settings.recipe.get("weight_decay"))
        if not optimizer.use_ema:
            callbacks = [each for each in callbacks if not isinstance(each, AveragedWeights)]
    if training.early_stopping is not None:
        callbacks = [*callbacks, EarlyStopping(patience=training.early_stopping)]
    return optimizer, callbacks


def _steps_per_execution(model: LanguageModel, teacher: LanguageModel | None, callbacks: Callbacks) -> int:
    hooks = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
    for callback, hook in itertools.product(callbacks, hooks):
        # A LambdaCallback has its hooks as attributes of the instance.
        if getattr(getattr(callback, hook), "__func__", None) is not getattr(keras.callbacks.Callback, hook):
            return 1
    if keras.backend.backend() == "torch":
        return 1  # all that Keras takes there
    if platforms.visible_gpus():
        return _STEPS_PER_EXECUTION_ON_GPU
    flop_of_word = 6 * model.count_params() + (0 if teacher is None else 2 * teacher.count_params())
    flop_of_step = flop_of_word * model.batch_size * model.num_steps
    return max(min(_STEPS_PER_EXECUTION, int(_FLOP_PER_EXECUTION / flop_of_step)), 1)
