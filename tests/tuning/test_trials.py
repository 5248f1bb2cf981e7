import json
import math

import keras
import keras_tuner as kt
import numpy as np
import pytest
import tensorflow as tf
import toy_spaces
from tensorflow.python.framework.ops import gradient_registry
from toy_spaces import SMALL, toy

import kerasptb
import tuning
from kerasptb.ops.plan import default_precision
from kerasptb.optimizers import ClippedSGD
from tuning import stopping
from tuning.trials import describe_failure


def test_a_training_that_diverges_is_a_failed_trial(texts, tmp_path):
    sizes = SMALL | {"units": 32, "tie_embeddings": False}
    space = tuning.LanguageModelSpace(num_layers=1, **sizes, learning_rate=[1.0, 3e38])
    result = toy(texts, tmp_path, space, trials=3, epochs=1, seed=0)
    for trial in result.trials:
        diverges = trial.values["learning_rate"] > 1
        assert (trial.record.reason or "").startswith("diverged: ") == diverges
        assert (trial.score is None) == diverges
    assert {trial.status for trial in result.trials} == {"COMPLETED", "FAILED"}


def test_the_weights_of_a_trial_are_gone_with_it(texts, tmp_path):
    registered = gradient_registry._registry
    before = set(registered)
    space = tuning.LanguageModelSpace(num_layers=1, **SMALL | {"units": 32})
    toy(texts, tmp_path, space, trials=2, epochs=1, steps_per_epoch=2, max_parameters=15_000)
    # Each gradient that stays registered keeps its graph alive, and the graph keeps the weights.
    assert {name for name in set(registered) - before if name.startswith("CustomGradient-")} == set()


def test_models_over_the_limit_are_rejected_and_not_trained(texts, tmp_path):
    space = toy_spaces.WideSpace(tmp_path / "journal")
    result = toy(texts, tmp_path, space, trials=8, max_parameters=1000)
    assert {trial.status for trial in result.trials} == {"COMPLETED", "FAILED"}
    for trial in result.trials:
        if trial.values["x"] % 2:
            assert trial.record.reason == "rejected: 1,002 parameters, where 1,000 are allowed"
    assert all(x % 2 == 0 for x in space.trained())


@pytest.mark.parametrize(
    ("compilation", "received"),
    [
        (lambda: {"optimizer": keras.optimizers.Adam(0.01)}, "Adam"),
        (
            lambda: {"optimizer": ClippedSGD(keras.optimizers.schedules.ExponentialDecay(1.0, 5, 0.5))},
            "ExponentialDecay",
        ),
        (lambda: {"optimizer": ClippedSGD(1.0, weight_decay=0.1)}, "weight_decay"),
        (lambda: {"loss": kerasptb.losses.SequenceCrossEntropy(reduction="sum")}, "a loss or metrics of its own"),
    ],
)
def test_a_model_that_train_would_train_otherwise_than_it_was_compiled_fails(
    texts, tmp_path, corpus, compilation, received
):
    def build(hp):
        hp.Int("x", 0, 9)
        model = kerasptb.build_language_model(len(corpus.vocabulary), 8, 8, batch_size=5, num_steps=5)
        model.compile(**compilation())
        return model

    with pytest.raises(tuning.SearchError, match=rf"ClippedSGD at a constant rate .* Received: .*{received}"):
        toy(texts, tmp_path, build, trials=1, epochs=1)


@pytest.mark.parametrize(
    ("change", "received"),
    [
        (lambda model: setattr(model.layers[1], "trainable", False), r"frozen layers, \['embedding'\]"),
        (lambda model: setattr(model.layers[2].cell.kernel, "regularizer", keras.regularizers.L2(0.1)), "regularizers"),
        (lambda model: setattr(model.layers[2], "activity_regularizer", keras.regularizers.L2(0.1)), "regularizers"),
        (
            lambda model: setattr(model.layers[-1].bias, "constraint", keras.constraints.NonNeg()),
            "constraints of weights",
        ),
        (lambda model: model.layers[-1].enable_lora(2), "LoRA"),
    ],
)
def test_a_model_with_more_than_its_arguments_say_fails(texts, tmp_path, corpus, change, received):
    def build(hp):
        hp.Int("x", 0, 9)
        model = kerasptb.build_language_model(len(corpus.vocabulary), 8, 8, batch_size=5, num_steps=5)
        change(model)
        model.compile()
        return model

    with pytest.raises(tuning.SearchError, match=rf"give the HyperModel a `fit`. Received: {received}"):
        toy(texts, tmp_path, build, trials=1, epochs=1)


class AnyModel(toy_spaces.ToySpace):
    """Models that are not Keras', or not built."""

    def build(self, hp):
        return {"x": hp.Int("x", 0, 999)} if hp.Boolean("plain") else keras.Sequential([keras.layers.Dense(1)])

    def fit(self, hp, model, corpus, epochs, callbacks, verbose):
        if not isinstance(model, dict):
            model.build((None, 2))
        return {"val_perplexity": 2.0}


def test_a_fit_of_ones_own_trains_any_model(texts, tmp_path):
    result = toy(texts, tmp_path, AnyModel(tmp_path / "journal"), trials=6)
    assert [trial.status for trial in result.trials] == ["COMPLETED"] * 6
    assert {trial.record.parameters for trial in result.trials} == {None, 3}


