import json
import struct
import time

import pytest

from kerasptb.data import DataError, Subwords
from kerasptb.data.tokenizers.sentence_piece import convert

SPACE = "\u2581"


def field(number, value):
    """A field of a message of protocol buffers."""
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value):
    content = b""
    while value >= 0x80:
        content += bytes([value & 0x7F | 0x80])
        value >>= 7
    return content + bytes([value])


def model_of(pieces, model_type=1, byte_fallback=True, prefix=True, extra_spaces=True):
    content = b"".join(
        field(1, field(1, text.encode()) + field(2, float(score)) + (field(3, kind) if kind != 1 else b""))
        for text, score, kind in pieces
    )
    trainer = field(3, model_type) + field(35, int(byte_fallback)) + field(999, b"something new")
    return content + field(2, trainer) + field(3, field(3, int(prefix)) + field(4, int(not extra_spaces)))


BYTES = [(f"<0x{byte:02X}>", -20.0, 6) for byte in range(256)]
SPECIAL = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]


@pytest.mark.parametrize("prefix", [True, False])
def test_unigrams_are_cut_by_their_scores(prefix):
    words = [(f"{SPACE}the", -1, 1), (f"{SPACE}", -3, 1), ("the", -2.5, 1), ("cat", -4, 1), ("c", -6, 1), ("at", -3, 1)]
    subwords = Subwords(convert(model_of([*SPECIAL, *words, *BYTES], prefix=prefix)))
    assert subwords.kind == "subwords"
    assert subwords.pieces[subwords.eos_id] == b"\n"
    ids = subwords.encode("the cat\nthe dog\n")
    assert subwords.decode(ids) == "the cat\nthe dog\n"
    first = f"{SPACE}the" if prefix else "the"
    assert subwords.to_tokens(ids)[:4] == [first, SPACE, "cat", "<0x0A>"]
    assert (subwords.first, subwords.unk_id) == (" " if prefix else "", None)
    for text in ("two  spaces", " a space first", "any letter: ж", "the cat"):
        subwords.check_faithful(text)


def test_byte_pairs_are_merged_by_their_scores():
    letters = [(letter, -30.0, 1) for letter in [SPACE, *"abt"]]
    merged = [("ab", 0.0, 1), ("at", -1.0, 1), (f"{SPACE}ab", -2.0, 1)]
    subwords = Subwords(convert(model_of([*SPECIAL, *merged, *letters, *BYTES], model_type=2)))
    assert subwords.to_tokens(subwords.encode("ab abat")) == [f"{SPACE}ab", f"{SPACE}ab", "at"]
    assert subwords.decode(subwords.encode("aé t")) == "aé t"


def test_spaces_that_are_left_out_are_not_given_back():
    subwords = Subwords(convert(model_of([*SPECIAL, (SPACE, -1, 1), *BYTES], extra_spaces=False)))
    subwords.check_faithful("one space")
    with pytest.raises(DataError, match=r"gives back what it read.*' spaces' and gave back 'spaces'"):
        subwords.check_faithful("two  spaces")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x01\x02",
        b"PK\x03\x04 something else",
        model_of([*SPECIAL, ("a", -1, 1)])[:-3],
        model_of([("a", -1, 1)]),
        model_of([*SPECIAL, ("a", -1, 1)], model_type=3),
        model_of([*SPECIAL, ("a", -1, 4)], model_type=2),
        model_of([*SPECIAL, ("a", -1, 1)]) + field(3, field(5, 0)),
        field(1, field(1, 7)),
        json.dumps(["a", "b"]).encode(),
    ],
    ids=range(10),
)
def test_what_is_none_is_named(tmp_path, content):
    (tmp_path / "bpe.model").write_bytes(content)
    with pytest.raises(DataError, match=r"bpe\.model is not a tokenizer\.json or \.model that can be used\. Expected"):
        Subwords.load(tmp_path / "bpe.model")


def test_a_damaged_file_costs_no_more_than_it_holds():
    with_table = model_of([*SPECIAL, *BYTES]) + field(3, field(2, b"\xff\xff\xff\xff" + bytes(4)))
    begun = time.process_time()
    for content in (b"\xff" * 1_000_000, field(1, field(3, 2)) * 100_000):
        with pytest.raises(DataError):
            Subwords(convert(content))
    with pytest.raises(DataError, match="table of characters is damaged"):  # the library would take 8 GB
        Subwords(convert(with_table))
    long = convert(model_of([*SPECIAL, ("a" * 1_000_000, -1, 1), *BYTES], model_type=2))
    assert json.loads(long)["model"]["merges"] == []
    assert time.process_time() - begun < 10  # it was minutes


def test_a_number_has_ten_bytes_at_most():
    content = model_of([*SPECIAL, *BYTES])
    assert Subwords(convert(content + b"\xa0\x06" + b"\xff" * 9 + b"\x01")).kind == "subwords"
    with pytest.raises(DataError, match=r"Expected a tokenizer\.json or a SentencePiece model"):
        convert(content + b"\xa0\x06" + b"\xff" * 10 + b"\x01")


def test_what_is_written_like_a_byte_and_is_none_is_letters():
    pieces = Subwords(convert(model_of([*SPECIAL, ("<0xZZ>", -1, 1), ("<0x+5>", -2, 1), *BYTES]))).pieces
    assert pieces[3:5] == (b"<0xZZ>", b"<0x+5>")
    assert pieces[5:261] == (*(bytes([i]) for i in range(256)),)


def test_letters_without_a_piece_are_unknown():
    letters = [(letter, -2.0, 1) for letter in [SPACE, *"abt"]]
    subwords = Subwords(convert(model_of([*SPECIAL, *letters], byte_fallback=False)))
    assert subwords.unk_id == 0
    assert (subwords.encode("ab xt") == 0).sum() == 1
    subwords.check_faithful("ab t")
    with pytest.raises(DataError, match="gives back what it read"):
        subwords.check_faithful("ax")


def test_a_model_is_kept_as_tokenizer_json(tmp_path):
    (tmp_path / "bpe.model").write_bytes(model_of([*SPECIAL, (f"{SPACE}the", -1, 1), *BYTES]))
    subwords = Subwords.load(tmp_path / "bpe.model")
    subwords.save(tmp_path / "tokenizer.json")
    again = Subwords.load(tmp_path / "tokenizer.json")
    assert again == subwords
    assert again.encode("the cat").tolist() == subwords.encode("the cat").tolist()
