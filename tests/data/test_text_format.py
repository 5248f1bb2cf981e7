import pytest

from kerasptb.data import DataError, Subwords, Vocabulary
from kerasptb.data.text_format import TextFormat, open_tokenizer


@pytest.mark.parametrize(
    ("said", "usual", "whole"),
    [
        ({}, "words", ("words", False, False)),
        ({}, "subwords", ("subwords", False, False)),
        ({"keep_lines": True}, "subwords", ("subwords", True, False)),
        ({"tokens": "subwords"}, "words", ("subwords", True, True)),
        ({"tokens": "words"}, "subwords", ("words", False, False)),
        ({"tokenizer": Vocabulary(["a"])}, "subwords", ("words", False, False)),
        ({"tokenizer": Subwords.characters()}, "words", ("characters", True, True)),
    ],
)
def test_a_format_is_made_whole_by_the_text(said, usual, whole):
    format = TextFormat(**said).of_text(usual)
    assert (format.tokens, format.keep_lines, format.of_words) == whole
    assert format.of_text(usual) == format
    assert format.tokenizer == said.get("tokenizer")


def test_characters_need_no_tokenizer_to_be_made():
    assert TextFormat("characters").of_text("subwords").tokenizer == Subwords.characters()


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
