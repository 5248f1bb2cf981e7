"""The n-grams of a run's text in ARPA form: their probabilities, their words, and what KenLM makes of them."""

import itertools
import os
import re
from pathlib import Path

import numpy as np
import pytest
from arpa_file import ArpaFile
from counted_runs import make_counted

from kerasptb.data import Subwords, Vocabulary
from kerasptb.export import export_arpa
from kerasptb.runs.files import COUNTS, WORDS
from kerasptb.utils.errors import ExportError

LINES = [
    "The cat sat on the mat, and the dog sat by it.",
    "Don't say that the dog didn't see the well-known cat!",
    "Once upon a time the cat saw the café.",
]
TEXT = "\n".join([*LINES * 3, "Zanzibar is named once.", *LINES]) + "\n"
PTB = os.environ.get("KERASPTB_DATA")


@pytest.fixture(scope="module", params=["words", "subwords", "characters"])
def run(request, make_run, tmp_path_factory):
    tokenizers = {
        "words": lambda: Vocabulary.from_tokens([*TEXT.split(), "<eos>", "<unk>", "unseen"]),
        "subwords": lambda: Subwords.train(LINES, 300),
        "characters": Subwords.characters,
    }
    folder = tmp_path_factory.mktemp("runs") / "run"
    return make_counted(make_run, folder, tokenizers[request.param](), TEXT)


@pytest.fixture(scope="module")
def path(run):
    return export_arpa(run, run.folder.parent / "deep" / "ngrams.arpa")


@pytest.fixture(scope="module")
def arpa(path):
    return ArpaFile(path)


def contexts(words):
    """Some that the text has, and some that it has not."""
    seen = [("<s>",), ("<s>", "The"), ("sat", "on"), ("the",), ("the", "cat"), ()]
    drawn = np.random.default_rng(0).choice(words, (30, 2))
    return [*seen, *map(tuple, drawn.tolist())]


def test_the_probabilities_of_all_words_sum_to_one_after_any_context(arpa):
    for context in contexts(arpa.words):
        total = sum(10 ** arpa.score(context, word) for word in arpa.words)
        assert total == pytest.approx(1, abs=1e-4), context


def test_kenlm_reads_the_same_probabilities(path, arpa):
    kenlm = pytest.importorskip("kenlm", reason="kenlm is not installed: it needs a compiler, and Python before 3.13")
    model = kenlm.Model(str(path))
    assert model.order == 3
    for context in contexts(arpa.words):
        state, after = kenlm.State(), kenlm.State()
        begins = context[:1] == ("<s>",)
        (model.BeginSentenceWrite if begins else model.NullContextWrite)(state)
        for word in context[begins:]:
            model.BaseScore(state, word, after)
            state, after = after, kenlm.State()
        scores = [model.BaseScore(state, word, after) for word in arpa.words]
        assert sum(10**score for score in scores) == pytest.approx(1, abs=1e-4), context
        np.testing.assert_allclose(scores, [arpa.score(context, word) for word in arpa.words], atol=1e-5)
    for sentence in (*LINES, "The zebra sat on Zanzibar", "", "the the the"):
        assert model.score(sentence) == pytest.approx(arpa.score_sentence(sentence.split()), abs=1e-4)


def test_the_page_s_snippet_runs(path, arpa, monkeypatch, capsys):
    pytest.importorskip("kenlm", reason="kenlm is not installed")
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"^```python\n(import kenlm .*?)^```", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(path.parent)
    exec(compile(snippet, "docs/export.md", "exec"), {})
    expected = arpa.score(("<s>",), "the") + arpa.score(("<s>", "the"), "<unk>")
    assert float(capsys.readouterr().out) == pytest.approx(10**expected, rel=1e-3)


def test_the_words_are_those_that_keys_show(run, arpa):
    of_run = {"cat", "Once", "upon", "café.", "mat,", "unseen"}
    if run.vocabulary.spells:
        of_run = {"cat", "Once", "upon", "café", "mat", ",", "Don't", "well-known", "!", "known"}
    assert {*of_run, "<unk>", "</s>"} <= set(arpa.words)
    assert "<eos>" not in arpa.words
    assert ("<s>", "Once", "upon") in arpa.grams
    assert ("sat", "on", "the") in arpa.grams
    assert not [gram for gram in arpa.grams if "</s>" in gram[:-1] or "<s>" in gram[1:]]


def test_what_the_text_has_once_is_not_told(run, arpa):
    assert ("Zanzibar",) in arpa.grams or run.vocabulary.spells  # a vocabulary's words stand in its file, too
    assert not [gram for gram in arpa.grams if "Zanzibar" in gram and len(gram) > 1]
    assert not [gram for gram in arpa.grams if {"is", "named"} <= set(gram)]


def test_frequent_words_are_likely(arpa):
    likeliest = sorted(arpa.words, key=lambda word: -arpa.score(("sat",), word))
    assert set(likeliest[:2]) == {"on", "by"}
    assert max(arpa.words, key=lambda word: arpa.score(("sat", "on"), word)) == "the"
    assert 10 ** arpa.score(("sat", "on"), "the") > 0.8


@pytest.mark.parametrize("together", [1, 40])
def test_a_long_text_is_written_out_in_parts(run, path, tmp_path, monkeypatch, together):
    monkeypatch.setattr("kerasptb.export.arpa._TOGETHER", together)
    assert export_arpa(run.folder, tmp_path / "again.arpa").read_bytes() == path.read_bytes()


