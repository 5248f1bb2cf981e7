import base64
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasptb.data import EOS, Subwords, Vocabulary
from kerasptb.data.word_cache import MAX_CHARACTERS, MAX_NEW, WINDOW, TypedWords, WordCache
from kerasptb.serving.errors import StateError
from kerasptb.serving.state_token import decode_state, encode_state, largest_token

FINGERPRINT = "0123456789abcdef"
VOCABULARY = Vocabulary(["the", "<unk>", "cat"])
STATE = np.array([0.5, -1e-30, 3.25, 0.0], np.float32)


def forged(content):
    return base64.urlsafe_b64encode(content + hashlib.blake2b(content, digest_size=8).digest()).decode()


def test_a_state_comes_back_to_the_bit():
    state, cache, begins = decode_state(encode_state(STATE, FINGERPRINT), FINGERPRINT, 4, VOCABULARY)
    assert state.tobytes() == STATE.tobytes()
    assert (cache, begins) == (None, False)


def test_a_paragraph_that_begins_comes_back_with_the_state():
    for cache in (None, WordCache(VOCABULARY, [0], [])):
        token = encode_state(STATE, FINGERPRINT, cache, begins=True)
        assert decode_state(token, FINGERPRINT, 4, VOCABULARY)[2] is True


def test_unknown_flags_are_refused():
    content = b"\x04" + bytes.fromhex(FINGERPRINT) + STATE.tobytes()
    with pytest.raises(StateError, match="whole and unchanged"):
        decode_state(forged(content), FINGERPRINT, 4, VOCABULARY)


def test_a_token_is_safe_in_a_url():
    assert set(encode_state(np.arange(99, dtype=np.float32), FINGERPRINT)) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    )


@settings(deadline=None)
@given(st.text(max_size=60))
def test_what_is_no_token_is_refused(token):
    with pytest.raises(StateError, match="Begin again without a state"):
        decode_state(token, FINGERPRINT, 4, VOCABULARY)


@settings(deadline=None)
@given(st.data())
def test_any_changed_character_is_noticed(data):
    token = encode_state(STATE, FINGERPRINT)
    i = data.draw(st.integers(0, len(token) - 2))  # the last character holds bits that stand for nothing
    character = data.draw(st.sampled_from("ABxyz012-_").filter(lambda c: c != token[i]))
    with pytest.raises(StateError, match="whole and unchanged"):
        decode_state(token[:i] + character + token[i + 1 :], FINGERPRINT, 4, VOCABULARY)


def test_a_token_of_another_model_is_refused():
    with pytest.raises(StateError, match="another model"):
        decode_state(encode_state(STATE, "fedcba9876543210"), FINGERPRINT, 4, VOCABULARY)


@pytest.mark.parametrize("values", [[], [1.0] * 3, [1.0] * 5, [1.0, 2.0, np.nan, 0.0], [np.inf] * 4, [3e38] * 4])
def test_a_forged_token_of_a_wrong_size_or_values_is_refused(values):
    content = b"\x01" + bytes.fromhex(FINGERPRINT) + np.array(values, "<f4").tobytes()
    with pytest.raises(StateError, match="4 numbers such as"):
        decode_state(forged(content), FINGERPRINT, 4, VOCABULARY)


@pytest.mark.parametrize("size", [3, 70_000])
@pytest.mark.parametrize(("ids", "new_words"), [([], []), ([0, 2, 0], []), ([0, 3, 1, 4, 3], ["zebra", "café"])])
def test_words_come_back_with_the_state(size, ids, new_words):
    vocabulary = Vocabulary([*VOCABULARY.words, *(f"w{i}" for i in range(size - 3))])
    ids = [i if i < 3 else i - 3 + size for i in ids]
    token = encode_state(STATE, FINGERPRINT, WordCache(vocabulary, ids, new_words))
    state, cache, _ = decode_state(token, FINGERPRINT, 4, vocabulary)
    assert state.tobytes() == STATE.tobytes()
    assert (cache.ids.tolist(), list(cache.new_words)) == (ids, new_words)
    assert len(token) <= largest_token(4, size)


def test_the_largest_token():
    new_words = [f"{i:03}" + "\U0001d51e" * (MAX_CHARACTERS - 3) for i in range(MAX_NEW)]
    token = encode_state(STATE, FINGERPRINT, WordCache(VOCABULARY, [1] * WINDOW, new_words))
    assert 0.9 * largest_token(4, 3) < len(token) <= largest_token(4, 3)
    assert decode_state(token, FINGERPRINT, 4, VOCABULARY)[1].new_words == tuple(new_words)


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"\x00",
        b"\x02\x00" + b"\x00" * 3,
        b"\x01\x00" + b"\x03\x00",  # one id too far
        b"\x01\x00" + b"\x04\x00" + b"zebra",
        b"\x00\x00" + b"a b",
        b"\x00\x00" + b"a\n\nb",
        b"\x00\x00" + b"\xff\xfe",
        b"\x00\x00" + b"z" * (MAX_CHARACTERS + 1),
        b"\x00\x00" + b"\n".join([b"z"] * (MAX_NEW + 1)),
        (WINDOW + 1).to_bytes(2, "little") + b"\x00" * 2 * (WINDOW + 1),
    ],
)
def test_forged_words_are_refused(words):
    content = b"\x02" + bytes.fromhex(FINGERPRINT) + STATE.tobytes() + words
    with pytest.raises(StateError, match=r"does not hold .* Begin again"):
        decode_state(forged(content), FINGERPRINT, 4, VOCABULARY)


def test_a_vocabulary_without_unk_has_no_new_words():
    content = b"\x02" + bytes.fromhex(FINGERPRINT) + STATE.tobytes() + b"\x00\x00zebra"
    with pytest.raises(StateError, match="does not hold words"):
        decode_state(forged(content), FINGERPRINT, 4, Vocabulary(["the"]))


def test_words_written_out_come_back_but_for_the_oldest_of_very_many():
    characters = Subwords.characters()
    words = (EOS, "the", "caf\u00e9", ",", "zebra")
    _, cache, _ = decode_state(encode_state(STATE, FINGERPRINT, TypedWords(words)), FINGERPRINT, 4, characters)
    assert cache.words == words
    many = [f"{i:04}" + "\U0001d51e" * (MAX_CHARACTERS - 4) for i in range(WINDOW)]
    token = encode_state(STATE, FINGERPRINT, TypedWords(many))
    kept = decode_state(token, FINGERPRINT, 4, characters)[1].words
    assert len(token) <= largest_token(4, 256)
    assert kept == tuple(many[-len(kept) :])
    assert len(kept) > 200


@pytest.mark.parametrize(
    "words", [b"\xff", b"a b", b"a\n\nb", b"z" * (MAX_CHARACTERS + 1), b"\n".join([b"z"] * (WINDOW + 1))]
)
def test_forged_words_written_out_are_refused(words):
    content = b"\x02" + bytes.fromhex(FINGERPRINT) + STATE.tobytes() + words
    with pytest.raises(StateError, match=r"does not hold words .* Begin again"):
        decode_state(forged(content), FINGERPRINT, 4, Subwords.characters())
