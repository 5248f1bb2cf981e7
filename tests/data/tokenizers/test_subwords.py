import base64
import doctest
import json

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasptb.data import DataError
from kerasptb.data.text_format import load_tokenizer
from kerasptb.data.tokenizers import subwords
from kerasptb.data.tokenizers.subwords import Subwords

TEXT = ["the cat sat on the mat", "The cat's hat, the rat's mat.", "Straße, naïve café: 1,234 – \u4f60\u597d"]
TOKENIZERS = {"subwords": Subwords.train(TEXT, 280), "characters": Subwords.characters()}


@pytest.fixture(scope="module")
def trained():
    return Subwords.train(TEXT * 3, 300)


def test_examples_run():
    result = doctest.testmod(subwords)
    assert (result.failed, result.attempted) == (0, 3)


@settings(max_examples=200)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(["subwords", "characters"]))
def test_any_text_comes_back(text, kind):
    tokenizer = TOKENIZERS[kind]
    assert tokenizer.kind == kind
    *whole, rest = text.split("\n")
    kept = [f"{line}\n" for line in map(str.rstrip, whole) if line]  # what a training reads of them
    assert tokenizer.decode(tokenizer.encode(text)) == "".join(kept) + rest


def test_a_joiner_is_of_its_word(trained):
    word = "\u0645\u06cc\u200c\u062e\u0648"  # Persian
    assert trained.split_typed(f"a {word}") == ("a", f" {word}")
    assert list(trained.words_typed(f"a {word}")) == ["a", word]


def test_what_is_read_at_once_is_read_in_parts(trained):
    whole = np.concatenate(list(trained.encode_paragraphs(TEXT)))
    assert whole.dtype == np.int32
    assert whole.tolist() == trained.encode("".join(f"{line}\n" for line in TEXT)).tolist()
    assert (whole == trained.eos_id).sum() == 3
    assert trained.decode(whole) == "".join(f"{line}\n" for line in TEXT)
    # A word is the same at the beginning of a paragraph and within.
    the = trained.token_to_id["\u0120the"]
    assert trained.encode("the cat on the").tolist().count(the) == 2


