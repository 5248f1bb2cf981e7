import functools
import json
import math
import re
from gc import collect  # before it is one that does nothing

import keras
import keras_tuner as kt
import numpy as np
import pytest
import tensorflow as tf
import toy_spaces
from tensorflow.python.framework.ops import gradient_registry
from toy_spaces import SMALL, toy

import kerasptb
from kerasptb import tuning
from kerasptb.ops.plan import default_precision
from kerasptb.optimizers import ClippedSGD
from kerasptb.tuning import stopping
from kerasptb.tuning.built_models import arguments_of
from kerasptb.tuning.trials import describe_failure


@pytest.mark.slow
def test_a_training_that_diverges_is_a_failed_trial(texts, tmp_path):
    sizes = SMALL | {"units": 32, "tie_embeddings": False}
    space = tuning.LanguageModelSpace(num_layers=1, **sizes, learning_rate=[1.0, 3e38])
    result = toy(texts, tmp_path, space, trials=3, epochs=1, seed=0)
    for trial in result.trials:
        diverges = trial.values["learning_rate"] > 1
        assert (trial.record.reason or "").startswith("diverged: ") == diverges
        assert (trial.score is None) == diverges
    assert {trial.status for trial in result.trials} == {"COMPLETED", "FAILED"}


@pytest.mark.slow
def test_the_weights_of_a_trial_are_gone_with_it(texts, tmp_path):
    registered = gradient_registry._registry
    before = set(registered)
    space = tuning.LanguageModelSpace(num_layers=1, **SMALL | {"units": 32})
    toy(texts, tmp_path, space, trials=2, epochs=1, steps_per_epoch=2, max_parameters=15_000)
    collect()
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


class OwnSGD(ClippedSGD):
    pass


