"""How many epochs a training of some minutes has, by the time of a few of its steps."""

import dataclasses
import time

import keras

from kerasptb.data.batching import count_batches
from kerasptb.models import LanguageModel
from kerasptb.runs.fitting import compile_model
from kerasptb.runs.recipe import make_batches

# Calls of the step function that are not timed, seconds that are, and the most calls.
_UNTIMED, _SECONDS, _MOST_CALLS = 2, 4.0, 40
# An epoch, after which words can be suggested, is at most so long, and at most that share of the training: so many are
# rounded to a whole number with little loss. But a validation is at most that share of an epoch.
_EPOCH_SECONDS, _EPOCHS, _VALIDATION_SHARE = 50.0, 12, 0.1
# After the last epoch: the model is loaded, and the test text is read twice, once in one row.
_END_SECONDS, _READS_OF_TEST = 8.0, 4


@dataclasses.dataclass(frozen=True)
class Speed:
    """What parts of a training take, in seconds.

    Attributes:
        step: a step.
        validation: reading the validation text.
        begin: until the first step is done.
    """

    step: float
    validation: float
    begin: float


class _Stopwatch(keras.callbacks.Callback):
    """Times calls of the step function, and ends the training."""

    def __init__(self):
        super().__init__()
        self._begin, self._calls, self._steps = time.perf_counter(), 0, 0
        self.begin = self.step = 0.0

    def on_train_batch_end(self, batch, logs=None):
        for value in (logs or {}).values():
            float(value)  # a backend may still be at work on it
        now = time.perf_counter()
        self._calls += 1
        if self._calls <= _UNTIMED:
            self.begin = self.begin or now - self._begin
            self._first = now
            return
        self._steps += self.model.steps_per_execution
        self.step = (now - self._first) / self._steps
        self.model.stop_training = now - self._first >= _SECONDS or self._calls >= _MOST_CALLS


def time_training(corpus, settings):
    """Returns the `Speed` of a training, after some seconds of it with a model that is thrown away.

    Args:
        corpus: a `Corpus`.
        settings: the `RunSettings`. Their number of epochs plays no part.
    """
    stopwatch = _Stopwatch()
    model = LanguageModel(**settings.model.as_dict())
    batches, valid = make_batches(corpus, settings)
    compile_model(model, settings, len(batches))
    model.fit(batches, epochs=_MOST_CALLS, callbacks=[stopwatch], verbose=0)
    calls = valid.take(2 * model.steps_per_execution)
    model.evaluate(calls, verbose=0)
    begin = time.perf_counter()
    model.evaluate(calls, verbose=0)
    validation = (time.perf_counter() - begin) * len(valid) / len(calls)
    return Speed(stopwatch.step, validation, stopwatch.begin)


def fill_minutes(settings, corpus, speed, seconds):
    """Returns the settings with the epochs, and parts of the text, that take some seconds with what follows them.

    Args:
        settings: the `RunSettings`.
        corpus: the `Corpus`.
        speed: the `Speed`.
        seconds: that are left.
    """
    batches, model = settings.batches, settings.model
    steps = count_batches(len(corpus.train), model.batch_size, model.num_steps)
    test_share = len(corpus.test) / len(corpus.valid)
    left = seconds - speed.begin - _END_SECONDS - _READS_OF_TEST * test_share * speed.validation
    if batches.steps_per_epoch is not None or batches.jitter:
        steps = min(batches.steps_per_epoch or steps, steps)
    else:
        longest = max(min(_EPOCH_SECONDS, left / _EPOCHS), speed.validation / _VALIDATION_SHARE)
        parts = max(min(round(steps * speed.step / longest), steps), 1)
        steps, batches = steps // parts, dataclasses.replace(batches, parts=parts)
    epochs = max(round(left / (steps * speed.step + speed.validation)), 1)
    return dataclasses.replace(
        settings, batches=batches, training=dataclasses.replace(settings.training, epochs=epochs)
    )


def describe_choice(settings, speed):
    """Returns a line on what was chosen by `fill_minutes`, and why."""
    training, parts = settings.training, settings.batches.parts
    text = "the text" if parts == 1 else f"a part of the text, of {parts}"
    step = f"a step takes {1e3 * speed.step:.1f} ms"
    return f"Minutes: {training.minutes:g}, for {training.epochs} epochs of {text} each, since {step}"
