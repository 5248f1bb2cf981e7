import dataclasses

import keras
import numpy as np
import pytest
from small_trainings import SMALL, TINY, begun, plan, resumed, small_corpus, train

import kerasptb
from kerasptb.models import evaluate_perplexity
from kerasptb.ops import native_recurrence as native_lstm
from kerasptb.ops import plan as op_plan
from kerasptb.ops import platform as platforms
from kerasptb.ops.plan import default_precision
from kerasptb.runs import RunError
from kerasptb.training import budget
from kerasptb.training.budget import Speed


def test_the_step_is_compiled_where_that_is_faster(begin, native_library):
    assert begin()[0].jit_compile
    assert begin(model_arguments={**SMALL, "keep_prob": 0.5})[0].jit_compile
    assert not begin(backend="keras")[0].jit_compile


def test_what_people_change_has_arguments(no_steps, tmp_path):
    sizes = {"units": 8, "embedding_size": 5, "keep_prob": 0.7}
    run = train(tmp_path / "run", epochs=2, model_arguments=None, learning_rate=0.02, optimizer="adamw", **sizes)
    model = run.load_model()
    assert (model.units, model.embedding_size, model.keep_prob) == ((8,), 5, 0.7)
    assert [row["learning_rate"] for row in run.history] == pytest.approx([0.02, 0.02])
    assert run.config["training"]["optimizer"] == "adamw"
    assert len(kerasptb.train(small_corpus(), out=run.folder, resume=True, epochs=3, verbose=0).history) == 3
    with pytest.raises(RunError, match=r"has optimizer='adamw'\. Received: optimizer='sgd'"):
        kerasptb.train(small_corpus(), out=run.folder, resume=True, optimizer="sgd", verbose=0)


def test_null_in_a_settings_file_is_what_is_drawn_or_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr("kerasptb.training.budget.time_training", lambda *_: Speed(150.0, 0.0, 3.0))
    null = {"precision": None, "seed": None}
    model = plan(subword_corpus(tmp_path), model_arguments=null, **SIZE | {"seed": None}).settings.model
    assert model.precision in ("bfloat16", "float32")
    assert isinstance(model.seed, int)


def test_a_size_alone_leaves_the_tokens_of_a_config(tmp_path):
    (tmp_path / "config.json").write_text('{"data": {"tokens": "words"}}')
    (tmp_path / "novel.txt").write_text("It was the best of times.\n" * 400)
    batches = {"batch_size": 2, "num_steps": 5}
    planned = plan(tmp_path / "novel.txt", config=tmp_path / "config.json", vocabulary_size=5, **SIZE, **batches)
    assert (planned.corpus.vocabulary.kind, len(planned.corpus.vocabulary)) == ("words", 5)


def test_what_a_checkpoint_cannot_take_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match=r"Expected minutes of at least 0\. Received: minutes=inf"):
        train(tmp_path / "run", epochs=1, checkpoint_minutes=float("inf"))
    assert not (tmp_path / "run").exists()


def test_an_optimizer_without_a_rate_has_its_own(tmp_path):
    assert plan(optimizer="rmsprop").settings.recipe["learning_rate"] == pytest.approx(0.001)
    with pytest.raises(ValueError, match="the name of another Keras optimizer"):
        train(tmp_path / "other", epochs=1, optimizer="best")
    assert not (tmp_path / "other").exists()


def test_a_weight_decay_that_an_optimizer_brings_is_recorded_and_replaced():
    assert plan(optimizer="adamw").settings.recipe["weight_decay"] == pytest.approx(0.01)
    without = plan(optimizer="adamw", training_arguments={"weight_decay": 0.0})
    assert without.settings.recipe["weight_decay"] == 0.0


def test_a_recipe_that_averages_takes_an_optimizer_that_does_not(no_steps, tmp_path):
    run = train(tmp_path / "run", epochs=1, preset="awd-lstm", optimizer="rmsprop", batch_size=16, **TINY)
    assert len(run.history) == 1


def test_keep_prob_replaces_the_rates_of_a_recipe():
    model = plan(preset="small", keep_prob=0.9, **TINY).model
    rates = [model.get_layer(name).rate for name in ("embedding_dropout", "lstm_0_dropout", "lstm_1_dropout")]
    assert rates == pytest.approx([0.1] * 3)


