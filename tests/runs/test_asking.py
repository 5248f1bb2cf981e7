"""What one asks of a trained model through its run."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from kerasptb.data import Corpus, DataError, Subwords, Vocabulary, load_corpus
from kerasptb.data.text_format import TextFormat
from kerasptb.evaluation import CacheSettings, evaluate_continuous_cache, score_sentences
from kerasptb.models import LanguageModel, evaluate_perplexity
from kerasptb.models.weights import save_weights
from kerasptb.reading import generate_text, suggest
from kerasptb.runs import RunError
from kerasptb.runs.text import TextRecord

WORDS = ["a", "b", "c", "<unk>", "<eos>"]
SIZES = {"embedding_size": 4, "units": [5], "batch_size": 2, "num_steps": 3, "init_scale": 1.0, "seed": 1}


@pytest.fixture
def run(make_run, tmp_path):
    run = make_run(tmp_path / "run", Vocabulary(WORDS), {**SIZES, "vocabulary_size": len(WORDS)})
    save_weights(LanguageModel(**run.settings.model.as_dict()), run.weights_path("best"))
    return run


def test_a_run_answers_as_its_model_does(run):
    model = run.load_model()
    assert run.suggest("a b", k=3) == suggest(model, "a b", 3)
    assert run.suggest("a", 2, complete=True) == suggest(model, "a", 2, complete=True)
    assert run.generate("a", 7, seed=3) == generate_text(model, "a", 7, seed=3)
    (one,) = run.score("a c nobody")
    (same,) = score_sentences(model, ["a c nobody"])
    assert one.log10_probability == same.log10_probability
    assert [each.sentence for each in run.score(["a", "b"])] == ["a", "b"]
    assert run.model is run.model


def test_a_run_is_measured_on_a_text(run):
    ids = np.random.default_rng(0).integers(0, 5, (3, 60)).astype("int32")
    corpus = Corpus(*ids, run.vocabulary, name="small", source="made up")
    found = run.evaluate(corpus, "valid")
    assert found.perplexity == pytest.approx(evaluate_perplexity(run.model, ids[1], every_word=True))
    counts = corpus.count("valid")
    assert found.word_perplexity == pytest.approx(found.perplexity ** (counts.tokens / counts.words))
    assert found.unknown_share == pytest.approx((ids[1] == 3).mean())
    assert found.character_perplexity == pytest.approx(found.perplexity ** (counts.tokens / counts.characters))
    assert found.bits_per_byte == pytest.approx(counts.bits_per_byte(found.perplexity))
    with pytest.raises(ValueError, match=r"among \['continuous cache', 'dynamic'\], or None\. Received: adapt='more'"):
        run.evaluate(corpus, adapt="more")
    with pytest.raises(ValueError, match=r"a batch size of 1\. Received: 8"):
        run.evaluate(corpus, adapt="dynamic", batch_size=8)
    with pytest.raises(ValueError, match=r"Received: both"):
        run.evaluate_keyboard(text="a few words", continuous_cache=True)
    with pytest.raises(ValueError, match=r"or `learn`\. Received: both"):
        run.evaluate_keyboard(learn=True, continuous_cache=True)
    with pytest.raises(RunError, match="Name the text with --data"):
        run.evaluate()


@pytest.mark.parametrize("keep_lines", [None, True, False])
def test_a_run_reads_its_own_text_as_it_was_read_and_others_as_they_are(make_run, tmp_path, monkeypatch, keep_lines):
    prose = "The lines of a text that is wrapped end where the next\nword would have crossed the margin, as here.\n\n"
    (tmp_path / "prose.txt").write_text(prose * 100)
    (tmp_path / "table.txt").write_text("".join(f"some,cells,of,a,table,and,the,number,{i}\n" for i in range(100, 200)))
    corpus = load_corpus(tmp_path / "prose.txt", tokens="characters", keep_lines=keep_lines)
    record = dataclasses.asdict(TextRecord.of(corpus))
    assert (record["keep_lines"], record["wrapped"]) == (keep_lines, True if keep_lines is None else None)
    sizes = {**SIZES, "vocabulary_size": len(corpus.vocabulary)}
    run = make_run(tmp_path / "run", corpus.vocabulary, sizes, data=record)
    table = run.load_corpus(tmp_path / "table.txt")
    assert (table.format.wrapped, table.count("all").joined) == (False if keep_lines is None else None, 0)
    # A later version may judge it otherwise.
    monkeypatch.setattr("kerasptb.data.sources.opening.is_wrapped", lambda pieces: False)
    assert run.load_corpus().digest == corpus.digest
    assert run.load_corpus().count("all").joined == (0 if keep_lines else 100)


def test_a_run_adapts_with_settings_that_it_keeps(run, monkeypatch):
    ids = np.random.default_rng(0).integers(0, 5, (3, 60)).astype("int32")
    corpus = Corpus(*ids, run.vocabulary, name="small", source="made up")
    monkeypatch.setattr(type(run), "load_corpus", lambda self, data=None: corpus)
    found = run.evaluate(adapt="continuous cache")
    assert (run.folder / "adaptation.json").exists()
    settings = json.loads((run.folder / "adaptation.json").read_text())["continuous_cache"]["settings"]
    assert found.perplexity == evaluate_continuous_cache(run.model, ids[2], CacheSettings(**settings)).perplexity


@pytest.mark.parametrize("kind", ["words", "subwords", None])
def test_a_keras_file_holds_the_tokenizer(tmp_path, kind):
    tokenizers = {"words": Vocabulary(WORDS), "subwords": Subwords.train(["the cat sat"] * 3, 262), None: None}
    tokenizer = tokenizers[kind]
    model = LanguageModel(vocabulary_size=len(tokenizer or WORDS), **SIZES, tokenizer=tokenizer)
    if kind == "subwords":  # how lines are read is there too
        model.tokenizer = TextFormat(tokenizer=tokenizer, keep_lines=True, of_words=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.tokenizer == tokenizer
    assert type(loaded.tokenizer) is type(tokenizer)
    assert loaded.text_format is None or bool(loaded.text_format.keep_lines) == (kind == "subwords")
    for found, wanted in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_runs_model_has_its_tokenizer(run):
    assert run.model.tokenizer is run.vocabulary
    with pytest.raises(DataError, match="of 5 words"):
        run.model.tokenizer = Vocabulary(["a", "<unk>"])
