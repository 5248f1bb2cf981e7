import numpy as np
import pytest
from small_trainings import assert_equal_weights, small_corpus

import kerasptb
from kerasptb.data import Corpus, Subwords, Vocabulary
from kerasptb.models.weights import save_weights


def other_corpus():
    """The small corpus in another order of the words, without two of them, and with one that is new."""
    corpus = small_corpus(seed=1)
    words = [*reversed(corpus.vocabulary.words[2:]), "new"]
    vocabulary = Vocabulary(words)
    texts = [
        np.array([vocabulary.word_to_id.get(corpus.vocabulary.words[i], len(words) - 1) for i in ids], "int32")
        for ids in (corpus.train, corpus.valid, corpus.test)
    ]
    return Corpus(*texts, vocabulary, name="other", source="made up")


def test_a_training_begins_with_the_weights_of_another_run(trained, tmp_path, capsys):
    source = trained(tmp_path / "source")
    corpus = other_corpus()
    options = {"epochs": 2, "seed": 2, "start_from": source.folder, "freeze": ["embedding", "lstm_0"]}
    run = kerasptb.train(corpus, learning_rate=0.1, out=tmp_path / "tuned", **options)
    assert "They know 10 of the 11 words." in capsys.readouterr().out
    assert run.config["model"]["units"] == [9, 7]  # the source's sizes
    assert run.config["model"]["batch_size"] == 4
    old, new = source.load_model(), run.load_model(weights="last")
    for weight, expected in zip(
        new.get_layer("lstm_0").get_weights(), old.get_layer("lstm_0").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(weight, expected)
    for word in ("w3", "<eos>"):
        np.testing.assert_array_equal(
            new.get_layer("embedding").get_weights()[0][run.vocabulary.word_to_id[word]],
            old.get_layer("embedding").get_weights()[0][source.vocabulary.word_to_id[word]],
        )
    changed = np.abs(new.get_layer("lstm_1").get_weights()[0] - old.get_layer("lstm_1").get_weights()[0]).max()
    assert 0 < changed < 0.5


def test_a_run_of_words_begins_one_of_subwords(trained, tmp_path, capsys, no_steps):
    source = trained(tmp_path / "source")
    (tmp_path / "novel.txt").write_text("".join(f"The {i}th cat sat on w{i}.\n" for i in range(100)))
    run = kerasptb.train(tmp_path / "novel.txt", start_from=source.folder, epochs=1, out=tmp_path / "run")
    tokens = run.vocabulary
    assert (tokens.kind, run.config["model"]["vocabulary_size"]) == ("subwords", len(tokens))
    assert f"They know 1 of the {len(tokens)} subwords." in capsys.readouterr().out
    old, new = (each.load_model().get_layer("embedding").get_weights()[0] for each in (source, run))
    np.testing.assert_array_equal(new[tokens.eos_id], old[source.vocabulary.eos_id])


@pytest.mark.slow
def test_a_run_of_subwords_cuts_the_text_that_begins_with_it(make_run, tmp_path, capsys, no_steps):
    subwords = Subwords.train(["The cat sat on the mat.", "The mat sat."] * 2, 270)
    model = kerasptb.LanguageModel(len(subwords), 9, (9, 9), batch_size=4, num_steps=5, tie_embeddings=True, seed=3)
    model.compile()
    source = make_run(tmp_path / "source", subwords, model.get_config(), data={"tokens": "subwords"})
    save_weights(model, source.weights_path("best"))
    (tmp_path / "novel.txt").write_text("".join(f"The {i}th dog sat on w{i}.\n" for i in range(300)))
    settings = {"epochs": 20, "num_steps": 5, "out": tmp_path / "run"}
    run = kerasptb.train(tmp_path / "novel.txt", "auto", start_from=source.folder, **settings)
    assert run.vocabulary == subwords
    assert "They know" not in capsys.readouterr().out
    assert run.config["model"]["units"] == [9, 9]
    # What goes with the text is the text's: rows by its length, regularisation by how often it is read.
    assert run.config["model"]["batch_size"] == 8
    assert run.config["model"]["output_dropout"] == 0.35
    own = kerasptb.train(
        tmp_path / "novel.txt",
        "auto",
        tokens="subwords",
        start_from=source.folder,
        **settings | {"out": tmp_path / "2"},
    )
    assert own.vocabulary != subwords
    words = kerasptb.train(
        tmp_path / "novel.txt", "auto", tokens="words", start_from=source.folder, **settings | {"out": tmp_path / "3"}
    )
    assert words.vocabulary.kind == "words"


@pytest.mark.slow
def test_a_tuned_run_resumes_to_the_bit(trained, tmp_path):
    options = {"start_from": trained(tmp_path / "source").folder, "freeze": "lstm_0", "seed": 2, "verbose": 0}
    whole = kerasptb.train(other_corpus(), epochs=2, out=tmp_path / "whole", **options)
    kerasptb.train(other_corpus(), epochs=1, out=tmp_path / "part", **options)
    part = kerasptb.train(other_corpus(), epochs=2, out=tmp_path / "part", resume=True, verbose=0)
    assert_equal_weights(part, whole)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"freeze": ["lstm_9"]}, "Received: 'lstm_9'"),
        ({"units": [9, 8]}, r"same layers as .*, which has units=\(9, 7\)\. Received: units=\(9, 8\)"),
        ({"model_arguments": {"cell": "gru"}}, r"which has cell='lstm'\. Received: cell='gru'"),
    ],
)
def test_what_does_not_fit_another_run_is_told_and_leaves_nothing(trained, tmp_path, changes, text):
    source = trained(tmp_path / "source")
    with pytest.raises(ValueError, match=text):
        kerasptb.train(other_corpus(), start_from=source.folder, out=tmp_path / "run", verbose=0, **changes)
    assert not (tmp_path / "run").exists()
