import base64
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasptb.serving.errors import BadRequestError
from kerasptb.serving.state_token import decode_state, encode_state

FINGERPRINT = "0123456789abcdef"
STATE = np.array([0.5, -1e-30, 3.25, 0.0], np.float32)


def forged(content):
    return base64.urlsafe_b64encode(content + hashlib.blake2b(content, digest_size=8).digest()).decode()


def test_a_state_comes_back_to_the_bit():
    assert decode_state(encode_state(STATE, FINGERPRINT), FINGERPRINT, 4).tobytes() == STATE.tobytes()


def test_a_token_is_safe_in_a_url():
    assert set(encode_state(np.arange(99, dtype=np.float32), FINGERPRINT)) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    )


@settings(deadline=None)
@given(st.text(max_size=60))
def test_what_is_no_token_is_refused(token):
    with pytest.raises(BadRequestError, match="Begin again without a state"):
        decode_state(token, FINGERPRINT, 4)


@settings(deadline=None)
@given(st.data())
def test_any_changed_character_is_noticed(data):
    token = encode_state(STATE, FINGERPRINT)
    i = data.draw(st.integers(0, len(token) - 2))  # the last character holds bits that stand for nothing
    character = data.draw(st.sampled_from("ABxyz012-_").filter(lambda c: c != token[i]))
    with pytest.raises(BadRequestError, match="whole and unchanged"):
        decode_state(token[:i] + character + token[i + 1 :], FINGERPRINT, 4)


def test_a_token_of_another_model_is_refused():
    with pytest.raises(BadRequestError, match="another model"):
        decode_state(encode_state(STATE, "fedcba9876543210"), FINGERPRINT, 4)


@pytest.mark.parametrize("values", [[], [1.0] * 3, [1.0] * 5, [1.0, 2.0, np.nan, 0.0], [np.inf] * 4, [3e38] * 4])
def test_a_forged_token_of_a_wrong_size_or_values_is_refused(values):
    content = b"\x01" + bytes.fromhex(FINGERPRINT) + np.array(values, "<f4").tobytes()
    with pytest.raises(BadRequestError, match="4 numbers such as"):
        decode_state(forged(content), FINGERPRINT, 4)
