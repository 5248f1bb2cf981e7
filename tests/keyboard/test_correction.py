"""Corrections of a text: what is wrong is found, and what is right stays as it is."""

import math

import pytest

import kerasptb
from kerasptb.data import DataError, Subwords
from kerasptb.data.lexicon import Lexicon
from kerasptb.keyboard import Confusions, Keyboard, apply_corrections, correct, correction
from kerasptb.keyboard.channel import open_channel
from kerasptb.keyboard.correction import Correction, _Corrector, correct_parts
from kerasptb.reading.reader import open_reader

WRONG = "I wemt tp tge shpp to buy sone bread, and th e man gaveme a loaf."
RIGHT = "I went to the shop to buy some bread, and the man gave me a loaf."
PROSE = (
    'Mr. Sherlock Holmes, who was usually very late in the mornings, was seated at the breakfast table. "I have no '
    'data yet," said he; "it\'s well-known that one can\'t guess." The 2nd of May, 1889, was a Thursday.'
)


@pytest.fixture(scope="module")
def english():
    return kerasptb.load_run("english")


def test_errors_of_typing_are_corrected(english):
    found = english.correct(WRONG)
    assert apply_corrections(WRONG, found) == RIGHT
    assert [(each.text, each.word) for each in found][-2:] == [("th e", "the"), ("gaveme", "gave me")]
    assert all(WRONG[each.start : each.end] == each.text and each.log_odds > 5 for each in found)


def test_what_is_right_stays(english):
    assert english.correct(PROSE) == []


def test_words_after_it_decide_too(english):
    (one,) = english.correct("We saw teo of the men yesterday.")
    assert one.word == "two"
    (other,) = english.correct("We saw teo, and then we had a cup of tes.", margin=1)[-1:]
    assert (other.text, other.word) == ("tes", "tea")
    assert (other.start, other.end) == (37, 40)


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("The goverment raised taxes.", "The government raised taxes."),  # of a word that nobody has written
        ("It is suprising how fast he learns.", "It is surprising how fast he learns."),
        ("We ate in a resturant by the sea.", "We ate in a restaurant by the sea."),
        ("I beleive that Zou is here.", "I believe that Zou is here."),  # a name
        ("The ITTQ owns a chain of hotels.", "The ITTQ owns a chain of hotels."),
        ("I agree since i am at the back.", "I agree since i am at the back."),  # a capital is no other word
        ("I know it ll be carried.", "I know it ll be carried."),  # what follows an apostrophe
        ("Its role is to supervise the organisation.", "Its role is to supervise the organisation."),  # British
    ],
)
def test_what_nobody_has_written_is_an_error_sooner_than_a_name(english, text, fixed):
    assert apply_corrections(text, english.correct(text)) == fixed


def test_a_name_that_comes_again_is_known():
    lexicon = Lexicon(["organize", "the"])
    assert correction._known(lexicon, "Normam led the others, said the man.").words == lexicon.words
    text = "Normam led. So Normam won, a wimner; wimner again. We organise."
    assert set(correction._known(lexicon, text).words) - set(lexicon.words) == {"Normam", "organise"}


def test_all_else_is_kept_character_by_character(english):
    text = "\ufeff\tI beleive\x00 it’s   so,\r\n\r\n“I dont know” \x1b[2J — he said… \u2028 and I beleive he is right  "
    fixed = text.replace("beleive", "believe").replace("dont", "don’t")
    assert apply_corrections(text, english.correct(text)) == fixed
    assert apply_corrections("", []) == ""


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("\ufeffI beleive it.", "\ufeffI believe it."),
        ("\ufeffWemt we to the shop and bought a loaf?", "\ufeffWent we to the shop and bought a loaf?"),
        ("It is well\u2011knwon that he is right.", "It is well\u2011known that he is right."),
        ("He was a roue\u0301 and she was a lady.", "He was a roue\u0301 and she was a lady."),
    ],
    ids=["mark", "first", "hyphen", "accent"],
)
def test_marks_and_hyphens_are_those_of_the_text(english, text, fixed):
    assert apply_corrections(text, english.correct(text)) == fixed


def test_apostrophes_are_those_of_the_text_whichever_the_model_has():
    curly, text = "They can’t see it. We don’t see it. " * 40, "They cam't see it. We don't see it."
    subwords = Subwords.train([curly], 300)
    model = kerasptb.LanguageModel(len(subwords), 4, 4, batch_size=1, num_steps=4, tokenizer=subwords)
    corrector = _Corrector(open_reader(model), open_channel("qwerty"), 3.0, text)
    assert corrector._as_written(Correction(5, 10, "cam't", "can’t", 5.0), text, 5, 10).word == "can't"


