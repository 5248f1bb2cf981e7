import json

import pytest
import tensorflow as tf
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasptb.conversion.byte_pairs import BytePairs
from kerasptb.data import Subwords
from kerasptb.data.signs import Signs, absent_signs

TEXTS = [
    "",
    "Once upon a time",
    "\nOnce\n\nupon a\n",
    "  the   cat  \n sat\t\ton\r\n\x0b mat \u3000!",
    "it's the cat's, we'll 's 'll ''s don't",
    "1,234 – Straße 你好 ½ ٣ \x00\x01\x1c\x85\xa0 \u200b\u180e 😀e\u0301",
    "of\x1f\n \x1c\n mat\x1d",
    "ooooonnnnn onceonceonce the the",
    f"{'tatata' * 300}{'once' * 500}{'a' * 1001}",
]


@pytest.fixture(scope="module", params=["subwords", "characters"])
def pair(request, subwords):
    """A tokenizer, and the same in the graph."""
    tokenizer = subwords if request.param == "subwords" else Subwords.characters()
    pairs = BytePairs(tokenizer)
    pairs.encode = tf.function(pairs.encode, input_signature=[tf.TensorSpec([None], tf.string)])
    return tokenizer, pairs


def check(pair, texts):
    tokenizer, pairs = pair
    tokens, lengths = pairs.encode(tf.constant(texts, tf.string))
    for text, row, length in zip(texts, tokens.numpy(), lengths.numpy(), strict=True):
        expected = tokenizer.encode_typed(text).tolist()
        assert row.tolist() == expected + [-1] * (len(row) - len(expected)), text
        assert length == len(expected)
    assert [text.decode() for text in pairs.decode(tokens).numpy()] == [
        tokenizer.decode(tokenizer.encode_typed(text)) for text in texts
    ]


@pytest.mark.fast_cases(1)
def test_the_graph_reads_and_writes_texts_as_the_library_does(pair):
    check(pair, TEXTS)


@pytest.mark.parametrize("own", ["'\"-...--", "“’”—…"])
def test_the_graph_reads_signs_as_a_format_does(own):
    tokenizer, texts = Subwords.characters(), ['"Don\'t," (“she” said)... ', '“Don’t,” ("she" said)… "\'Yes\'" -- no—']
    signs = Signs(absent_signs([own]))
    tokens, lengths = BytePairs(tokenizer, signs.readings).encode(tf.constant(texts))
    for text, row, length in zip(texts, tokens.numpy(), lengths.numpy(), strict=True):
        assert tokenizer.decode(row[:length]).strip("\n") == signs.read(text)


def test_what_a_merge_makes_may_be_merged_before_others_like_it():
    # "a"+"bc" makes "abc" last, which is merged with "a" before.
    letters = Subwords.characters()
    content = json.loads(letters._content)
    merges = [["b", "c"], ["a", "b"], ["ab", "c"], ["abc", "a"], ["a", "bc"]]
    for pair in merges:
        content["model"]["vocab"].setdefault("".join(pair), len(content["model"]["vocab"]))
    tokenizer = Subwords(json.dumps(content | {"model": content["model"] | {"merges": merges}}))
    check((tokenizer, BytePairs(tokenizer)), ["abcabcabc", "xabcabcaabc"])
    assert tokenizer.to_tokens(tokenizer.encode("abcabc")) == ["abca", "bc"]


@pytest.mark.fast_cases(1)
@settings(max_examples=100)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cn", "Co"])), min_size=1, max_size=3))
def test_any_texts_are_read_so(pair, texts):
    check(pair, texts)


def test_bytes_that_are_no_utf8_and_ids_that_are_none(pair):
    tokenizer, pairs = pair
    tokens, _ = pairs.encode(tf.constant([b"the \xff cat"]))
    assert tokens.numpy()[0].tolist() == tokenizer.encode_typed("the \ufffd cat").tolist()
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"ids from 0 to {len(tokenizer) - 1}"):
        pairs.decode(tf.constant([[len(tokenizer)]]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least one text"):
        pairs.encode(tf.constant([], tf.string))


def test_other_rules_are_not_taken_for_these(subwords, tmp_path):
    content = json.loads(subwords._content)
    added = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    for part, value in (
        ("normalizer", {"type": "NFC"}),
        ("pre_tokenizer", content["pre_tokenizer"] | {"use_regex": False}),
        ("model", content["model"] | {"ignore_merges": True}),
        ("model", content["model"] | {"merges": content["model"]["merges"][:1] * 2}),
        ("added_tokens", [{"id": 1, "content": subwords.tokens[1], **added}]),
    ):
        assert Subwords(json.dumps(content | {part: value})).merges is None, part
    path = tmp_path / "tokenizer.json"
    pieces = tokenizers.SentencePieceBPETokenizer()
    pieces.train_from_iterator(["the cat sat"], 200, special_tokens=["<unk>", "</s>"], show_progress=False)
    pieces.save(str(path))
    assert Subwords.load(path).merges is None
