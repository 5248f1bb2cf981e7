import json

import numpy as np
import pytest

import kerasptb
from benchmarks.judged import agreement, blimp, holds, judge, ngrams, with_ends
from kerasptb.evaluation import score_sentences
from kerasptb.reading import counts
from kerasptb.reading.counted_reader import CountedReader, CountedText


@pytest.fixture(scope="module")
def english():
    return kerasptb.load_run("english").reader


def test_formulas_of_conditions_are_judged():
    surprisals = {"sub_no-matrix": [1.0, 5.5], "no-sub": [2.0, 5.0]}
    assert holds("[(2;%sub_no-matrix%) > (2;%no-sub%) ] & [(1;%sub_no-matrix%) < (1;%no-sub%)]", surprisals)
    assert not holds("[(2;%sub_no-matrix%)-(2;%no-sub%)]+[(1;%sub_no-matrix%)-(1;%no-sub%)] > 0", surprisals)
    with pytest.raises(ValueError, match="sums, comparisons and conjunctions"):
        holds("(1;%no-sub%) > exit", surprisals)


def test_the_surprisals_of_regions_are_those_of_their_words(english):
    regions = ["As the doctor", " found", "", "the teacher 's book", ", the nurse left", "."]
    text, ends = with_ends(regions)
    assert text == "As the doctor found the teacher's book, the nurse left."
    assert [text[a:b] for a, b in zip([0, *ends], ends, strict=False)] == [
        "As the doctor",
        " found",
        "",
        " the teacher's book",
        ", the nurse left",
        ".",
    ]
    (scored,) = score_sentences(english, text)
    tokens = dict(zip(scored.tokens, scored.surprisals, strict=True))
    formulas = [f"(2;%a%) - {tokens[' found']:.9f}", f"(6;%a%) - {tokens['.']:.9f}", "(3;%a%)"]
    sums = "[(1;%a%) + (2;%a%) + (4;%a%) + (5;%a%) + (6;%a%)]"
    formulas.append(f"{sums} - {scored.surprisals[:-1].sum():.9f}")
    items = [{"item_number": 1, "conditions": [{"condition_name": "a", "regions": [{"content": r} for r in regions]}]}]
    for formula in formulas:
        for prediction in f"[{formula}] < 0.001", f"[{formula}] > -0.001":
            assert judge(english, {"items": items, "predictions": [{"formula": prediction}]}) == [True]


def test_blimp_stands_beside_what_is_published(english, tmp_path):
    summary = tmp_path / "raw_results" / "summary"
    for folder in tmp_path / "data", summary:
        folder.mkdir(parents=True)
    pair = {"sentence_good": "The cats sleep.", "sentence_bad": "The cats sleeps.", "linguistics_term": "s-agreement"}
    (tmp_path / "data" / "cats.jsonl").write_text(json.dumps({**pair, "UID": "cats"}) + "\n")
    published = [("cats", "agreement", 0.5), ("overall", "agreement", 0.625), ("overall", "overall", 0.75)]
    lines = [json.dumps(dict(zip(("UID", "linguistics_term", "lstm"), row, strict=True))) for row in published]
    (summary / "models_summary.jsonl").write_text("\n".join(lines))
    (summary / "human_validation_summary.csv").write_text('"Condition","total_mean"\n"cats",0.9\n')
    rows = blimp(english, tmp_path)
    assert [(row["set"], row["phenomenon"], row["lstm"]) for row in rows] == [
        ("cats", "agreement", 50.0),
        ("overall", "agreement", 62.5),
        ("overall", "overall", 75.0),
    ]
    assert {(row["pairs"], row["right"], row["people"]) for row in rows} == {(1, 100.0, 90.0)}


def test_agreement_is_judged_by_whole_words(english, tmp_path):
    folder = tmp_path / "data" / "evaluation_output" / "English"
    folder.mkdir(parents=True)
    head = "pattern\tconstr_id\tsent_id\tform\tclass\ttype\tprefix\tfreq\tmodel of theirs\n"
    rows = [("sleep", "correct", 5, -2.0), ("sleeps", "wrong", 6, -3.0)]
    for kind, name in ("original", "best_model"), ("generated", "best_model_srnn"):
        lines = [
            f"p\t1\t{i}\t{form}\t{role}\t{each}\tThe cats and the dogs\t{freq}\t{value if each == kind else -value}\n"
            for i, each in enumerate(("original", "generated"))
            for form, role, freq, value in rows
        ]
        (folder / f"{name}.tab").write_text(head + "".join(lines))
    (folder / "best_model_ngram_lstm.tab").write_text((folder / "best_model.tab").read_text())
    original, generated = agreement(english, tmp_path)
    assert (original["pairs"], original["right"], original["frequency"]) == (1, 100.0, 0.0)
    assert [original[name] for name in ("lstm", "ngram_lstm", "srnn")] == [100.0, 100.0, 0.0]
    assert [generated[name] for name in ("lstm", "ngram_lstm", "srnn")] == [0.0, 0.0, 100.0]


def test_ngrams_are_the_counts_alone(english):
    text = np.tile(english.tokenizer.encode("the cats and the dogs sleep\n"), 3).astype("int32")
    weights = np.stack([counts.initial_weights() - i for i in range(3)])
    size = len(english.tokenizer)
    both = CountedReader(english, CountedText(text, counts.sort_positions(text, size), *weights))
    (wanted,) = score_sentences(both, "the cats sleep", entropy=True)
    (found,) = score_sentences(ngrams(both), "the cats sleep", entropy=True)
    np.testing.assert_allclose(found.token_log10_probabilities, wanted.counts_log10_probabilities, rtol=1e-5)
    assert abs(found.log10_probability - wanted.log10_probability) > 0.1