@pytest.mark.parametrize("name", ["epochs", "steps_per_epoch"])
def test_a_training_of_nothing_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"`{name}` must be a whole number of at least 1. Received: {name}=0"):
        train(tmp_path / "run", **{name: 0})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        {"learning_rate": 0},
        {"learning_rate": float("inf")},
        {"training_arguments": {"decay": "fast"}},
        {"training_arguments": {"global_clipnorm": 0.0}},
        {"training_arguments": {"global_clipnorm": float("nan")}},
        {"preset": "small", "training_arguments": {"weight_decay": -0.1}},
        {"seed": 1.5},
        {"seed": -1},
        {"keep_prob": 1e-9},
        {"batch_size": 10**9},
    ],
)
def test_absurd_settings_are_refused_before_anything_is_made(tmp_path, arguments):
    name = list(arguments.get("training_arguments", arguments))[-1]
    with pytest.raises(ValueError, match=name):
        train(tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("error:Slower than it could be")
def test_a_training_without_the_native_kernels_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(op_plan, "_reported", set())
    monkeypatch.setattr(platforms, "why_not_native", lambda precision="float32": "They are not built.")
    run = train(tmp_path / "run", epochs=1, verbose=2)
    told = (run.folder / "explain.txt").read_text()
    assert told in capsys.readouterr().out
    assert [line.split(None, 2) for line in told.splitlines()[1:5]] == [
        ["lstm_0", "StatefulLSTM", "keras  They are not built."],
        ["lstm_1", "StatefulLSTM", "keras  They are not built."],
        ["logits", "Dense", "keras  They are not built."],
        ["cost", "SequenceCrossEntropy", "keras  They are not built."],
    ]
    assert run.metrics["backend"] == "keras"
    monkeypatch.setattr(op_plan, "_reported", set())
    with pytest.raises(UserWarning, match="without the native kernels: They are not built"):
        train(tmp_path / "silent", epochs=1, verbose=0)


def test_a_test_text_of_a_word_is_told_before_the_training(tmp_path):
    corpus = dataclasses.replace(small_corpus(), test=np.zeros(1, "int32"))
    with pytest.raises(ValueError, match=r"a test text of at least two words\. Received: 1"):
        kerasptb.train(corpus, out=tmp_path / "run", batch_size=4, num_steps=5, verbose=0, model_arguments=SMALL)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_anything_is_refused_and_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("do not lose this")
    with pytest.raises(RunError, match="is not empty"):
        train(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_a_text_too_short_for_one_batch_says_the_numbers_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="The training text is too short for one batch: it has 450 words"):
        train(tmp_path / "run", batch_size=80)
    with pytest.raises(ValueError, match="The validation text is too short for one batch: it has 120 words"):
        train(tmp_path / "run", batch_size=60)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arguments", [{"epochs": 0}, {"steps_per_epoch": -3}])
def test_what_has_an_argument_of_its_own_is_no_training_argument(tmp_path, arguments):
    with pytest.raises(ValueError, match=rf"among .*'decay'.* Received: \['{next(iter(arguments))}'\]"):
        train(tmp_path / "run", training_arguments=arguments)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("policy", "native"), [("float32", True), ("float64", False), ("bfloat16", False), ("mixed_bfloat16", True)]
)
@pytest.mark.fast_cases(2)
def test_the_backend_recorded_is_the_one_that_ran(tmp_path, monkeypatch, skip_without, capsys, policy, native):
    skip_without("bfloat16" if policy == "mixed_bfloat16" else "float32")
    calls, call = [], native_lstm.call
    monkeypatch.setattr(native_lstm, "call", lambda *args, **kwargs: (calls.append(1), call(*args, **kwargs))[1])
    run = train(tmp_path / "run", epochs=1, model_arguments={**SMALL, "dtype": policy}, verbose=2)
    slower = f"keras  The native backend takes float32. Received: dtype policy {policy}."
    assert (slower in capsys.readouterr().out) == (not native and not platforms.visible_gpus())
    assert (run.metrics["backend"], bool(calls)) == (("native", True) if native else ("keras", False))


def test_unknown_training_argument_is_named(tmp_path):
    with pytest.raises(ValueError, match="momentum"):
        train(tmp_path / "run", training_arguments={"momentum": 0.9})


