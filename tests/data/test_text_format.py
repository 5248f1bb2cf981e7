from types import SimpleNamespace

import pytest

from kerasptb.data import DataError, Subwords, Vocabulary
from kerasptb.data.text_format import TextFormat, open_tokenizer


@pytest.mark.parametrize(
    ("said", "usual", "whole"),
    [
        ({}, "words", ("words", None, None, False)),
        ({}, "subwords", ("subwords", None, True, False)),
        ({"wrapped": False}, "subwords", ("subwords", None, False, False)),  # as was found before
        ({"keep_lines": True}, "subwords", ("subwords", True, None, False)),
        ({"keep_lines": False}, "subwords", ("subwords", False, None, False)),
        ({"tokens": "subwords"}, "words", ("subwords", True, None, True)),
        ({"tokens": "words"}, "subwords", ("words", None, None, False)),
        ({"tokenizer": Vocabulary(["a"])}, "subwords", ("words", None, None, False)),
        ({"tokenizer": Subwords.characters()}, "words", ("characters", True, None, True)),
    ],
)
def test_a_format_is_made_whole_by_the_text(said, usual, whole):
    text = SimpleNamespace(usual_tokens=usual, is_wrapped=True)
    format = TextFormat(**said).of_text(text)
    assert (format.tokens, format.keep_lines, format.wrapped, format.of_words) == whole
    assert format.of_text(text) == format
    assert format.tokenizer == said.get("tokenizer")


@pytest.mark.parametrize(
    ("keep_lines", "wrapped", "keeps"),
    [(None, None, False), (None, True, False), (None, False, True), (True, True, True), (False, False, False)],
)
def test_what_is_said_of_lines_comes_before_what_was_found(keep_lines, wrapped, keeps):
    assert TextFormat(keep_lines=keep_lines, wrapped=wrapped).keeps_lines == keeps


def test_what_became_of_lines_is_said_with_the_reason():
    joined = TextFormat(wrapped=True).describe_lines(1234)
    assert joined.startswith(
        "Lines are joined into paragraphs, 1,234 to the one before, since the text is wrapped prose"
    )
    assert "--keep-lines leaves them" in joined
    assert "as was asked" in TextFormat(keep_lines=False).describe_lines(7)
    kept = TextFormat(wrapped=False).describe_lines(0)
    assert kept.startswith("Each line is a paragraph, since the whole text is no wrapped prose. --no-keep-lines")
    assert TextFormat("words").describe_lines(0) is None
    assert TextFormat(keep_lines=True).describe_lines(0) is None


def test_characters_need_no_tokenizer_to_be_made():
    text = SimpleNamespace(usual_tokens="subwords", is_wrapped=False)
    assert TextFormat("characters").of_text(text).tokenizer == Subwords.characters()


def test_tokens_of_a_recipe_stand_where_nothing_else_says_them():
    assert TextFormat(keep_lines=True).or_tokens("characters") == TextFormat("characters", keep_lines=True)
    for said in ({"tokens": "words"}, {"vocabulary_size": 300}, {"tokenizer": Vocabulary(["a"])}):
        assert TextFormat(**said).or_tokens("characters") == TextFormat(**said)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"vocabulary_size": 0}, "Expected vocabulary_size to be a positive integer. Received: vocabulary_size=0"),
        ({"vocabulary_size": 9.5}, "Expected vocabulary_size to be a positive integer. Received: vocabulary_size=9.5"),
        ({"tokens": "letters"}, "Expected tokens that are words, subwords, characters. Received: tokens='letters'"),
        ({"tokens": "characters", "vocabulary_size": 300}, "Characters are the 256 bytes. Received: vocabulary_size=3"),
        ({"tokenizer": Vocabulary(["a"]), "vocabulary_size": 300}, "Expected a vocabulary, or what to make one of"),
    ],
)
def test_what_contradicts_itself_is_told(said, text):
    with pytest.raises(DataError, match=text):
        TextFormat(**said).check()


def test_a_tokenizer_is_named_by_its_file(tmp_path):
    characters = Subwords.characters()
    characters.save(tmp_path / "tokenizer.json")
    assert open_tokenizer(tmp_path / "tokenizer.json") == open_tokenizer(characters) == characters
    assert open_tokenizer(None) is None