def test_a_margin_says_how_much_likelier_a_correction_must_be(english):
    found = english.correct(WRONG)
    least = sorted(each.log_odds for each in found)[2]
    some = english.correct(WRONG, margin=least)
    assert 0 < len(some) < len(found)
    assert all(each.log_odds > least for each in some)
    assert english.correct(WRONG, margin=1e9) == []


def test_parts_come_one_after_the_other_and_are_all_of_it(english):
    text = f"{WRONG}\n" * 16
    parts = list(english.correct_parts(text))
    assert [end for end, _ in parts] == [15 * len(WRONG) + 15, len(text)]
    assert apply_corrections(text, [each for _, found in parts for each in found]) == f"{RIGHT}\n" * 16


def test_names_of_programs_and_capitals_are_left(english):
    text = (
        "Set iVersion of the struct in sqlite3_module.c, or foo.bar/baz; the Publisher and the english are as they are."
    )
    assert english.correct(text) == []


def test_words_that_a_text_has_often_are_known(english):
    line = '"It is a mystery," said the wemt.\n'
    (once,) = english.correct(line, margin=0)
    assert once.text == "wemt"
    assert all(each.log_odds < once.log_odds - 1.5 for each in english.correct(line * 3, margin=0))


def test_what_a_program_misreads_is_corrected(english):
    text = "lt was tbe hest of tirnes, and he c0uld not rernernber thc name of thc vvoman."
    found = english.correct(text, channel="ocr")
    fixed = apply_corrections(text, found)
    assert fixed.endswith("the best of times, and he could not remember the name of the woman.")


def test_another_layout_has_other_neighbours(english):
    text = "They sqid that it wqs right."  # q lies where a does on a French keyboard
    assert apply_corrections(text, english.correct(text, channel="azerty")) == "They said that it was right."
    text = "They szid so."
    odds = [english.correct(text, channel=Keyboard(name), margin=0)[0].log_odds for name in ("azerty", "qwerty")]
    assert odds[0] != pytest.approx(odds[1], abs=0.1)


@pytest.mark.parametrize(
    "text",
    ["", " \n\t", "1889 — 3.5 %", "a" * 10_000, "9" * 100_000, "γνῶθι σαυτόν", "吾輩は猫である。", "مرحبا بالعالم"],
)
def test_texts_without_words_that_the_model_knows_stay(english, text):
    assert english.correct(text) == []


def test_models_of_any_tokens_correct(reader, subworded, spelled):
    assert apply_corrections("the cst sat", correct(reader, "the cst sat", margin=0)) == "the cat sat"
    for each in (subworded.reader, subworded.model, spelled.reader):
        found = correct(each, "the cat sst on the mat, and the dog ran", margin=-math.inf)
        assert all(math.isfinite(one.log_odds) and one.text != one.word for one in found)
    assert list(correct_parts(reader, "")) == []


def test_confusions_may_be_of_several_characters():
    channel = Confusions({("rn", "m"): 0.1, ("e", "c"): 0.2})
    assert list(channel.rewritings("mamc")) == [
        ("rnamc", 0.1),
        ("marnc", 0.1),
        ("rnarnc", pytest.approx(0.01)),
    ]
    assert list(channel.rewritings("rne")) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "Expected a layout, one of azerty, "),
        ("{", "Expected a layout such as"),
        ("[]", "Expected a layout such as"),
        ("3", "Expected a layout such as"),
        ('{"rows": 3}', "Expected a layout such as"),
        ('{"rows": [{"keys": ""}]}', "at least one key"),
        ('{"rows": [{"keys": "ab"}, {"keys": "a"}]}', "each in a place of its own"),
        ('{"confusions": 3}', "Expected confusions such as"),
        ('{"confusions": [["a", "b"]]}', "Expected confusions such as"),
        ('{"confusions": [["a", "b", 2]]}', "probabilities between 0 and 1"),
        ('{"confusions": [["a", "b", NaN]]}', "probabilities between 0 and 1"),
        ('{"confusions": [["", "b", 0.1]]}', "of characters"),
        ('{"confusions": [], "errors": {"wrongly": 0.1}}', "Expected confusions such as"),
        ('{"confusions": [], "errors": {"stray": 1.5}}', "probabilities between 0 and 1"),
    ],
)
def test_a_channel_that_is_none_is_told(tmp_path, content, message):
    path = tmp_path / "channel.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message) as error:
        open_channel(path if content is not None else "dvorak")
    assert "\n" not in str(error.value)


def test_a_keyboard_of_one_key_corrects(english, tmp_path):
    path = tmp_path / "one.json"
    path.write_text('{"rows": [{"keys": "e"}]}')
    assert english.correct(PROSE, channel=str(path)) == []


def test_what_is_no_text_is_told(english):
    with pytest.raises(DataError, match="Expected a text, a str"):
        english.correct(b"text")
    with pytest.raises(DataError, match="Expected whole characters"):
        english.correct("\ud800")
