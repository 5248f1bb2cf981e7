"""`train` with a teacher: what the run records, and how it goes on."""

import shutil

import numpy as np
import pytest
from small_trainings import SMALL, TINY, FailAt, assert_equal_weights, plan, small_corpus, train

import kerasptb
from kerasptb.data import Corpus, Vocabulary
from kerasptb.runs import RunError

WIDE = {"units": (16,), "embedding_size": 8}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return train(tmp_path_factory.mktemp("teacher") / "run", epochs=6, model_arguments=WIDE)


@pytest.mark.slow
def test_a_run_with_a_teacher_resumes_to_the_bit(teacher, tmp_path):
    arguments = {"teacher": teacher.folder, "teacher_weight": 0.8, "model_arguments": {**SMALL, "keep_prob": 0.8}}
    whole = train(tmp_path / "whole", **arguments)
    with pytest.raises(RuntimeError, match="out of luck"):
        train(tmp_path / "parts", callbacks=[FailAt(1, 9)], checkpoint_minutes=0, **arguments)
    parts = kerasptb.train(small_corpus(), out=tmp_path / "parts", resume=True, verbose=0)
    assert_equal_weights(parts, whole)
    assert parts.history == [
        {**row, "words_per_second": mine["words_per_second"]}
        for row, mine in zip(whole.history, parts.history, strict=True)
    ]
    recorded = kerasptb.load_run(whole.folder).config["training"]
    assert (recorded["teacher"], recorded["teacher_weight"]) == (str(teacher.folder), 0.8)
    with pytest.raises(RunError, match=r"keeps its settings: .* has teacher_weight=0.8"):
        train(whole.folder, resume=True, teacher_weight=0.1)


def test_it_matters(teacher, tmp_path):
    alone, taught = (
        train(tmp_path / str(i), epochs=1, **options)
        for i, options in enumerate(({}, {"teacher": teacher.folder, "teacher_weight": 1.0}))
    )
    pairs = zip(*(run.load_model().get_weights() for run in (alone, taught)), strict=True)
    differences = [np.abs(a - b).max() for a, b in pairs]
    assert min(differences) > 1e-5, differences


def test_a_teacher_over_other_tokens_is_refused_before_anything_is_written(teacher, tmp_path):
    corpus = small_corpus()
    words = Vocabulary([f"other{i}" for i in range(10)] + ["<eos>", "<unk>"])
    other = Corpus(corpus.train, corpus.valid, corpus.test, words, name="other", source="elsewhere")
    with pytest.raises(RunError, match=r"the same tokens.* with other words than this text's words"):
        kerasptb.train(other, teacher=teacher.folder, out=tmp_path / "run", verbose=0)
    with pytest.raises(RunError, match=r"A teacher is a run with weights.*nowhere"):
        train(tmp_path / "run", teacher=tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"A teacher's weight needs a teacher. Received: teacher_weight=0.3"):
        train(tmp_path / "run", teacher_weight=0.3)
    assert not (tmp_path / "run").exists()


def test_a_text_is_cut_by_the_teacher_s_tokenizer(no_steps, tmp_path):
    (tmp_path / "novel.txt").write_text("Once upon a time there was a cat, and the cat sat on the mat.\n" * 60)
    arguments = {"epochs": 1, "batch_size": 2, "num_steps": 5, "verbose": 0, **TINY}
    first = kerasptb.train(tmp_path / "novel.txt", out=tmp_path / "teacher", vocabulary_size=270, **arguments)
    run = kerasptb.train(tmp_path / "novel.txt", out=tmp_path / "run", teacher=first.folder, **arguments)
    assert run.vocabulary == first.vocabulary
    assert run.config["training"]["start_from"] is None
    (tmp_path / "other.txt").write_text("A cat sat there, and there sat a dog upon the mat of the cat.\n" * 60)
    config = run.folder / "config.json"
    assert plan(tmp_path / "other.txt", config=config).corpus.vocabulary == first.vocabulary
    before = run.metrics
    shutil.copyfile(run.weights_path("best"), first.weights_path("best"))
    with pytest.raises(RunError, match=r"has the weights it had. Received: .*teacher, with others"):
        kerasptb.train(out=run.folder, resume=True, epochs=2, verbose=0)
    shutil.rmtree(first.folder)
    with pytest.raises(RunError, match="A teacher is a run with weights"):
        kerasptb.train(out=run.folder, resume=True, epochs=2, verbose=0)
    assert kerasptb.load_run(run.folder).metrics == before
