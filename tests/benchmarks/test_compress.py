import numpy as np
import pytest

import kerasptb
from benchmarks.compress import Decoder, Encoder, compress, decompress, ends_of_shares, main, spaces_lost
from kerasptb.reading import counts
from kerasptb.reading.context import Context
from kerasptb.reading.counted_reader import CountedReader, CountedText


class Fixed:
    """Reads whatever comes with the rows of log probabilities that were given, float32 [N, V]."""

    state_size = 1

    def __init__(self, rows):
        self._rows, self.tokenizer = rows, range(rows.shape[1])

    def extend(self, contexts, tokens):
        place = int(contexts[0].state[0])
        return [Context(np.array([place + 1], "float32"), self._rows[place])]


def distributions(number, size, spread):
    rows = np.random.default_rng(0).normal(size=(number, size)) * spread
    return np.array(rows - np.logaddexp.reduce(rows, axis=1, keepdims=True), "float32")


@pytest.mark.parametrize(("number", "size", "spread"), [(3000, 300, 2.0), (3000, 2, 0.1), (20, 4, 1.0)])
def test_a_text_takes_as_many_bits_as_its_probabilities_say(number, size, spread):
    rows, random = distributions(number, size, spread), np.random.default_rng(1)
    drawn = [random.choice(size, p=(p := np.exp(row, dtype="float64")) / p.sum()) for row in rows]
    ids = [size - 1, *map(int, drawn)]
    written = compress(Fixed(rows), ids)
    bits = np.log2(size) - rows[np.arange(number), ids[1:]].sum(dtype="float64") / np.log(2)
    assert 0 <= len(written) - 4 - bits / 8 < 2.01
    assert decompress(Fixed(rows), written) == ids


def test_tokens_without_a_probability_take_32_bits_each():
    rows = np.full((500, 7), -np.inf, "float32")
    rows[:, 3] = 0.0
    ids = [0, *[5, 6] * 250]
    written = compress(Fixed(rows), ids)
    assert len(written) == pytest.approx(500 * 4 + 4, abs=3)
    assert decompress(Fixed(rows), written) == ids


def test_a_text_of_one_token_or_none_takes_no_bits():
    for ids in ([], [0], [0] * 1000):
        written = compress(Fixed(np.zeros((1000, 1), "float32")), ids)
        assert written == len(ids).to_bytes(4, "big")
        assert decompress(Fixed(np.zeros((1000, 1), "float32")), written) == ids


def test_a_carry_goes_through_all_that_was_written():
    ends, encoder, tokens = np.array([0, 2**31 - 1, 2**31 + 1, 2**32]), Encoder(), [1, 1, 1, 1, 2]
    for token in tokens:  # about the middle, and then above it
        before = bytes(encoder._written)
        encoder.write(int(ends[token]), int(ends[token + 1]), 2**32)
    assert before == b"\x7f" + b"\xff" * 14
    written = encoder.end()
    assert written[:15] == b"\x80" + b"\0" * 14
    decoder = Decoder(written)
    assert [decoder.read(ends) for _ in tokens] == tokens


def test_each_token_has_a_part_and_all_have_what_there_is():
    ends = ends_of_shares(np.log(np.array([0.5, 1e-30, 0.25, 0.25], "float32")))
    assert np.diff(ends)[1] == 1
    np.testing.assert_allclose(np.diff(ends)[[0, 2, 3]], [2**31, 2**30, 2**30], rtol=1e-8)
    assert 2**32 - 4 <= ends[-1] <= 2**32


def test_english_gives_back_a_text_to_the_byte(tmp_path, capsys):
    text = "\"I'd like to see it\u2014at once,\" said the doctor's wife.\n  Then \u65e5\u672c came \U0001f600.\n"
    path = tmp_path / "text.txt"
    path.write_text(text * 10, encoding="utf-8", newline="")
    main(["english", "--data", str(path), "--split", "all", "--csv", str(tmp_path / "rows.csv")])
    told = dict(each.split(" ", 1) for each in capsys.readouterr().out.split(", "))
    assert (told["exact"], told["spaces_lost"], int(told["bytes"])) == ("yes", "0", len(text.encode()) * 10)
    assert abs(float(told["coder"]) - float(told["evaluate"])) * int(told["bytes"]) < 13 + 8 * 6


def test_counts_read_and_write_alike_and_shorten_what_they_know():
    english = kerasptb.load_reader("english")
    ids = english.tokenizer.encode("the cats and the dogs sleep\n" * 9)
    weights = [counts.initial_weights()] * 3
    both = CountedReader(english, CountedText(ids, counts.sort_positions(ids, len(english.tokenizer)), *weights))
    written, alone = compress(both, ids.tolist()), compress(english, ids.tolist())
    assert decompress(both, written) == ids.tolist()
    assert len(written) < 0.8 * len(alone)


def test_spaces_that_a_text_lacks_are_counted(tmp_path):
    (tmp_path / "ptb.test.txt").write_bytes(b" a b \n c \n")
    assert spaces_lost(b"a b\nc\n", tmp_path, "test") == 4
    assert spaces_lost(b"a <unk>\nc\n", tmp_path, "test") is None
    assert spaces_lost(b"a b\nc\n", tmp_path, "valid") is None
