import concurrent.futures
import csv
import dataclasses
import json
import math

import keras
import numpy as np
import pytest
from small_trainings import SMALL, assert_equal_weights, begun, plan, resumed, small_corpus, train

import kerasptb
from kerasptb.data.sizes import TextSizes
from kerasptb.models import evaluate_perplexity
from kerasptb.ops import platform as platforms
from kerasptb.runs import RunError


def test_leaves_a_run_folder(figures, tmp_path):
    run = train(tmp_path / "run", training_arguments={"learning_rate": 0.5})
    assert {path.name for path in run.folder.iterdir()} == {
        "config.json", "vocabulary.txt", "best.weights.h5", "best.copy.weights.h5", "last.weights.h5", "resume.npz",
        "resume.before.npz", "history.csv", "metrics.json", "curves.png", "explain.txt", "logs",
    }  # fmt: skip
    assert (run.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list(run.folder.glob("logs/*/events*"))
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert {key: metrics[key] for key in ("epochs", "preset", "backend", "precision", "seed", "parameters")} == {
        "epochs": 3,
        "preset": "notebook",
        "backend": "native" if platforms.why_not_native() is None else "keras",
        "precision": "float32",
        "seed": 1,
        # 12 x 6, (6 + 9 + 1) x 36, (9 + 7 + 1) x 28, (7 + 1) x 12
        "parameters": 72 + 576 + 476 + 96,
    }
    with (run.folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert {row["learning_rate"] for row in rows} == {"0.5"}
    best = min(run.history, key=lambda row: row["val_perplexity"])
    assert metrics["valid_perplexity"] == best["val_perplexity"]
    assert metrics["train_perplexity"] == best["perplexity"]
    assert 1 < metrics["test_perplexity_every_word"] < 14
    assert metrics["words_per_second"] > 0


def test_learns_what_there_is_to_learn(figures, tmp_path):
    run = train(
        tmp_path / "run",
        epochs=20,
        model_arguments={**SMALL, "init_scale": 0.5},
        training_arguments={"constant_epochs": 20},
    )
    # The text's own perplexity is 2; that of 12 words equally likely is 12.
    assert 1.8 < run.metrics["test_perplexity_every_word"] < 3.5


def test_results_are_of_the_best_weights_on_the_test_text(figures, tmp_path):
    corpus = small_corpus()

    class Spoiling(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                bias = self.model.get_layer("logits").bias
                bias.assign(bias + 3.0 * np.arange(12))

    run = train(tmp_path / "run", callbacks=[Spoiling()], training_arguments={"learning_rate": 0.1})
    first, spoiled, after = (row["val_perplexity"] for row in run.history)
    assert first < after < spoiled
    best, last = (run.load_model(weights=weights) for weights in ("best", "last"))
    figures = [
        (evaluate_perplexity(model, corpus.test, 4, 5), evaluate_perplexity(model, corpus.test, every_word=True))
        for model in (best, last)
    ]
    assert figures[0] == (run.metrics["test_perplexity"], run.metrics["test_perplexity_every_word"])
    assert figures[0] != figures[1]


def test_gradients_are_clipped_at_the_norm_of_the_settings(tmp_path):
    still, moved = (
        train(tmp_path / str(clip), epochs=1, training_arguments={"global_clipnorm": clip, "learning_rate": 1.0})
        for clip in (1e-6, 5.0)
    )
    # 22 steps of a length of 1e-6 change nothing that is seen; an untrained model finds 12 words equally likely.
    assert still.metrics["valid_perplexity"] == pytest.approx(12, rel=0.01)
    assert abs(moved.metrics["valid_perplexity"] - 12) > 0.2


def test_same_seed_repeats_the_run_to_the_bit(tmp_path):
    arguments = {"epochs": 1, "model_arguments": {**SMALL, "keep_prob": 0.6}}
    runs = [train(tmp_path / name, **arguments) for name in ("one", "two")]
    other = train(tmp_path / "other", seed=2, **arguments)
    for key in ("perplexity", "val_perplexity"):
        assert [row[key] for row in runs[0].history] == [row[key] for row in runs[1].history]
        assert [row[key] for row in runs[0].history] != [row[key] for row in other.history]


def test_early_stopping_ends_a_training(tmp_path):
    run = train(tmp_path / "run", epochs=9, early_stopping=2, learning_rate=1e-9)
    best = min(range(len(run.history)), key=lambda i: run.history[i]["val_perplexity"])
    assert len(run.history) == best + 3 < 9
    (run.folder / "metrics.json").unlink()  # it was killed while it evaluated
    again = kerasptb.train(small_corpus(), out=run.folder, resume=True, verbose=0)
    assert (again.history, again.metrics) == (run.history, run.metrics)


def test_what_a_callback_adds_to_the_logs_is_in_the_history(no_steps, tmp_path):
    class Add(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["extra"] = 7.0

    assert train(tmp_path / "run", epochs=1, callbacks=[Add()]).history[0]["extra"] == 7.0


def test_rare_words_of_a_text_become_unknown(no_steps, tmp_path):
    for split, lines in (("train", 200), ("valid", 60), ("test", 60)):
        text = "".join(f"one two three {split}{i}\n" for i in range(lines))
        (tmp_path / f"{split}.txt").write_text(text)
    arguments = {"tokens": "words", "batch_size": 4, "num_steps": 5, "verbose": 0, "model_arguments": SMALL}
    run = kerasptb.train(tmp_path, out=tmp_path / "run", vocabulary_size=5, epochs=1, **arguments)
    assert run.vocabulary.words == ("<eos>", "<unk>", "one", "three", "two")
    assert run.config["model"]["vocabulary_size"] == 5
    # The run reads the text again with its own vocabulary, without being told, and accepts no other limit.
    assert run.load_corpus().test.tolist()[:5] == [2, 4, 3, 1, 0]
    resumed(run.folder, vocabulary_size=5)
    with pytest.raises(RunError, match=r"vocabulary_size=5\. Received: vocabulary_size=6"):
        kerasptb.train(out=run.folder, resume=True, epochs=3, vocabulary_size=6, verbose=0)
    # A limit above the number of words is kept as it was asked for.
    run = begun(tmp_path / "all", tmp_path, vocabulary_size=900, epochs=1, **arguments)
    assert len(run.vocabulary) == 5  # words that occur once are unknown, since the other texts have new ones
    resumed(run.folder, vocabulary_size=900)
    with pytest.raises(RunError, match=r"vocabulary_size=900\. Received: vocabulary_size=5"):
        kerasptb.train(out=run.folder, resume=True, epochs=3, vocabulary_size=5, verbose=0)
    with pytest.raises(ValueError, match=r"model of the text's 5 words\. Received: vocabulary_size=6"):
        kerasptb.train(
            run.load_corpus(),
            out=tmp_path / "other",
            epochs=1,
            **arguments | {"model_arguments": {**SMALL, "vocabulary_size": 6}},
        )
    with pytest.raises(ValueError, match=r"A Corpus keeps its 5 words"):
        kerasptb.train(
            kerasptb.load_run(tmp_path / "run").load_corpus(), out=tmp_path / "other", vocabulary_size=4, **arguments
        )
    assert not (tmp_path / "other").exists()
    no_steps.undo()
    run = kerasptb.load_run(tmp_path / "run")
    assert evaluate_perplexity(run.load_model(), run.load_corpus().test, every_word=True) < 6


def test_callbacks_of_the_user_run_and_see_the_logs(no_steps, tmp_path):
    seen = []

    class See(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((epoch, sorted(logs)))

    train(tmp_path / "run", epochs=2, callbacks=[See()])
    names = ["learning_rate", "loss", "perplexity", "val_loss", "val_perplexity", "words_per_second"]
    assert seen == [(0, names), (1, names)]


def test_a_lambda_that_looks_at_batches_sees_each(no_steps, tmp_path):
    seen = []
    look = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    train(tmp_path / "run", epochs=1, callbacks=[look])
    assert seen == list(range(len(seen)))
    assert len(seen) == 450 // 4 // 5


def test_steps_per_epoch_shortens_every_epoch(tmp_path):
    batches = []

    class Count(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            batches.append(batch)

    run = train(tmp_path / "run", epochs=2, steps_per_epoch=3, callbacks=[Count()])
    assert batches == [0, 1, 2, 0, 1, 2]
    # The validation is not shortened.
    expected = evaluate_perplexity(run.load_model(batch_size=2), small_corpus().valid, 4, 5)
    assert run.metrics["valid_perplexity"] == pytest.approx(expected, rel=1e-6)
    assert run.load_model(batch_size=2).batch_size == 2


def test_a_test_text_too_short_for_a_batch_leaves_out_that_figure_alone(figures, tmp_path, capsys):
    corpus = small_corpus()
    corpus = dataclasses.replace(corpus, test=corpus.test[:20])  # a batch takes 4 x 6
    run = kerasptb.train(
        corpus, out=tmp_path / "run", epochs=1, batch_size=4, num_steps=5, verbose=2, model_arguments=SMALL
    )
    assert run.metrics["test_perplexity"] is None
    assert run.metrics["test_perplexity_every_word"] > 1
    assert "test (too short for 4 streams) (in 4 streams; every word:" in capsys.readouterr().out


def test_a_perplexity_of_words_beyond_all_numbers_is_none(no_steps, tmp_path, capsys):
    counts = dict.fromkeys(("train", "valid", "test"), TextSizes(100_000, 1, 100_000, 20))
    corpus = dataclasses.replace(small_corpus(), counts=counts)
    run = kerasptb.train(corpus, out=tmp_path / "run", epochs=1, batch_size=4, num_steps=5, model_arguments=SMALL)
    assert run.metrics["test_word_perplexity"] is None
    assert run.metrics["test_bits_per_byte"] == pytest.approx(math.log2(run.metrics["test_perplexity_every_word"]))
    assert "perplexity of a word inf, " in capsys.readouterr().out


class _Batches(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(batch)


class _Epochs(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.steps_per_execution = self.model.steps_per_execution


@pytest.mark.slow
def test_several_batches_a_call_train_as_one_does(tmp_path):
    batches, epochs = _Batches(), _Epochs()
    model = {**SMALL, "keep_prob": 0.7}
    one = train(tmp_path / "one", callbacks=[batches], model_arguments=model)
    several = train(tmp_path / "several", callbacks=[epochs], model_arguments=model)
    assert batches.seen == list(range(22)) * 3  # (450 / 4 - 1) / 5 batches an epoch
    assert epochs.steps_per_execution == 16
    for rows in zip(one.history, several.history, strict=True):
        kept = [{name: value for name, value in row.items() if name != "words_per_second"} for row in rows]
        assert kept[0] == kept[1]


@pytest.mark.parametrize("verbose", [1, 2])
def test_an_epoch_leaves_its_results_on_a_line(no_steps, tmp_path, capsys, verbose):
    run = train(tmp_path / "run", epochs=1, verbose=verbose)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Epoch 1/1")]
    row = run.history[0]
    assert f"perplexity {row['perplexity']:.2f}  valid {row['val_perplexity']:.2f}" in line


def test_trains_in_a_thread_of_its_own(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        run = pool.submit(train, tmp_path / "run", epochs=1).result()
    assert run.metrics["epochs"] == 1


def test_a_seed_that_was_drawn_repeats_the_run(no_steps, tmp_path):
    drawn = train(tmp_path / "drawn", epochs=1, seed=None)
    again = train(tmp_path / "again", epochs=1, seed=drawn.config["model"]["seed"])
    assert_equal_weights(again, drawn)
    assert plan(seed=None).settings.model.seed != drawn.metrics["seed"]


@pytest.mark.parametrize("hook", ["on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end"])
def test_a_callback_that_looks_at_batches_sees_each_by_whatever_name(begin, hook):
    look = type("Look", (keras.callbacks.Callback,), {hook: lambda self, batch, logs=None: None})
    assert begin(callbacks=[look()])[0].steps_per_execution == 1


@pytest.mark.parametrize("is_sample", [False, True])
def test_results_on_the_sample_are_said_to_compare_with_nothing(no_steps, tmp_path, capsys, is_sample):
    corpus = dataclasses.replace(small_corpus(), is_sample=is_sample)
    kerasptb.train(corpus, out=tmp_path / "run", epochs=1, batch_size=4, num_steps=5, verbose=2, model_arguments=SMALL)
    assert ("they compare with nothing published" in capsys.readouterr().out) == is_sample


def test_the_speed_is_the_median_of_the_epochs(trained, tmp_path):
    run = trained(tmp_path / "run")
    assert run.metrics["words_per_second"] == sorted(row["words_per_second"] for row in run.history)[1]


def test_a_text_as_it_is_written_is_trained_on_in_subwords(no_steps, tmp_path):
    lines = [
        f"The {colour} cat, \u201cTom\u201d, sat on mat {i}.\n\n" for i in range(60) for colour in ("black", "white")
    ]
    (tmp_path / "novel.md").write_text("".join(lines))
    sizes = {**SMALL, "tie_embeddings": False}
    arguments = {"batch_size": 4, "num_steps": 5, "verbose": 0, "model_arguments": sizes}
    run = kerasptb.train(tmp_path / "novel.md", out=tmp_path / "run", vocabulary_size=280, epochs=1, **arguments)
    assert (run.vocabulary.kind, len(run.vocabulary)) == ("subwords", 280)
    assert kerasptb.load_run(run.folder).vocabulary == run.vocabulary
    corpus, metrics = run.load_corpus(), run.metrics
    test = corpus.vocabulary.decode(corpus.test)
    assert "".join(lines).replace("\n\n", "\n").endswith(test)
    assert corpus.count("test").words == len(test.split()) + test.count("\n")
    nats = math.log(metrics["test_perplexity_every_word"]) * len(corpus.test)
    assert metrics["test_bits_per_byte"] == pytest.approx(nats / math.log(2) / corpus.count("test").bytes)
    assert metrics["test_word_perplexity"] == pytest.approx(math.exp(nats / corpus.count("test").words))
    resumed(run.folder, tokens="subwords")
    with pytest.raises(RunError, match=r"tokens='subwords'\. Received: tokens='words'"):
        kerasptb.train(out=run.folder, resume=True, epochs=3, tokens="words", verbose=0)
    with pytest.raises(RunError, match=r"keep_lines=None\. Received: keep_lines=True"):
        kerasptb.train(out=run.folder, resume=True, epochs=3, keep_lines=True, verbose=0)
    # Another text with the run's tokenizer, and what it begins with.
    other = plan(tmp_path / "novel.md", tokenizer=run.folder / "tokenizer.json", epochs=1, **arguments)
    assert other.corpus.vocabulary == run.vocabulary
