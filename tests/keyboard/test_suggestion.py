import pytest

import kerasptb
from kerasptb.data import DataError, Vocabulary
from kerasptb.keyboard import suggest
from kerasptb.models import LanguageModel
from kerasptb.reading import suggest as suggest_exactly

VOCABULARY = Vocabulary(["<unk>", "<eos>", "the", "N", "cat", "sat", "Oslo", "n't", "did", "mr."])


@pytest.fixture(scope="module")
def model():
    return LanguageModel(
        len(VOCABULARY), 5, (6,), batch_size=1, num_steps=5, init_scale=2.0, seed=0, tokenizer=VOCABULARY
    )


@pytest.mark.parametrize("settings", [{}, {"k": 9}, {"exclude": "cat"}, {"k": 2, "complete": True}])
def test_where_nobody_errs_suggestions_are_exact(model, settings):
    assert kerasptb.suggest is suggest
    for text in ("the cat", "the c", ""):
        assert suggest(model, text, **settings) == suggest_exactly(model, text, **settings)


def test_words_typed_with_errors_are_suggested(model):
    found = suggest(model, "the cst", k=3, typos="qwerty")
    assert found[0].word == "cat"
    assert sum(each.probability for each in found) == pytest.approx(1.0, abs=1e-3)
    assert suggest(model, "the cat ", k=9, typos="qwerty") == suggest(model, "the cat ", k=9)
    assert suggest(model, "osl", k=1, typos="azerty")[0].word == "Oslo"
    with pytest.raises(DataError, match="Expected a layout, one of azerty"):
        suggest(model, "the cst", typos="dvorak")
    on_c, on_s, on_t = (4.0, 3.75), (2.0, 2.25), (4.5, 0.75)
    found = suggest(model, "the cst", k=1, typos="qwerty", touches=[on_c, on_s, on_t])
    assert found[0].word == "cat"
    with pytest.raises(DataError, match="Expected a point x, y for each of 3 taps"):
        suggest(model, "the cst", typos="qwerty", touches=[on_c, on_s])
    with pytest.raises(DataError, match="Expected `touches` with `typos`"):
        suggest(model, "the cst", complete=True, touches=[on_c, on_s, on_t])
    for wrong in ([on_c, on_s, (1.0,)], [on_c, on_s, "t"], 3, []):
        with pytest.raises(DataError, match="Expected a point x, y for each of 3 taps"):
            suggest(model, "the cst", typos="qwerty", touches=wrong)


def test_with_errors_a_word_s_probability_is_its_share_however_many_are_asked_for():
    english = kerasptb.load_run("english")
    one, few, many = (english.suggest("I went to the s", k, typos="qwerty") for k in (1, 5, 1000))
    assert one == few[:1]
    assert 0.05 < one[0].probability < 0.2
    assert 0.6 < sum(each.probability for each in many) < 1
    assert [each.probability for each in english.suggest("안녕하세요여러분반갑습니다안녕하", 3, typos="qwerty")] == [0]
