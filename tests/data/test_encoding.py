import functools
import json

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasptb.data import DataError, Subwords, UnknownWordError, Vocabulary, encoding
from kerasptb.data.encoding import encode_paragraphs, encode_words, iter_words, num_subwords
from kerasptb.data.sources import text_file
from kerasptb.data.sources.text_file import TextFile
from kerasptb.data.text_format import TextFormat


def texts(**given):
    contents = {"train": b"train text\n", "valid": b"text\n", "test": b"train\n", **given}
    return {split: TextFile.of_bytes(content, f"x/{split}.txt") for split, content in contents.items()}


@given(st.text(alphabet="ab \n\r\t\u00a0\u2028\x1cé字\U0001f600", max_size=40), st.integers(1, 9))
@settings(max_examples=300)
def test_words_are_the_original_readers_however_the_text_is_cut(text, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_file, "_CHUNK_BYTES", size)
        words = [word for part in iter_words(TextFile.of_bytes(text.encode(), "x")) for word in part]
    assert words == text.replace("\n", " <eos> ").split()


def test_byte_order_mark_and_line_ends_are_as_the_original_reads_them():
    ids, vocabulary, _ = encode_words(texts(train=b"\xef\xbb\xbfa b\r\nc\r\n", valid=b"a", test=b"c\n"))
    assert vocabulary.words == ("<eos>", "a", "b", "c")
    assert {split: values.tolist() for split, values in ids.items()} == {
        "train": [1, 2, 0, 3, 0], "valid": [1], "test": [3, 0]
    }  # fmt: skip


def test_words_with_a_byte_of_zero_are_no_text():
    with pytest.raises(DataError, match=r"x/valid\.txt is binary: it has a byte of 0"):
        encode_words(texts(valid=b"text te\0xt\n"))


@pytest.mark.parametrize("content", [b"", b"\n\n", b" \t ", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_empty_file_is_named(content, split):
    for encode in (
        encode_words,
        functools.partial(encode_paragraphs, format=TextFormat(tokenizer=Subwords.characters())),
    ):
        with pytest.raises(DataError, match=rf"x/{split}\.txt is empty"):
            encode(texts(**{split: content}))


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"a\nb\ncaf\xe9 noir\n", r"byte 7 \(line 3\) is 0xe9"),
        ("a\n".encode("utf-16"), r"byte 0 \(line 1\) is 0xff"),
        (b"a\n\xe2\x82", r"byte 2 \(line 2\) is 0xe2"),
        (b"\xc3\xa9\n\xc3 ", r"byte 3 \(line 2\) is 0xc3"),
    ],
)
def test_other_encodings_are_named_with_their_place(content, place, size, monkeypatch):
    monkeypatch.setattr(text_file, "_CHUNK_BYTES", size)
    with pytest.raises(DataError, match=rf"x/valid\.txt is not: {place}"):
        encode_words(texts(valid=content))


def test_a_text_without_white_space_is_told_before_it_fills_the_memory(monkeypatch):
    monkeypatch.setattr(text_file, "_CHUNK_BYTES", 10)
    monkeypatch.setattr(encoding, "_LONGEST_WORD", 50)
    with pytest.raises(DataError, match=r"x/test\.txt has one of more than 50 characters"):
        encode_words(texts(test=b"a" * 100))


@pytest.mark.parametrize("block", [2, 3, 100])
def test_blocks_do_not_matter(tmp_path, monkeypatch, block):
    monkeypatch.setattr(encoding, "_BLOCK", block)
    monkeypatch.setattr(text_file, "_CHUNK_BYTES", 5)
    contents = texts(train=b"b a b c\nb a d\n", valid=b"a zebra\n", test=b"c b")
    (in_memory, vocabulary, _), (mapped, other, _) = (
        encode_words(contents, TextFormat(vocabulary_size=4), folder) for folder in (None, tmp_path)
    )
    assert vocabulary.words == other.words == ("b", "<eos>", "<unk>", "a")
    for split, expected in {"train": [0, 3, 0, 2, 1, 0, 3, 2, 1], "valid": [3, 2, 1], "test": [2, 0]}.items():
        assert in_memory[split].tolist() == mapped[split].tolist() == expected
        assert np.fromfile(tmp_path / f"{split}.ids", "<i4").tolist() == expected
    with pytest.raises(UnknownWordError, match=r"'dog' \(x/test\.txt, line 3\)"):
        encode_words(
            texts(test=b"a\na b\nb a dog a"), TextFormat(tokenizer=Vocabulary(["a", "b", "train", "text", "<eos>"]))
        )


@pytest.mark.parametrize(
    ("size", "expected"), [(1, 2000), (499_999, 2000), (500_000, 4000), (10**7, 8000), (5 * 10**7, 16_000)]
)
def test_longer_texts_have_more_subwords(size, expected):
    assert num_subwords(size) == expected


@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.parametrize(
    ("normalizer", "line", "read"),
    [
        ({"type": "Replace", "pattern": {"String": "zebra"}, "content": ""}, "a zebra too", "'zebra too' and gave"),
        ({"type": "Lowercase"}, "the Cat", "'Cat' and gave back 'cat'"),
    ],
)
def test_what_a_tokenizer_loses_anywhere_is_noticed(split, normalizer, line, read):
    content = json.loads(Subwords.train(["the cat sat on the mat"] * 3, 270)._content)
    content["normalizer"] = {"type": "Sequence", "normalizers": [normalizer, content["normalizer"]]}
    format = TextFormat(tokenizer=Subwords(json.dumps(content)))
    before = "the mat\n\n" * 200
    assert encode_paragraphs(texts(train=before.encode()), format)[2]["train"].bytes == 200 * len("the mat ")
    with pytest.raises(DataError, match=f"gives back what it read. It read {read}"):
        encode_paragraphs(texts(**{split: f"{before}{line}\n\nthe mat\n".encode()}), format)


def test_letters_that_no_piece_writes_are_counted(monkeypatch):
    tokenizer = tokenizers.SentencePieceBPETokenizer()
    tokenizer.train_from_iterator(["the cat sat on the mat"] * 3, 60, special_tokens=["<unk>", "</s>"])
    format = TextFormat(tokenizer=Subwords(tokenizer.to_str()))
    monkeypatch.setattr(encoding, "_COMPARED", 2)
    given = texts(train=b"the cat\n\nsat on\n\nthe zebra\n", valid=b"the mat\n", test=b"the gnu\n")
    counted = encode_paragraphs(given, format)[2]
    assert {split: counts.unknown for split, counts in counted.items()} == {"train": 3, "valid": 0, "test": 2}