def test_a_text_that_spells_a_token_means_its_letters(trained):
    content = json.loads(trained._content)
    content["added_tokens"] = [
        {
            "id": len(trained),
            "content": "<pad>",
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
    ]
    with_pad = Subwords(json.dumps(content))
    assert len(with_pad) == len(trained) + 1
    assert with_pad.encode("a <pad>").tolist() == trained.encode("a <pad>").tolist()


def test_a_tokenizer_is_saved_and_loaded_as_it_was(trained, tmp_path):
    trained.save(tmp_path / "tokenizer.json")
    loaded = load_tokenizer(tmp_path)
    assert (loaded, loaded.digest, loaded.tokens) == (trained, trained.digest, trained.tokens)
    # Others read the file too.
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert other.encode(TEXT[1]).ids == trained.encode(TEXT[1]).tolist()
    assert other.decode(other.encode(TEXT[2]).ids) == TEXT[2]


def test_pieces_write_the_bytes_of_their_tokens(trained):
    assert trained.pieces[trained.token_to_id["\u0120the"]] == b" the"
    assert trained.pieces[trained.eos_id] == b"\n"
    assert sorted(Subwords.characters().pieces) == [bytes([byte]) for byte in range(256)]


@pytest.mark.parametrize("size", [256, 0, -1, "many", 1_000_001, 2**31 - 1])
def test_too_few_subwords_are_refused_and_too_many_before_memory_is_taken(size):
    with pytest.raises(DataError, match="size"):
        Subwords.train(TEXT, size)


def test_a_tokenizer_of_sentence_pieces_is_taken_and_one_that_loses_letters_is_not():
    tokenizer = tokenizers.SentencePieceBPETokenizer()
    tokenizer.train_from_iterator(TEXT * 3, 200, special_tokens=["<unk>", "</s>"], show_progress=False)
    pieces = Subwords(tokenizer.to_str())
    assert pieces.pieces[pieces.eos_id] == b"\n"
    assert pieces.decode(pieces.encode("the cat sat\nthe mat\n")) == "the cat sat\nthe mat\n"
    for paragraph in TEXT:
        pieces.check_faithful(paragraph)
    with pytest.raises(DataError, match=r"gives back what it read.*'zebra"):
        pieces.check_faithful("zebra")
    lower = tokenizers.BertWordPieceTokenizer()
    lower.train_from_iterator(TEXT, 200, show_progress=False)
    with pytest.raises(DataError, match="pieces are of bytes"):
        Subwords(lower.to_str())


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[1, 2]"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(DataError, match=r"tokenizer\.json is not a tokenizer"):
        load_tokenizer(tmp_path)


def changed(tokenizer, **settings):
    """The content of a tokenizer.json, with other settings."""
    content = json.loads(tokenizer._content)
    for name, value in settings.items():
        content[name] = {**content[name], **value} if name == "model" else value
    return json.dumps(content)


def test_dropout_is_off_and_the_file_that_is_kept_has_none(trained, tmp_path):
    with_dropout = Subwords(changed(trained, model={"dropout": 0.5}))
    read = [with_dropout.encode("the cat's hat").tolist() for _ in range(20)]
    assert read == [trained.encode("the cat's hat").tolist()] * 20
    with_dropout.save(tmp_path / "tokenizer.json")
    assert tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json")).model.dropout is None
    assert load_tokenizer(tmp_path).digest == with_dropout.digest


def test_what_the_library_panics_at_is_a_plain_line(trained, capfd):
    with pytest.raises(DataError, match=r"library can use. It failed: slice index"):
        Subwords(changed(trained, model={"continuing_subword_prefix": "##"}))
    split = {"type": "Split", "pattern": {"Regex": r"(\w+\s?)*$^"}, "behavior": "Isolated", "invert": False}
    steps = {"type": "Sequence", "pretokenizers": [split, json.loads(trained._content)["pre_tokenizer"]]}
    slow = Subwords(changed(trained, pre_tokenizer=steps))
    for read in (slow.encode, slow.units_typed):
        with pytest.raises(DataError, match=r"library can use. It failed: Onig: Regex search error: retry-limit"):
            read("the cat " * 20)
    capfd.readouterr()  # the library itself writes where it panicked


def test_a_signal_is_no_fault_of_the_tokenizer(trained, monkeypatch):
    class Interrupted:
        def encode_batch_fast(self, *_, **__):
            raise KeyboardInterrupt

    tokenizer = Subwords(trained._content)
    monkeypatch.setattr(tokenizer, "_tokenizer", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        tokenizer.encode("the")


@pytest.mark.parametrize("size", [2**32 - 1, 2**31 - 1, 5])
def test_a_table_of_characters_takes_no_more_memory_than_it_has(trained, size):
    table = base64.b64encode(size.to_bytes(4, "little") + bytes(4)).decode()
    with pytest.raises(DataError, match="table of characters is damaged"):
        Subwords(changed(trained, normalizer={"type": "Precompiled", "precompiled_charsmap": table}))


def test_an_empty_vocabulary_is_refused(trained):
    end = {"id": 0, "content": "</s>", "normalized": False, "special": True}
    end |= dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    with pytest.raises(DataError, match="It reads nothing in 'a'"):
        Subwords(changed(trained, model={"vocab": {}, "merges": []}, added_tokens=[end]))


@pytest.mark.parametrize("kind", ["subwords", "characters"])
@pytest.mark.parametrize("text", ["the cat, don't  sit ", "caf\u00e9 \u65e5\u672c\n\nthe\n (cat) \n", "", "\n", " the"])
def test_the_parts_of_a_text_are_all_that_is_read(kind, text):
    tokenizer = Subwords.characters() if kind == "characters" else Subwords.train(TEXT, 280)
    units = tokenizer.units_typed(text)
    read = [token for unit in units for token in unit.tokens]
    assert read == tokenizer.encode_typed(text)[1:].tolist()
    for unit in units:
        part = tokenizer.decode(unit.tokens)
        assert part.strip(" ") == text[unit.start : unit.end].strip(" ")


def test_a_text_after_a_word_is_read_as_in_the_whole():
    subwords = Subwords.train([" ".join(TEXT)] * 3, 300)
    for tokenizer in (subwords, Subwords.characters()):
        whole = tokenizer.encode_typed("the cat sat, (on) it's\nthe mat")
        parts = ("cat", "sat", ", ", " (on)", "it", "'s", "\nthe", "mat", "")
        further = [tokenizer.encode_further(part) for part in parts]
        assert np.concatenate([tokenizer.encode_typed("the"), *further]).tolist() == whole.tolist()