def test_a_run_names_the_precision_of_a_global_policy(figures, tmp_path, skip_without):
    skip_without("bfloat16")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        run = train(tmp_path / "run", epochs=1)
    finally:
        keras.config.set_dtype_policy("float32")
    assert run.metrics["precision"] == "bfloat16"
    model = run.load_model()
    assert (model.precision, model.dtype_policy.name) == ("bfloat16", "mixed_bfloat16")
    corpus = small_corpus()
    assert evaluate_perplexity(model, corpus.test, 4, 5) == pytest.approx(run.metrics["test_perplexity"], rel=1e-6)


def test_numpy_numbers_are_welcome(tmp_path):
    run = begun(tmp_path / "run", epochs=np.int64(2), steps_per_epoch=np.int32(3), seed=np.int64(4))
    settings = kerasptb.load_run(run.folder).settings
    assert (settings.training.epochs, settings.batches.steps_per_epoch, settings.model.seed) == (2, 3, 4)
    resumed(run.folder, small_corpus(), epochs=np.int64(3))
    assert kerasptb.load_run(run.folder).settings.training.epochs == 3


@pytest.mark.parametrize(("policy", "own"), [("mixed_bfloat16", "float32"), ("float32", "mixed_bfloat16")])
def test_the_models_own_dtype_policy_says_its_precision(begin, policy, own):
    keras.config.set_dtype_policy(policy)
    try:
        model, config = begin(model_arguments={**SMALL, "dtype": own})
    finally:
        keras.config.set_dtype_policy("float32")
    expected = default_precision("auto", keras.dtype_policies.get(own))
    assert (config["model"]["dtype"], config["model"]["precision"]) == (own, expected)
    assert (model.dtype_policy.name, model.precision) == (own, expected)


