import dataclasses

import pytest

from kerasptb.arguments import BatchArguments, ModelArguments, TrainingArguments
from kerasptb.runs.budget import Speed, describe_choice, fill_minutes
from kerasptb.runs.settings import RunSettings


class Texts:
    """A corpus of so many words, of which the test text has half as many as the validation text."""

    def __init__(self, words):
        self.train, self.valid, self.test = range(words), range(2000), range(1000)


def settings_of(**batches):
    model = ModelArguments(vocabulary_size=50, embedding_size=8, units=(8,), batch_size=10, num_steps=20)
    training = TrainingArguments(preset="small", epochs=60)
    return RunSettings(model, BatchArguments(**batches), training, {}, None, {})


@pytest.mark.parametrize(
    ("words", "seconds", "step", "parts", "epochs"),
    [
        (20_011, 110, 0.05, 1, 18),  # 100 steps of 0.05 s and a validation of 0.5 s: 18 of 5.5 s in 99
        (2_000_011, 1811, 0.01, 2, 36),  # 10,000 steps of 0.01 s in two parts of 50 s: 36 of 50.5 s in 1,800
        (2_000_011, 611, 0.1, 20, 12),  # parts of 50 s, 12 of them
        (2_000_011, 71, 0.1, 200, 11),  # parts of 5 s, a twelfth of the minute, and a validation
        (2_000_011, 5, 0.1, 200, 1),  # no time at all: ten times as long as a validation
    ],
)
def test_epochs_fill_the_time(words, seconds, step, parts, epochs):
    filled = fill_minutes(settings_of(), Texts(words), Speed(step, 0.5, 2.0), seconds)
    assert (filled.batches.parts, filled.training.epochs) == (parts, epochs)
    steps = (words // 10 - 1) // 20 // parts
    if seconds > 60:
        assert epochs * (steps * step + 0.5) + 2 + 8 + 4 * 0.25 == pytest.approx(seconds, rel=0.1)


def test_long_validations_come_seldom():
    filled = fill_minutes(settings_of(), Texts(2_000_011), Speed(0.1, 10.0, 2.0), 3600)
    assert filled.batches.parts == 10  # of 100 s, ten times as long as a validation


@pytest.mark.parametrize(("seconds", "parts", "epochs"), [(1800, 2, 12), (60, 2, 12), (30, 2, 8)])
def test_a_short_text_is_not_read_more_often_than_it_helps(seconds, parts, epochs):
    # 100 steps of 0.05 s: six readings in 30 s, in at least 12 epochs, which are ten validations of 0.25 s long.
    settings = dataclasses.replace(settings_of(), training=TrainingArguments(preset="auto", epochs=60, minutes=30.0))
    filled = fill_minutes(settings, Texts(20_011), Speed(0.05, 0.25, 0.0), seconds, most=6)
    assert (filled.batches.parts, filled.training.epochs) == (parts, epochs)


def test_a_choice_says_why():
    settings = dataclasses.replace(settings_of(), training=TrainingArguments(preset="auto", epochs=6, minutes=30.0))
    assert describe_choice(settings, Speed(0.05, 0.25, 0.0), 6) == (
        "Minutes: 30, for 6 epochs of the text, since a step takes 50.0 ms and it is read 6 times at most"
    )
    assert describe_choice(settings, Speed(0.05, 0.25, 0.0), 7) == (
        "Minutes: 30, for 6 epochs of the text, since a step takes 50.0 ms"
    )


def test_named_steps_stay():
    filled = fill_minutes(settings_of(steps_per_epoch=100), Texts(2_000_011), Speed(0.1, 0.0, 0.0), 108)
    assert (filled.batches.steps_per_epoch, filled.batches.parts, filled.training.epochs) == (100, 1, 10)
    filled = fill_minutes(settings_of(jitter=True), Texts(20_011), Speed(0.1, 0.0, 0.0), 108)
    assert (filled.batches.parts, filled.training.epochs) == (1, 10)
