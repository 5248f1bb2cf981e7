"""Signs that are written in several ways are read as a text has them, wherever a model reads."""

import dataclasses

import pytest

from kerasptb.data import Subwords, Vocabulary, load_corpus
from kerasptb.data.signs import ALL, Signs, absent_signs, begins_word
from kerasptb.data.text_format import TextFormat

STRAIGHT = 'He said, "I don\'t know... well--yes, half-done." \'So?\' ("Go")'
TYPOGRAPHIC = "He\u00a0said, “I don’t know… well—yes, half‑done.” ‘So?’ (“Go”)"


def reads(text):
    """What reads texts as this one has its signs."""
    return Signs(absent_signs([text]))


def test_a_text_of_either_kind_is_read_as_the_other():
    assert reads(STRAIGHT).read(TYPOGRAPHIC) == STRAIGHT
    # A no-break space and a no-break hyphen are not guessed.
    expected = TYPOGRAPHIC.replace("\u00a0", " ").replace("\u2011", "-")
    assert reads(expected).read(STRAIGHT) == expected


@pytest.mark.parametrize("own", [STRAIGHT, TYPOGRAPHIC, STRAIGHT + TYPOGRAPHIC, "", "a–b"])
def test_a_text_is_read_as_it_is_by_itself_and_nothing_is_read_twice(own):
    signs = reads(own)
    assert signs.read(own) == own
    for text in (STRAIGHT, TYPOGRAPHIC):
        assert signs.read(signs.read(text)) == signs.read(text)


@pytest.mark.parametrize(
    ("own", "typed", "read"),
    [
        ("„Ja“, sagt er.", '"Nein", sagt sie: "Ja"', "„Nein“, sagt sie: „Ja“"),
        ("don’t", "'tis", "’tis"),
        ("a – b - c", "a−b", "a-b"),
        ("no sign", "“don’t”…", '"don\'t"...'),
        ("«Oui»", "«Non»", "«Non»"),
    ],
)
def test_signs_of_other_texts(own, typed, read):
    assert reads(own).read(typed) == read


def test_what_stands_before_tells_whether_a_quote_opens():
    signs = reads("“a”")
    assert (signs.read('"', "a"), signs.read('"', "\n"), signs.read('"', "(")) == ("”", "“", "“")
    quotes = '"' * 5000
    assert (signs.read(f"{quotes}a", " "), signs.read(f"a{quotes}")) == ("“" * 5000 + "a", "a" + "”" * 5000)
    opened = ("", "a ", 'said, "', "(", "a (“", "¿", "a\u00a0„", "「")
    assert [text for text in (*opened, "a", 'a"', "a.”", "a)", "don'") if begins_word(text)] == list(opened)


def test_signs_that_two_pieces_of_a_text_share_are_seen():
    assert {"--", "..."} <= set(absent_signs(["a-", "b.", "."]))
    assert not {"--", "..."} & set(absent_signs(["a-", "-b.", ".."]))
    assert absent_signs([]) == ALL


@pytest.mark.parametrize("own", ["'", "--…"])
def test_places_are_those_in_the_text_as_it_was_typed(own):
    text = "a… “b” -- c...d—"
    signs = reads(own)
    read, places = signs.read(text), signs.places(text)
    assert len(places) == len(read) + 1
    assert (places[0], places[-1]) == (0, len(text))
    assert [(text[places[i]], each) for i, each in enumerate(read) if each.isalnum()] == [(c, c) for c in "abcd"]


@pytest.mark.parametrize("tokenizer", [Subwords.characters(), Vocabulary(["he", "i", "do", "n't", "<eos>", "<unk>"])])
def test_a_format_takes_them_along(tokenizer, tmp_path):
    format = TextFormat(tokenizer=tokenizer, absent_signs=absent_signs([STRAIGHT]))
    assert len(format.save(tmp_path)) == 2
    loaded = TextFormat.load(tmp_path)
    assert loaded == format
    text = "He said… I don’t\nknow—"
    units, of_read = loaded.units_typed(text), tokenizer.units_typed(format.signs.read(text))
    assert [text[unit.start : unit.end] for unit in units] == ["He", "said…", "I", "don’t", "\n", "know—"]
    assert [unit.tokens.tolist() for unit in units] == [unit.tokens.tolist() for unit in of_read]
    assert [loaded.end_typed(text, size) for size in (0, 2, 6)] == ["", "—", "know—"]
    # Without them every sign is read as it is.
    assert dataclasses.replace(format, absent_signs=None).signs.read(TYPOGRAPHIC) == TYPOGRAPHIC


@pytest.mark.parametrize("tokens", ["words", "subwords", "characters"])
def test_texts_are_read_as_the_training_text_has_them(tokens, tmp_path):
    for name, signs in (("straight", STRAIGHT), ("typographic", TYPOGRAPHIC)):
        (tmp_path / name).mkdir()
        for split in ("train", "valid", "test"):
            (tmp_path / name / f"{split}.txt").write_text(f"{signs if split == 'test' else STRAIGHT}\n", "utf-8")
    straight, other = (load_corpus(tmp_path / name, tokens=tokens) for name in ("straight", "typographic"))
    assert other.digest == straight.digest  # all ids are the same
    of_file = len(TYPOGRAPHIC.encode()) + 1
    assert other.count("test").bytes == of_file - (tokens == "words")  # what parts two words is one space there
    assert other.text_format.absent_signs == straight.text_format.absent_signs
    assert {"’", "“", "…"} <= set(other.text_format.absent_signs)