def test_the_weights_of_the_epoch_that_counts_are_kept(texts, tmp_path):
    class Worsening(kt.HyperModel):
        def build(self, hp):
            hp.Int("x", 0, 9)
            return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])

        def fit(self, hp, model, corpus, epochs, callbacks, verbose):
            curve = [9.0, 7.0, 8.0]
            model.stop_training = False  # as `fit` begins
            for callback in callbacks:
                callback.set_model(model)
                callback.on_train_begin()
            for epoch, perplexity in enumerate(curve):
                model.set_weights([np.full((1, 1), perplexity)])
                for callback in callbacks:
                    callback.on_epoch_end(epoch, {"val_perplexity": perplexity})
            return {"val_perplexity": min(curve)}

    result = toy(texts, tmp_path, Worsening(), trials=1)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.load_weights(result.folder / "trials" / "trial_0" / "model.weights.h5")
    assert model.get_weights()[0].item() == result.trials[0].score == 7.0


def test_a_history_of_nothing_but_nan_is_a_training_that_diverged(texts, tmp_path):
    class Diverging(toy_spaces.ToySpace):
        def fit(self, hp, model, corpus, epochs, callbacks, verbose):
            history = keras.callbacks.History()
            history.history = {"val_perplexity": [math.nan, math.nan]}
            return history

    with pytest.raises(tuning.SearchError, match="diverged: the validation perplexity is nan"):
        toy(texts, tmp_path, Diverging(tmp_path / "journal"), trials=1)


def test_a_space_keeps_a_dtype_policy_of_its_own(texts, tmp_path, corpus):
    def build(hp):
        hp.Int("x", 0, 9)
        policy = {"dtype": "mixed_bfloat16"}
        model = kerasptb.build_language_model(len(corpus.vocabulary), 8, 8, batch_size=5, num_steps=5, **policy)
        model.compile()
        return model

    config = toy(texts, tmp_path, build, trials=1, epochs=1).run.config["model"]
    assert config["dtype"] == "mixed_bfloat16"
    assert config["precision"] == default_precision("auto", keras.dtype_policies.get("mixed_bfloat16"))


def test_a_fit_that_returns_nothing_is_a_failure_with_its_reason(texts, tmp_path):
    class Silent(toy_spaces.ToySpace):
        def fit(self, *args, **kwargs):
            super().fit(*args, **kwargs)

    with pytest.raises(
        tuning.SearchError, match=r"Expected HyperModel.fit to return .*'val_perplexity'.*Received: None"
    ):
        toy(texts, tmp_path, Silent(tmp_path / "journal"), trials=1)


@pytest.mark.parametrize(
    ("arguments", "judged"),
    [({}, True), ({"early_stopping": False}, False), ({"tuner": "hyperband"}, False)],
    ids=["default", "no early stopping", "hyperband"],
)
def test_trials_are_judged_unless_told_otherwise(texts, tmp_path, monkeypatch, arguments, judged):
    seen, init = [], stopping.StopHopelessTrials.__init__

    def remember(self, *args, judge=True, **kwargs):
        seen.append(judge)
        init(self, *args, judge=judge, **kwargs)

    monkeypatch.setattr(stopping.StopHopelessTrials, "__init__", remember)
    toy(texts, tmp_path, toy_spaces.ToySpace(tmp_path / "journal"), trials=1, **arguments)
    assert seen == [judged]


class Renamed(kerasptb.LanguageModel):
    pass


def test_a_model_of_a_class_of_ones_own_fails(texts, tmp_path, corpus):
    def build(hp):
        hp.Int("x", 0, 9)
        model = Renamed(len(corpus.vocabulary), 8, 8, batch_size=5, num_steps=5)
        model.compile()
        return model

    with pytest.raises(tuning.SearchError, match="Received: a Renamed"):
        toy(texts, tmp_path, build, trials=1, epochs=1)


class Falling(toy_spaces.ToySpace):
    def fit(self, hp, model, corpus, epochs, callbacks, verbose):
        history = keras.callbacks.History()
        history.history = {"val_perplexity": [9.0, float("nan"), 5.0, 7.0], "loss": [4.0, 3.0, 2.0, 1.0]}
        return history


def test_a_fit_of_ones_own_may_return_a_history_of_which_the_best_epoch_counts(texts, tmp_path):
    result = toy(texts, tmp_path, Falling(tmp_path / "journal"), trials=1)
    assert result.trials[0].score == 5.0
    state = json.loads((result.trials[0].folder / "trial.json").read_text())
    assert state["metrics"]["metrics"]["loss"]["observations"][0]["value"] == [2.0]


def test_a_lack_of_memory_is_one_reason_whoever_lacks_it():
    assert describe_failure(MemoryError()) == "out of memory: MemoryError"
    error = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")
    assert describe_failure(error) == "out of memory: OOM when allocating"


class OwnDecay(kt.HyperModel):
    def __init__(self, vocabulary_size, **training):
        super().__init__()
        self.vocabulary_size, self.training = vocabulary_size, training

    def build(self, hp):
        model = kerasptb.build_language_model(self.vocabulary_size, 4, (hp.Int("units", 4, 6),), 5, 4)
        model.compile(ClippedSGD(0.25, global_clipnorm=3.0))
        return model

    def training_arguments(self, hp):
        return self.training


def test_training_arguments_complete_what_was_compiled(texts, tmp_path, corpus):
    space = OwnDecay(len(corpus.vocabulary), decay=0.5, constant_epochs=1)
    training = toy(texts, tmp_path, space, trials=1, epochs=1).run.config["training"]
    chosen = {name: training[name] for name in ("learning_rate", "global_clipnorm", "decay", "constant_epochs")}
    assert chosen == {"learning_rate": 0.25, "global_clipnorm": 3.0, "decay": 0.5, "constant_epochs": 1}


def test_epochs_are_the_searchs_to_give(texts, tmp_path, corpus):
    with pytest.raises(tuning.SearchError, match="gives each trial its epochs"):
        toy(texts, tmp_path, OwnDecay(len(corpus.vocabulary), epochs=1), trials=1, epochs=1)
