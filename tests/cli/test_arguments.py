import importlib
import inspect

import pytest

from kerasptb.cli import main


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["train", "--epochs", "abc"], "--epochs: expected a whole number of at least 1, received abc"),
        (["train", "--seed", "-5"], "--seed: expected a whole number of at least 0, received -5"),
        (["generate", "run", "--seed", "1.5"], "--seed: expected a whole number of at least 0, received 1.5"),
        (["serve", "run", "--port", "70000"], "--port: expected a port from 0 to 65535, received 70000"),
        (["serve", "run", "--rate", "nan"], "--rate: expected a number of at least 0, received nan"),
        (["train", "--out", ""], "--out: expected a text, received ''"),
        (["train", "--optimizer", ""], "--optimizer: expected a text, received ''"),
        (["tune", "--out", ""], "--out: expected a text, received ''"),
        (["tune", "--preset", ""], "--preset: expected one of auto, "),
    ],
)
def test_a_value_that_an_option_does_not_take_is_named(capsys, arguments, text):
    assert main(arguments) == 2
    assert text in capsys.readouterr().err


TRAIN = {"data": "sample", "preset": "tuned", "epochs": 2, "steps_per_epoch": 3, "batch_size": 4, "num_steps": 5}
TUNE = {"data": "sample", "tuner": "random", "trials": 2, "epochs": 3, "max_parameters": 4, "workers": 5}
TUNE |= {"max_hours": 0.5, "steps_per_epoch": 6, "max_failures": 7}
BOTH = {"backend": "native", "precision": "bfloat16", "seed": 8, "vocabulary_size": 9, "out": "folder"}


SERVE_LISTS = {
    "--allow-host=a.example": ("allowed_hosts", ["a.example"]),
    "--allow-origin=https://a.example": ("allowed_origins", ["https://a.example"]),
    "--proxy=::1": ("proxies", ["::1"]),
}


@pytest.mark.parametrize(
    ("command", "place", "options", "flags"),
    [
        ("train", "kerasptb.training.train", TRAIN | BOTH, {"--resume": ("resume", True)}),
        (
            "tune",
            "kerasptb.tuning.tune",
            TUNE | BOTH,
            {"--resume": ("resume", True), "--no-early-stopping": ("early_stopping", False)},
        ),
        ("serve run", "kerasptb.serving.serve", {"host": "::1", "port": 81, "rate": 0.5}, SERVE_LISTS),
        ("build", "kerasptb.native.build.build", {}, {"--force": ("force", True), "--verbose": ("verbose", True)}),
    ],
)
def test_every_option_reaches_what_does_the_work(monkeypatch, command, place, options, flags):
    module, _, name = place.rpartition(".")
    signature, asked = inspect.signature(getattr(importlib.import_module(module), name)), {}

    def work(*args, **kwargs):
        asked.update(signature.bind(*args, **kwargs).arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(place, work)
    words = [word for option, value in options.items() for word in (f"--{option.replace('_', '-')}", str(value))]
    assert main([*command.split(), *words, *flags]) == 130
    expected = options | dict(flags.values())
    assert {name: asked.get(name) for name in expected} == expected
