import base64
import hashlib
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasptb.data import EOS
from kerasptb.keyboard.memory import MAX_CHARACTERS, WINDOW, Memory
from kerasptb.serving.errors import StateError
from kerasptb.serving.state_token import decode_state, encode_state, largest_token

FINGERPRINT = "0123456789abcdef"
STATE = np.array([0.5, -1e-30, 3.25, 0.0], np.float32)


def forged(content):
    return base64.urlsafe_b64encode(content + hashlib.blake2b(content, digest_size=8).digest()).decode()


def test_a_state_comes_back_to_the_bit():
    state, cache, end = decode_state(encode_state(STATE, FINGERPRINT), FINGERPRINT, 4)
    assert state.tobytes() == STATE.tobytes()
    assert (cache, end) == (None, "a")


@pytest.mark.parametrize(
    ("whole", "end"),
    [("The cat\n", "\n"), ('He said, "', "("), ("(“", "("), ('He said, "I"', "a"), ("The cat, ", "a"), ('"\n', "\n")],
)
def test_how_a_text_ends_comes_back_with_the_state(whole, end):
    for cache in (None, Memory(["the"])):
        token = encode_state(STATE, FINGERPRINT, cache, whole)
        assert decode_state(token, FINGERPRINT, 4)[2] == end


@pytest.mark.parametrize("flags", [b"\x05", b"\x08"])
def test_unknown_flags_are_refused(flags):
    content = flags + bytes.fromhex(FINGERPRINT) + STATE.tobytes()
    with pytest.raises(StateError, match="whole and unchanged"):
        decode_state(forged(content), FINGERPRINT, 4)


def test_a_token_is_safe_in_a_url():
    assert set(encode_state(np.arange(99, dtype=np.float32), FINGERPRINT)) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    )


@given(st.text(max_size=60))
def test_what_is_no_token_is_refused(token):
    with pytest.raises(StateError, match="Begin again without a state"):
        decode_state(token, FINGERPRINT, 4)


@given(st.data())
def test_any_changed_character_is_noticed(data):
    token = encode_state(STATE, FINGERPRINT)
    i = data.draw(st.integers(0, len(token) - 2))  # the last character holds bits that stand for nothing
    character = data.draw(st.sampled_from("ABxyz012-_").filter(lambda c: c != token[i]))
    with pytest.raises(StateError, match="whole and unchanged"):
        decode_state(token[:i] + character + token[i + 1 :], FINGERPRINT, 4)


def test_a_token_of_another_model_is_refused():
    with pytest.raises(StateError, match="another model"):
        decode_state(encode_state(STATE, "fedcba9876543210"), FINGERPRINT, 4)


@pytest.mark.parametrize("values", [[], [1.0] * 3, [1.0] * 5, [1.0, 2.0, np.nan, 0.0], [np.inf] * 4, [3e38] * 4])
def test_a_forged_token_of_a_wrong_size_or_values_is_refused(values):
    content = b"\x01" + bytes.fromhex(FINGERPRINT) + np.array(values, "<f4").tobytes()
    with pytest.raises(StateError, match="4 numbers such as"):
        decode_state(forged(content), FINGERPRINT, 4)


def test_words_come_back_with_the_state():
    words = [EOS, "the", "caf\u00e9", ",", "zebra", "the"]
    state, memory, _ = decode_state(encode_state(STATE, FINGERPRINT, Memory(words)), FINGERPRINT, 4)
    assert state.tobytes() == STATE.tobytes()
    assert memory.words == words


def test_the_oldest_of_very_many_long_words_are_left_out():
    random = np.random.default_rng(0)
    many = ["".join(map(chr, random.integers(0x1D400, 0x1D7FF, MAX_CHARACTERS))) for _ in range(WINDOW)]
    token = encode_state(STATE, FINGERPRINT, Memory(many))
    kept = decode_state(token, FINGERPRINT, 4)[1].words
    assert len(token) <= largest_token(4)
    assert kept == many[-len(kept) :]
    assert len(kept) > 100


def test_words_of_a_usual_text_take_little():
    words = [f"{first}{last}" for first in ("the", "a", "on", "comp", "mar") for last in ("", "ing", "ed", "any")] * 100
    assert len(encode_state(STATE, FINGERPRINT, Memory(words))) < 4_000


@pytest.mark.parametrize(
    "words",
    [
        b"\xff",
        b"a b",
        b"a\n\nb",
        b"z" * (MAX_CHARACTERS + 1),
        b"\n".join([b"z"] * (WINDOW + 1)),
        b"z\n" * 10_000_000,  # it is not written out
    ],
)
def test_forged_words_are_refused(words):
    for content in (zlib.compress(words), words[:100]):
        whole = b"\x02" + bytes.fromhex(FINGERPRINT) + STATE.tobytes() + content
        with pytest.raises(StateError, match=r"does not hold words .* Begin again"):
            decode_state(forged(whole), FINGERPRINT, 4)
