import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kerasptb.conversion.text import TextReader, with_known_signs
from kerasptb.data import Vocabulary
from kerasptb.data.signs import Signs, absent_signs
from kerasptb.utils.errors import ExportError

SENTENCES = [
    "",
    "the cat sat on the mat",
    "The company said it doesn't know.",
    "Mr. Fox jumps; MR. fox didn't!",
    "It's 3.5% of $40, or 1,200-odd shares in the U.S.",
    "3 cats, 33 dogs and 3-4 foxes",
    "we're, they'll, I'd've, can't've",
    "می\u200cخواهم a\u200cb",
    "don’t ‘quote’ “me”",
    "a well-known CAFÉ in 日本, Straße İstanbul ΟΔΟΣ",
    "two\nlines\r\nthree\n\nfour\u2028five\x85six\x0bseven",
    "odd\xa0spaces\u3000and\ttabs \x1f here\u200bnot",
    "<eos> <unk> <EOS> N n 's S's",
    "emoji 😀 é zero\x00width ½ ٣ ②",
    "*** --- ... _under_score_ a.b.c a--b -x- $%& &amp;",
    "n't 's nn't a's's's",
    "Inc. and INC. and MR.",
    "the 'séance' of 'Müller', don'té isn'tn't 's's's n't's\x02's",
]


@pytest.fixture(scope="module")
def reader(vocabulary, tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.txt"
    vocabulary.save(path)
    return traced(vocabulary, path)


def traced(vocabulary, path):
    """What reads words, as one graph: operation by operation a text takes ten times as long."""
    reader = TextReader(vocabulary, path)
    reader.encode = tf.function(reader.encode, input_signature=[tf.TensorSpec([None], tf.string)])
    return reader


def read(reader, text):
    tokens, lengths = reader.encode(tf.constant([text]))
    assert lengths.numpy().tolist() == [tokens.shape[1]]
    return tokens.numpy()[0].tolist()


@pytest.mark.parametrize("text", SENTENCES)
def test_the_graph_reads_a_text_as_python_does(reader, vocabulary, text):
    assert read(reader, text) == vocabulary.encode_typed(text).tolist()


_PIECES = st.sampled_from(
    ["the", "Mr.", "CAT", "don't", "'s", "n't", "3.5", "-", ".", "$", "’", "'", " ", "  ", "\n", "é", "日本", "\x02"]
)


@settings(max_examples=200)
@given(st.lists(_PIECES, max_size=12).map("".join))
@example("can't've")
def test_the_graph_reads_any_mix_of_pieces_as_python_does(reader, vocabulary, text):
    assert read(reader, text) == vocabulary.encode_typed(text).tolist()


OWN_WORDS = "<eos> <unk> In in Paris , « » . — N'T don't 'm Inc Inc. ' - नमस्ते cafe\u0301 İz ız IZ 3.5 $ 字 ſ ( [ ] ^ \\"
_OWN_PIECES = st.sampled_from([*OWN_WORDS.split(" ")[2:], *" \n\f\u2028\u200d\u0301’7!", "PARIS", "’s"])


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A vocabulary with capitals, punctuation and marks of its own, and what reads it."""
    vocabulary, path = Vocabulary(OWN_WORDS.split(" ")), tmp_path_factory.mktemp("vocabulary") / "vocabulary.txt"
    vocabulary.save(path)
    return vocabulary, traced(vocabulary, path)


@settings(max_examples=400)
@given(st.lists(_OWN_PIECES, max_size=12).map("".join))
@example("I'm (Inc., 'I'M, Inc.)")
@example("«In Paris, (don't) नमस्ते! cafe\u0301, [3.5] 'In' — ^İz IZ\\")
def test_the_graph_reads_a_text_of_ones_own_as_python_does(own, text):
    vocabulary, reader = own
    assert read(reader, text) == vocabulary.encode_typed(text).tolist()


@pytest.mark.parametrize("text", ['""hello"', 'say "" x', '(""" a""', 'a"" "', '""', "", '\x1c"a \v"b'])
def test_the_graph_reads_quotes_in_a_row_as_python_does(text):
    signs = Signs(absent_signs(["“a” it’s"]))
    (found,) = with_known_signs(tf.constant([text]), signs.readings).numpy()
    assert found.decode() == signs.read(text)


@pytest.mark.parametrize("locale", ["tr_TR.UTF-8", pytest.param("lt_LT.UTF-8", marks=pytest.mark.slow)])
def test_the_graph_reads_capitals_alike_in_every_locale(tmp_path, locale):
    Vocabulary(["<eos>", "<unk>", "it", "jìíĩį\u0301"]).save(tmp_path / "words.txt")
    code = (
        "import sys, tensorflow as tf; from kerasptb.data import Vocabulary; "
        "from kerasptb.conversion.text import TextReader; "
        "reader = TextReader(Vocabulary.load(sys.argv[1]), sys.argv[1]); "
        "print(reader.encode(tf.constant(['It IT JÌÍĨĮ\u0301']))[0].numpy().tolist())"
    )
    environment = {**os.environ, "LC_ALL": locale}
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "words.txt")], env=environment, capture_output=True, check=True
    )
    assert result.stdout.strip() == b"[[0, 2, 2, 3]]"