def test_a_backend_without_bfloat16_is_trained_in_float32_under_a_global_policy(no_steps, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        run = train(tmp_path / "run", epochs=1, backend="keras")
    finally:
        keras.config.set_dtype_policy("float32")
    assert (run.metrics["backend"], run.metrics["precision"]) == ("keras", "float32")


def timed(monkeypatch):
    monkeypatch.setattr("kerasptb.training.budget.time_training", lambda *_: Speed(0.5, 0.5, 3.0))


def test_minutes_are_filled_with_epochs(tmp_path, monkeypatch):
    timed(monkeypatch)
    run = begun(tmp_path / "run", preset="small", epochs=None, minutes=2, **TINY)
    batches, training = run.config["batches"], run.config["training"]
    # An epoch of 22 steps takes 11.5 s, of some 106 s: 120 less 3, 8, two seconds for the test text, and the reading.
    assert (training["minutes"], training["epochs"], batches["parts"]) == (2, 9, 1)
    assert run.config["reasons"]["epochs"] == "so many fit into the minutes, at 500.0 ms a step"
    assert resumed(run.folder, small_corpus(), minutes=2).config == run.config
    with pytest.raises(RunError, match=r"has minutes=2\.0\. Received: minutes=3"):
        kerasptb.train(small_corpus(), out=run.folder, resume=True, minutes=3, verbose=0)


@pytest.mark.slow
def test_epochs_or_other_minutes_replace_those_of_a_run(no_steps, tmp_path, monkeypatch):
    timed(monkeypatch)
    run = train(tmp_path / "run", preset="small", epochs=None, minutes=2, **TINY)
    training = run.config["training"]
    longer = kerasptb.train(small_corpus(), out=run.folder, resume=True, epochs=10, verbose=0)
    assert set(run.config["reasons"]) - set(longer.config["reasons"]) == {"epochs"}
    same = kerasptb.train(small_corpus(), config=run.folder, epochs=9, out=tmp_path / "same", verbose=0)
    assert same.config["training"] == {**training, "minutes": None}
    given = kerasptb.train(small_corpus(), config=run.folder, minutes=1, out=tmp_path / "other", verbose=0)
    assert given.config["training"]["epochs"] == 8  # of 6 s, a half of the text, in 46 s


@pytest.mark.slow
def test_some_steps_are_timed(tmp_path, monkeypatch):
    monkeypatch.setattr("kerasptb.training.budget._SECONDS", 0.2)
    monkeypatch.setattr("kerasptb.training.budget._END_SECONDS", 0.0)
    monkeypatch.setattr("kerasptb.training.budget._MOST_CALLS", 6)
    timed, fill = [], budget.fill_minutes

    def fill_as_if(settings, corpus, speed, seconds, most):
        timed.append(speed)
        return fill(settings, corpus, Speed(step=0.02, validation=0.1, begin=1.0), 6.0, most)  # whatever else runs here

    monkeypatch.setattr("kerasptb.training.budget.fill_minutes", fill_as_if)
    run = train(tmp_path / "run", preset="small", epochs=None, minutes=0.1, **TINY)
    assert min(timed[0].step, timed[0].validation, timed[0].begin) > 0
    assert len(run.history) == run.config["training"]["epochs"] > 1
    assert run.history[-1]["learning_rate"] < 0.01 * max(row["learning_rate"] for row in run.history)  # the cycle's end


def test_epochs_and_minutes_contradict_each_other(tmp_path):
    with pytest.raises(ValueError, match=r"Expected epochs or minutes\. Received both: epochs=3 and minutes=2"):
        train(tmp_path / "run", minutes=2)
    with pytest.raises(ValueError, match=r"Received: minutes=2 with preset='notebook', which counts epochs"):
        train(tmp_path / "run", preset="notebook", minutes=2, epochs=None)
    assert not (tmp_path / "run").exists()


def subword_corpus(tmp_path):
    text = tmp_path / "novel.txt"
    text.write_text("\n".join(f"It was the {word} of times." for word in ("best", "worst", "age", "end")) * 60)
    return kerasptb.load_corpus(text, vocabulary_size=280)


SIZE = {"units": 8, "embedding_size": 8, "seed": 1}


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(
    ("reading", "kind"), [({}, "characters"), ({"tokens": "words"}, "words"), ({"vocabulary_size": 280}, "subwords")]
)
def test_a_recipe_of_characters_reads_them_unless_other_tokens_are_named(tmp_path, reading, kind):
    (tmp_path / "novel.txt").write_text("It was the best of times.\n" * 400)
    size = {"num_steps": 20, "batch_size": 2, "epochs": 1, "units": 8, "embedding_size": 8}
    planned = plan(tmp_path / "novel.txt", preset="characters", **size, **reading)
    assert planned.corpus.vocabulary.kind == planned.settings.data.tokens == kind


def test_what_begins_with_a_run_of_characters_reads_characters(tmp_path):
    (tmp_path / "novel.txt").write_text("It was the best of times.\n" * 400)
    size = {"num_steps": 20, "batch_size": 2, "epochs": 1}
    layers = {"preset": "characters", "units": 8, "embedding_size": 8}
    source = begun(tmp_path / "source", tmp_path / "novel.txt", **layers, **size)
    (tmp_path / "letters.txt").write_text("It was the worst of times.\n" * 400)
    planned = plan(tmp_path / "letters.txt", start_from=source.folder, **size)
    assert (planned.corpus.vocabulary.kind, planned.settings.training.preset) == ("characters", "characters")


def test_a_text_of_ones_own_takes_the_recipe_for_its_size(tmp_path, monkeypatch):
    corpus = subword_corpus(tmp_path)
    settings = plan(corpus, epochs=11, **SIZE).settings
    model, training = settings.model, settings.training
    assert (training.preset, training.epochs, training.minutes) == ("auto", 11, None)
    assert model.batch_size == 1  # of 1,440 tokens
    assert model.precision == ("float32" if platforms.why_not_native("bfloat16") else "bfloat16")
    assert (model.input_dropout, model.output_dropout) == pytest.approx((0.0303, 0.0424), abs=1e-3)  # 4 / 33
    kept = plan(corpus, epochs=11, keep_prob=0.9, **SIZE).settings.model
    assert (kept.keep_prob, kept.input_dropout, kept.word_dropout) == (0.9, None, 0.006)  # 4 / 33 of 0.05
    monkeypatch.setattr("kerasptb.training.budget.time_training", lambda *_: Speed(150.0, 0.0, 3.0))
    timed = plan(corpus, steps_per_epoch=1, **SIZE).settings
    assert (timed.training.minutes, timed.training.epochs) == (30, 12)
    assert timed.model.output_dropout == pytest.approx(0.053, abs=1e-3)  # 5 / 33 of 0.35
    assert plan().settings.training.preset == "notebook"
