"""How many epochs a training of some minutes has, by the time of a few of its steps."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import keras

from kerasptb.data import Corpus
from kerasptb.data.streams import count_batches
from kerasptb.models import LanguageModel
from kerasptb.presets import Facts, Recipe
from kerasptb.runs.counted_text import LEARNED_ON
from kerasptb.runs.settings import RunSettings
from kerasptb.training.draft import Draft
from kerasptb.training.fitting import Callbacks, compile_model, freeze, make_batches
from kerasptb.utils.status_line import at_work

# Calls of the step function that are not timed, seconds that are, and the most calls.
_UNTIMED, _SECONDS, _MOST_CALLS = 2, 4.0, 40
# An epoch, after which words can be suggested, is at most so long, and at most that share of the training: so many are
# rounded to a whole number with little loss. But a validation is at most that share of an epoch.
_EPOCH_SECONDS, _EPOCHS, _VALIDATION_SHARE = 50.0, 12, 0.1
# After the last epoch: the model is loaded, and the test text is read twice, once in one row.
_END_SECONDS, _READS_OF_TEST = 8.0, 4
# Counting the training text takes a second for so many tokens. Then validation and test text are read in one row, for
# which the network takes so many times as long as in streams, and the counts so many seconds a token.
_COUNTED_A_SECOND, _ROW, _COUNTS_OF_TOKEN = 2e6, 3, 3e-5


@dataclasses.dataclass(frozen=True)
class Speed:
    """What parts of a training take, in seconds."""

    step: float
    validation: float  # reading the validation text
    begin: float  # until the first step is done


class _Stopwatch(keras.callbacks.Callback):
    """Times calls of the step function, and ends the training."""

    def __init__(self) -> None:
        super().__init__()
        self._begin, self._first, self._calls = time.perf_counter(), (0.0, 0), 0
        self.begin = self.step = 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        for value in (logs or {}).values():
            float(value)  # a backend may still be at work on it
        now, steps = time.perf_counter(), int(self.model.optimizer.iterations)
        self._calls += 1
        if self._calls <= _UNTIMED:
            self.begin, self._first = self.begin or now - self._begin, (now, steps)
            return
        seconds = now - self._first[0]
        self.step = seconds / (steps - self._first[1])
        self.model.stop_training = seconds >= _SECONDS or self._calls >= _MOST_CALLS


def fit_training(
    draft: Draft, left: Callable[[], float] | None = None, callbacks: Callbacks = ()
) -> tuple[RunSettings, Recipe]:
    """Returns the settings of a new training and its recipe, with what goes by how often its text is read.

    Minutes are filled by the seconds that `left` gives whenever it is asked; a recipe that goes by epochs refuses them.
    """
    facts, reasons = draft.facts, dict[str, str]()
    settings, _ = draft.with_recipe(facts)
    if left is not None:
        settings, facts, reasons = _fit_minutes(draft, left, callbacks)
    passes = settings.training.epochs / settings.batches.parts
    fitted, recipe = draft.with_recipe(dataclasses.replace(facts, passes=passes))
    return dataclasses.replace(settings, model=fitted.model, reasons={**fitted.reasons, **reasons}), recipe


def _fit_minutes(
    draft: Draft, left: Callable[[], float], callbacks: Callbacks
) -> tuple[RunSettings, Facts, dict[str, str]]:
    """Returns the settings that fill the minutes, the facts with what was timed, and the reasons of the epochs."""
    corpus, facts = draft.corpus, draft.facts
    settings, recipe = draft.with_recipe(facts)
    model = settings.model
    if recipe.training(steps_per_epoch=1)[1]:
        raise ValueError(
            "Expected minutes with a recipe whose learning rate is laid out over all steps, such as auto or small. "
            f"Received: minutes={settings.training.minutes:g} with preset={settings.training.preset!r}, which counts "
            "epochs"
        )
    # Epochs that are cut short read a part of the text.
    most = recipe.most_passes if settings.batches.steps_per_epoch is None else math.inf
    speed = time_training(corpus, settings, recipe, callbacks)
    steps = count_batches(len(corpus.train), model.batch_size, model.num_steps)
    room = min(left() / (steps * speed.step), most)
    facts = dataclasses.replace(facts, room=room)
    settings, recipe = draft.with_recipe(facts)
    if settings.model != model:
        speed = time_training(corpus, settings, recipe, callbacks)
    settings = fill_minutes(settings, corpus, speed, left(), most)
    return settings, facts, why_so_long(settings, speed, most)


def time_training(corpus: Corpus, settings: RunSettings, recipe: Recipe, callbacks: Callbacks = ()) -> Speed:
    """Returns the `Speed` of a training, after some seconds of it with a model that is thrown away."""
    stopwatch = _Stopwatch()
    model = LanguageModel(**settings.model.as_dict())
    freeze(model, settings.training.freeze)
    batches, valid = make_batches(corpus, settings)
    compile_model(model, settings, recipe, len(batches), callbacks)
    with at_work("Timing some steps"):
        model.fit(batches, epochs=_MOST_CALLS, callbacks=[stopwatch], verbose=0)
    calls = valid.take(2 * model.steps_per_execution)
    model.evaluate(calls, verbose=0)
    begin = time.perf_counter()
    model.evaluate(calls, verbose=0)
    validation = (time.perf_counter() - begin) * len(valid) / len(calls)
    return Speed(stopwatch.step, validation, stopwatch.begin)


def fill_minutes(
    settings: RunSettings, corpus: Corpus, speed: Speed, seconds: float, most: float = math.inf
) -> RunSettings:
    """Returns the settings with the epochs, and parts of the text, that fill some seconds, or are the most passes."""
    batches, model = settings.batches, settings.model
    steps = count_batches(len(corpus.train), model.batch_size, model.num_steps)
    test_share = len(corpus.test) / len(corpus.valid)
    validation = speed.validation
    left = seconds - speed.begin - _END_SECONDS - _READS_OF_TEST * test_share * validation
    if settings.training.counts != "none":
        left -= _counting_seconds(corpus, validation)
    if batches.steps_per_epoch is not None or batches.jitter or batches.parts > 1:
        steps = min(batches.steps_per_epoch or steps, steps // batches.parts)
    else:
        whole = min(left, most * steps * speed.step)
        longest = max(min(_EPOCH_SECONDS, whole / _EPOCHS), validation / _VALIDATION_SHARE)
        longest = min(longest, max(left - validation, validation, speed.step))  # one, in what a long text leaves
        parts = max(min(round(steps * speed.step / longest), steps), 1)
        steps, batches = steps // parts, dataclasses.replace(batches, parts=parts)
    epochs = max(round(min(left / (steps * speed.step + validation), most * batches.parts)), 1)
    return dataclasses.replace(
        settings, batches=batches, training=dataclasses.replace(settings.training, epochs=epochs)
    )


def _counting_seconds(corpus: Corpus, validation: float) -> float:
    """Returns how long the training text takes to count, and what the counts are worth to measure."""
    read = min(len(corpus.valid), LEARNED_ON) + len(corpus.test)
    of_token = _ROW * validation / len(corpus.valid) + _COUNTS_OF_TOKEN
    return len(corpus.train) / _COUNTED_A_SECOND + of_token * read


def why_so_long(settings: RunSettings, speed: Speed, most: float = math.inf) -> dict[str, str]:
    """Returns why a training has its epochs and parts of the text, a dict."""
    minutes = f"the minutes, at {1e3 * speed.step:.1f} ms a step"
    is_short = settings.training.epochs > most * settings.batches.parts - 0.5
    so_often = f"the text is read {most:g} times at most, which takes less than {minutes}"
    return dict.fromkeys(("epochs", "parts"), so_often if is_short else f"so many fit into {minutes}")


def describe_length(minutes: float | None, epochs: int, parts: int) -> str:
    """Returns how long a training is, for people to read."""
    about = "" if minutes is None else f"about {minutes:g} minute{'s' * (minutes != 1)}: "
    part = "the text" if parts == 1 else f"1/{parts} of the text{' each' * (epochs != 1)}"
    return f"{about}{epochs} epoch{'s' * (epochs != 1)} of {part}"
