import dataclasses
from types import SimpleNamespace

import pytest

from kerasptb.arguments import BatchArguments, ModelArguments, TrainingArguments
from kerasptb.presets import Facts, get_preset
from kerasptb.runs.settings import RunSettings
from kerasptb.runs.text import TextRecord
from kerasptb.training.budget import Speed, fill_minutes, fit_training, why_so_long


class Texts:
    """A corpus of so many words, of which the test text has half as many as the validation text."""

    def __init__(self, words):
        self.train, self.valid, self.test = range(words), range(2000), range(1000)


TEXT = TextRecord("text", "made up", "0", vocabulary_size=50, vocabulary_digest="0")


def settings_of(**batches):
    model = ModelArguments(vocabulary_size=50, embedding_size=8, units=(8,), batch_size=10, num_steps=20)
    training = TrainingArguments(preset="small", epochs=60, counts="none")
    return RunSettings(model, BatchArguments(**batches), training, {}, TEXT, {})


@pytest.mark.parametrize(
    ("words", "seconds", "step", "parts", "epochs"),
    [
        (20_011, 110, 0.05, 1, 18),  # 100 steps of 0.05 s and a validation of 0.5 s: 18 of 5.5 s in 99
        (2_000_011, 1811, 0.01, 2, 36),  # 10,000 steps of 0.01 s in two parts of 50 s: 36 of 50.5 s in 1,800
        (2_000_011, 611, 0.1, 20, 12),  # parts of 50 s, 12 of them
        (2_000_011, 71, 0.1, 200, 11),  # parts of 5 s, a twelfth of the minute, and a validation
        (2_000_011, 14, 0.1, 400, 1),  # one epoch of 2.5 s and its validation
        (2_000_011, 5, 0.1, 2000, 1),  # no time at all: as long as a validation
    ],
)
def test_epochs_fill_the_time(words, seconds, step, parts, epochs):
    filled = fill_minutes(settings_of(), Texts(words), Speed(step, 0.5, 2.0), seconds)
    assert (filled.batches.parts, filled.training.epochs) == (parts, epochs)
    steps = (words // 10 - 1) // 20 // parts
    if seconds > 60:
        assert epochs * (steps * step + 0.5) + 2 + 8 + 4 * 0.25 == pytest.approx(seconds, rel=0.1)


def test_counts_take_of_the_time():
    # 0.01 s for 20,011 words, and 3 x 0.25 ms and 0.03 ms for each of 3,000: 2.4 s of the 93 s for epochs of 5.5 s.
    alone = settings_of()
    counted = dataclasses.replace(alone, training=dataclasses.replace(alone.training, counts="auto"))
    epochs = [fill_minutes(s, Texts(20_011), Speed(0.05, 0.5, 2.0), 104).training.epochs for s in (alone, counted)]
    assert epochs == [17, 16]


def test_long_validations_come_seldom():
    filled = fill_minutes(settings_of(), Texts(2_000_011), Speed(0.1, 10.0, 2.0), 3600)
    assert filled.batches.parts == 10  # of 100 s, ten times as long as a validation


@pytest.mark.parametrize(("seconds", "parts", "epochs"), [(1800, 2, 12), (60, 2, 12), (30, 2, 8)])
def test_a_short_text_is_not_read_more_often_than_it_helps(seconds, parts, epochs):
    # 100 steps of 0.05 s: six readings in 30 s, in at least 12 epochs, which are ten validations of 0.25 s long.
    settings = dataclasses.replace(settings_of(), training=TrainingArguments(preset="auto", epochs=60, minutes=30.0))
    settings = dataclasses.replace(settings, training=dataclasses.replace(settings.training, counts="none"))
    filled = fill_minutes(settings, Texts(20_011), Speed(0.05, 0.25, 0.0), seconds, most=6)
    assert (filled.batches.parts, filled.training.epochs) == (parts, epochs)


def test_a_choice_says_why():
    training = TrainingArguments(preset="auto", epochs=6, minutes=30.0)
    model = dataclasses.replace(settings_of().model, input_dropout=0.1, output_dropout=0.1)
    settings = dataclasses.replace(settings_of(), training=training, model=model)
    speed = Speed(0.05, 0.25, 0.0)
    assert why_so_long(settings, speed, 6)["epochs"] == (
        "the text is read 6 times at most, which takes less than the minutes, at 50.0 ms a step"
    )
    reasons = dict.fromkeys(("input_dropout", "output_dropout"), "it is read 6 times") | why_so_long(settings, speed, 7)
    assert dataclasses.replace(settings, reasons=reasons).choices == [
        "input_dropout 0.1, output_dropout 0.1, since it is read 6 times",
        "epochs 6, parts 1, since so many fit into the minutes, at 50.0 ms a step",
    ]


@pytest.mark.parametrize(
    ("words", "minutes", "named", "training", "units", "passes"),
    [
        (3_000_000, 20, {}, {}, (400, 400), 3.7),  # 24,000 steps of 0.05 s and 1,120 tokens: 27 million
        (3_000_000, 30, {}, {}, (512, 512), 3.5),  # 40 million
        (3_000_000, 10, {}, {}, (256, 256), 4.4),  # 13 million
        (200_000, 30, {}, {}, (256, 256), 40),  # 8 million
        (500_000, 30, {}, {}, (256, 256), 80),  # 40 million, but in more than 28 readings
        (3_000_000, 30, {"units": (256, 256)}, {}, (256, 256), 13.3),
        (3_000_000, 30, {"units": (256, 256)}, {"started": True}, (256, 256), 12),
        (3_000_000, 30, {}, {"taught": True}, (256, 256), 13.3),
    ],
)
def test_layers_go_by_the_tokens_that_are_read(monkeypatch, words, minutes, named, training, units, passes):
    timed = []

    def time_training(corpus, settings, recipe, callbacks):
        timed.append(settings.model.units)
        return Speed({256: 0.05, 400: 0.12, 512: 0.19}[settings.model.units[0]], 0.1, 2.0)

    def with_recipe(facts):
        recipe = get_preset("auto", facts)
        settings = RunSettings(
            ModelArguments(**{**recipe.model_arguments(50), **named}),
            BatchArguments(),
            TrainingArguments(preset="auto", epochs=60, minutes=minutes),
            recipe.settings,
            TEXT,
            {},
            recipe.reasons,
        )
        return settings, recipe

    monkeypatch.setattr("kerasptb.training.budget.time_training", time_training)
    facts = Facts(words, given=named, **training)
    draft = SimpleNamespace(corpus=Texts(words), facts=facts, with_recipe=with_recipe)
    settings, _ = fit_training(draft, lambda: 60 * minutes)
    model = settings.model
    assert (model.units, model.embedding_size, timed[-1]) == (units, units[0], units)
    assert settings.training.epochs / settings.batches.parts == pytest.approx(passes, abs=0.1)
    assert ("units" in settings.reasons) == (units != (256, 256))
    fitted = get_preset("auto", Facts(passes=passes, **training)).fitted
    assert model.output_dropout == pytest.approx(fitted["output_dropout"], abs=2e-3)


def test_named_steps_stay():
    filled = fill_minutes(settings_of(steps_per_epoch=100), Texts(2_000_011), Speed(0.1, 0.0, 0.0), 108)
    assert (filled.batches.steps_per_epoch, filled.batches.parts, filled.training.epochs) == (100, 1, 10)
    filled = fill_minutes(settings_of(jitter=True), Texts(20_011), Speed(0.1, 0.0, 0.0), 108)
    assert (filled.batches.parts, filled.training.epochs) == (1, 10)