def test_of_too_many_n_grams_the_most_frequent_are_kept(run, arpa, tmp_path, monkeypatch):
    monkeypatch.setattr("kerasptb.export.arpa._MOST", 20)
    few = ArpaFile(export_arpa(run, tmp_path / "few.arpa"))
    assert few.words == arpa.words
    assert 0 < len(few.grams) - len(few.words) - 1 <= 20
    for context in contexts(few.words):
        assert sum(10 ** few.score(context, word) for word in few.words) == pytest.approx(1, abs=1e-4)


def test_words_that_people_have_added_are_there(make_run, tmp_path):
    run = make_counted(make_run, tmp_path / "run", Subwords.characters(), TEXT)
    with (run.folder / WORDS).open("a") as file:
        file.write("Zanzibar\nquokka\n")
    arpa = ArpaFile(export_arpa(run, tmp_path / "ngrams.arpa"))
    assert arpa.score((), "cat") > arpa.score((), "Zanzibar") > arpa.score((), "quokka")
    assert sum(10 ** arpa.score((), word) for word in arpa.words) == pytest.approx(1, abs=1e-4)


def test_words_that_the_form_cannot_hold_are_unknown(make_run, tmp_path):
    odd = ["<s>", "</s>", "<UNK>", "a\0b"]
    held = ["\\end\\", "\\data\\", "-1.5", "\ufeff", "日本", "\u200d", '"', "ngram", "\x01"]
    tokenizer = Vocabulary([*odd, *held, "<unk>", "<eos>"])
    text = "".join(f"{' '.join(line)}\n" for line in itertools.permutations([*held[:4], *odd], 2))
    run = make_counted(make_run, tmp_path / "run", tokenizer, text)
    path = export_arpa(run, tmp_path / "ngrams.arpa")
    arpa = ArpaFile(path)
    assert arpa.words == ["<unk>", "</s>", *held]
    assert arpa.score(("<unk>",), "<unk>") > arpa.score(("<unk>",), "\x01")
    kenlm = pytest.importorskip("kenlm", reason="kenlm is not installed")
    assert kenlm.Model(str(path)).score("日本 \\end\\") == pytest.approx(
        arpa.score_sentence(["日本", "\\end\\"]), abs=1e-4
    )


def test_a_text_without_line_ends_is_a_sentence(make_run, tmp_path):
    run = make_counted(make_run, tmp_path / "run", Vocabulary(["a", "b", "<unk>"]), "a b a b a")
    arpa = ArpaFile(export_arpa(run, tmp_path / "ngrams.arpa"))
    assert arpa.words == ["<unk>", "</s>", "a", "b"]
    assert [gram for gram in arpa.grams if len(gram) > 1] == [("a", "b"), ("b", "a"), ("a", "b", "a")]
    for context in itertools.product(["<s>", "a", "b"], repeat=2):
        assert sum(10 ** arpa.score(context, word) for word in arpa.words) == pytest.approx(1, abs=1e-4)


def test_a_run_without_counts_says_how_to_get_them(make_run, tmp_path):
    run = make_counted(make_run, tmp_path / "run", Vocabulary(["a", "<unk>"]), "a a a")
    (run.folder / COUNTS).unlink()
    for source in (run, run.folder, "english"):
        with pytest.raises(ExportError, match=r"Expected a run with the counts .*`kerasptb count RUN` makes them"):
            export_arpa(source, tmp_path / "ngrams.arpa")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_model_alone_has_no_text(model, tmp_path):
    with pytest.raises(ExportError, match=r"Expected a run, of which more than its model .*Received: LanguageModel"):
        export_arpa(model, tmp_path / "ngrams.arpa")


def test_no_file_is_overwritten_or_half_written(run, path, tmp_path, room_for):
    before = path.read_bytes()
    with pytest.raises(ExportError, match=r"ngrams\.arpa, which exists"):
        export_arpa(run, path)
    with pytest.raises(ExportError, match=r"ends in \.arpa\. Received: .*ngrams\.txt"):
        export_arpa(run, tmp_path / "ngrams.txt")
    with room_for(1000), pytest.raises(OSError, match=r"full\.arpa"):
        export_arpa(run, tmp_path / "full.arpa")
    assert path.read_bytes() == before
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not PTB, reason="KERASPTB_DATA names no folder with PTB")
@pytest.mark.slow
@pytest.mark.parametrize(("least", "perplexity"), [(1, 148.3), (2, 164.8)])
def test_the_penn_treebank_has_the_perplexity_that_is_known(make_run, tmp_path, monkeypatch, least, perplexity):
    # 148.3 is the Kneser-Ney trigram of Mikolov et al. (2011), "Empirical evaluation and combination of advanced
    # language modeling techniques", which keeps all n-grams.
    monkeypatch.setattr("kerasptb.export.arpa.LEAST", least)
    monkeypatch.setattr("kerasptb.export.arpa._MOST", 1 << 30)
    text = Path(PTB, "ptb.train.txt").read_text()
    tokenizer = Vocabulary.from_tokens([*text.split(), "<eos>"])
    run = make_counted(make_run, tmp_path / "run", tokenizer, text)
    arpa = ArpaFile(export_arpa(run, tmp_path / "ngrams.arpa"))
    lines = [line.split() for line in Path(PTB, "ptb.test.txt").read_text().splitlines()]
    bits = -sum(map(arpa.score_sentence, lines)) / sum(len(line) + 1 for line in lines)
    assert 10**bits == pytest.approx(perplexity, abs=0.1)