@pytest.mark.parametrize(
    ("compilation", "received"),
    [
        (lambda: {"optimizer": keras.optimizers.Adam(0.01)}, r"optimizer\.class_name='Adam'"),
        (
            lambda: {"optimizer": ClippedSGD(keras.optimizers.schedules.ExponentialDecay(1.0, 5, 0.5))},
            r"optimizer\.config\.learning_rate=.*ExponentialDecay",
        ),
        (lambda: {"optimizer": ClippedSGD(1.0, weight_decay=0.1)}, r"optimizer\.config\.weight_decay=0\.1"),
        (lambda: {"optimizer": OwnSGD(1.0)}, r"optimizer\.class_name='OwnSGD'"),
        (lambda: {"loss": kerasptb.losses.SequenceCrossEntropy(reduction="sum")}, r"loss=.*'reduction': 'sum'"),
        (lambda: {"metrics": [kerasptb.metrics.Perplexity()]}, r"metrics=.*'Perplexity'"),
        (lambda: {"loss_weights": [2.0]}, r"loss_weights=\[2\.0\]"),
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

    with pytest.raises(tuning.SearchError, match=rf"ClippedSGD at a constant rate .* Received: {received}"):
        toy(texts, tmp_path, build, trials=1, epochs=1)


@pytest.mark.parametrize(
    ("change", "received"),
    [
        (lambda model: setattr(model.layers[1], "trainable", False), r"embedding\.trainable=False"),
        (lambda model: setattr(model, "trainable", False), r"embedding\.trainable=False"),
        (
            lambda model: setattr(model.get_layer("lstm_0").cell.bias, "trainable", False),
            r"lstm_0\.bias\.trainable=False",
        ),
        (
            lambda model: setattr(model.get_layer("lstm_0").cell.kernel, "regularizer", keras.regularizers.L2(0.1)),
            r"lstm_0\.kernel\.regularizer=.*'L2'",
        ),
        (
            lambda model: setattr(model.get_layer("lstm_0"), "activity_regularizer", keras.regularizers.L2(0.1)),
            r"lstm_0\.activity_regularizer=.*'L2'",
        ),
        (
            lambda model: setattr(model.layers[-1].bias, "constraint", keras.constraints.NonNeg()),
            r"logits\.bias\.constraint=.*'NonNeg'",
        ),
        (lambda model: model.layers[-1].enable_lora(2), r"logits\.lora_rank=2"),
        (lambda model: setattr(model.get_layer("lstm_0_dropout"), "rate", 0.4), r"lstm_0_dropout\.rate=0\.4"),
    ],
)
def test_a_model_with_more_than_its_arguments_say_fails(texts, tmp_path, corpus, change, received):
    def build(hp):
        hp.Int("x", 0, 9)
        sizes = {"batch_size": 5, "num_steps": 5, "keep_prob": 0.9}
        model = kerasptb.build_language_model(len(corpus.vocabulary), 8, 8, **sizes)
        change(model)
        model.compile()
        return model

    with pytest.raises(tuning.SearchError, match=rf"give the HyperModel a `fit`. Received: {received}"):
        toy(texts, tmp_path, build, trials=1, epochs=1)


@pytest.mark.parametrize("arguments", [{}, {"tie_embeddings": True, "keep_prob": 0.5, "seed": 3}, {"backend": "keras"}])
def test_a_model_of_arguments_alone_is_trained_from_them(arguments):
    sizes = {"vocabulary_size": 50, "embedding_size": 8, "units": (6, 8), "batch_size": 5, "num_steps": 4}
    model = kerasptb.LanguageModel(**sizes, **arguments)
    with pytest.raises(ValueError, match="Received: a LanguageModel that is not compiled"):
        arguments_of(model)
    model.compile(ClippedSGD(0.1, None, name="mine"), jit_compile=False, run_eagerly=True)
    found, training = arguments_of(model)
    assert kerasptb.LanguageModel(**found).get_config() == model.get_config()
    assert training == {"learning_rate": pytest.approx(0.1), "global_clipnorm": None}
    model.get_layer("logits").activity_regularizer = keras.regularizers.L2(0.1)
    with pytest.raises(ValueError, match=r"Received: logits\.activity_regularizer=.*'L2'"):
        arguments_of(model)


def test_a_model_is_not_made_before_its_training(no_steps, texts, tmp_path, monkeypatch):
    made, init = [], kerasptb.LanguageModel.__init__

    @functools.wraps(init)  # with its signature
    def remember(self, *args, **kwargs):
        made.append(len(trained))
        init(self, *args, **kwargs)

    trained, train = [], kerasptb.train
    monkeypatch.setattr(kerasptb.LanguageModel, "__init__", remember)
    monkeypatch.setattr(kerasptb, "train", lambda *args, **kwargs: trained.append(1) or train(*args, **kwargs))
    toy(texts, tmp_path, tuning.LanguageModelSpace(num_layers=1, **SMALL), trials=1, epochs=1)
    assert made == [1, 1, 1]  # trained, and loaded for the test text and for the trial's score


class OneTooLarge(tuning.LanguageModelSpace):
    def settings(self, hp):
        size = np.int64(16 if hp.Boolean("large") else 8)
        return {**super().settings(hp), "embedding_size": size, "units": size, "tie_embeddings": False}


def test_settings_of_a_model_over_the_limit_are_rejected(fake_trials, texts, tmp_path, corpus):
    result = toy(
        texts,
        tmp_path,
        OneTooLarge(num_layers=1, embedding_size=[8], units=[8]),
        trials=2,
        epochs=1,
        max_parameters=2000,
    )
    for trial in result.trials:
        size = 16 if trial.values["large"] else 8
        model = kerasptb.build_language_model(len(corpus.vocabulary), size, size, 5, 4)
        assert trial.record.parameters == model.count_params()
        rejected = f"rejected: {model.count_params():,} parameters, where 2,000 are allowed"
        assert trial.record.reason == (rejected if size == 16 else None)


class OwnFit(tuning.LanguageModelSpace):
    def fit(self, hp, model, corpus, epochs, callbacks, verbose):
        assert model.get_config()["units"] == [self.settings(hp)["units"][0]]
        return {"val_perplexity": float(model.optimizer.learning_rate)}


def test_a_fit_of_ones_own_trains_the_models_of_our_space(texts, tmp_path):
    space = OwnFit(num_layers=1, **SMALL | {"tie_embeddings": False}, learning_rate=[0.5, 1.5])
    (trial,) = toy(texts, tmp_path, space, trials=1, max_parameters=50_000).trials
    assert trial.score == trial.values["learning_rate"]
    assert not (trial.folder / "run").exists()


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


def test_a_space_keeps_a_dtype_policy_of_its_own(fake_trials, texts, tmp_path, corpus):
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
    seen, init = [], stopping.TrialEarlyStopping.__init__

    def remember(self, *args, judge=True, **kwargs):
        seen.append(judge)
        init(self, *args, judge=judge, **kwargs)

    monkeypatch.setattr(stopping.TrialEarlyStopping, "__init__", remember)
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


def test_training_arguments_complete_what_was_compiled(fake_trials, texts, tmp_path, corpus):
    space = OwnDecay(len(corpus.vocabulary), decay=0.5, constant_epochs=1)
    training = toy(texts, tmp_path, space, trials=1, epochs=1).run.config["recipe"]
    chosen = {name: training[name] for name in ("learning_rate", "global_clipnorm", "decay", "constant_epochs")}
    assert chosen == {"learning_rate": 0.25, "global_clipnorm": 3.0, "decay": 0.5, "constant_epochs": 1}


def test_models_of_ones_own_are_trained_as_the_notebooks_whatever_the_tokens(fake_trials, tmp_path):
    (tmp_path / "novel.txt").write_text("It was the best of times.\n" * 400)

    def build(hp):
        hp.Int("x", 0, 9)
        model = kerasptb.build_language_model(256, 8, 8, batch_size=5, num_steps=5)
        model.compile()
        return model

    corpus = kerasptb.load_corpus(tmp_path / "novel.txt", tokens="characters")
    run = toy(corpus, tmp_path, build, trials=1, epochs=1).run
    assert run.config["training"]["preset"] == "notebook"


def test_epochs_are_the_searchs_to_give(texts, tmp_path, corpus):
    with pytest.raises(tuning.SearchError, match="gives each trial its epochs"):
        toy(texts, tmp_path, OwnDecay(len(corpus.vocabulary), epochs=1), trials=1, epochs=1)


class Loss(kt.HyperModel):
    """A model of one's own, which has no use for a text."""

    def build(self, hp):
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(hp.Int("x", 1, 9))])

    def fit(self, hp, model, corpus, epochs, callbacks, verbose):
        assert corpus.is_sample
        return 0.000123456


def test_a_model_of_ones_own_has_a_score_of_its_own_and_loads_no_text(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("KERASPTB_DATA", str(tmp_path / "nothing"))
    result = tuning.tune(space=Loss(), trials=1, out=tmp_path / "search")
    assert result.trials[0].score == 0.000123456
    output = capsys.readouterr().out
    assert "best 0.000123 (trial 0)" in output
    assert re.search(r"^1 +0 +0\.000123 ", output, re.M)