def test_the_graph_parts_words_where_python_does(reader, vocabulary):
    spaces = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()]
    text = "".join(f"Mr.{space}" for space in spaces)  # splitting leaves none of the spaces
    assert read(reader, text) == vocabulary.encode_typed(text).tolist()


def test_an_end_of_line_at_the_end_ends_the_sentence(reader, vocabulary):
    assert read(reader, "the cat\n") == [*vocabulary.encode_typed("the cat").tolist(), vocabulary.eos_id]


def test_texts_of_a_batch_are_padded_with_zeros(reader, vocabulary):
    tokens, lengths = reader.encode(tf.constant(["of to a", "", "zzz"]))
    of, to, a, eos, unk = (vocabulary.word_to_id[word] for word in ("of", "to", "a", "<eos>", "<unk>"))
    assert tokens.dtype == lengths.dtype == tf.int32
    assert tokens.numpy().tolist() == [[eos, of, to, a], [eos, 0, 0, 0], [eos, unk, 0, 0]]
    assert lengths.numpy().tolist() == [4, 1, 2]


def test_bytes_that_are_no_utf8_are_read_as_an_unknown_sign(reader, vocabulary):
    eos, the, unk = (vocabulary.word_to_id[word] for word in ("<eos>", "the", "<unk>"))
    assert read(reader, b"the \xff\xfe the") == [eos, the, the]
    assert read(reader, b"the a\xffb") == vocabulary.encode_typed("the a\ufffdb").tolist() == [eos, the, 6, unk]


def test_words_and_ids_go_both_ways(reader, vocabulary):
    ids = np.arange(len(vocabulary), dtype="int32").reshape(1, -1)
    words = [word.decode() for word in reader.decode(ids).numpy()[0]]
    assert tuple(words) == vocabulary.words


def test_no_text_at_all_is_refused(reader):
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least one text"):
        reader.encode(tf.constant([], tf.string))


def test_without_unk_unknown_words_are_refused(tmp_path):
    vocabulary = Vocabulary(["<eos>", "a", "b"])
    vocabulary.save(tmp_path / "vocabulary.txt")
    reader = TextReader(vocabulary, tmp_path / "vocabulary.txt")
    assert read(reader, "a b\na") == [0, 1, 2, 0, 1]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)no <unk>.*zebra"):
        reader.encode(tf.constant(["a zebra"]))


def test_without_eos_texts_begin_with_their_first_word(tmp_path):
    vocabulary = Vocabulary(["<unk>", "a", "b"])
    vocabulary.save(tmp_path / "vocabulary.txt")
    reader = TextReader(vocabulary, tmp_path / "vocabulary.txt")
    assert read(reader, "a b\na") == [1, 2, 1] == vocabulary.encode_typed("a b\na").tolist()
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least one word"):
        reader.encode(tf.constant(["a", " "]))


@pytest.mark.parametrize("word", ["a\0b", "\x02"])
def test_words_that_an_export_could_not_find_are_refused(tmp_path, word):
    vocabulary = Vocabulary(["<eos>", word])
    vocabulary.save(tmp_path / "words.txt")
    with pytest.raises(ExportError, match=f"Received: the word {re.escape(repr(word))}"):
        TextReader(vocabulary, tmp_path / "words.txt")
