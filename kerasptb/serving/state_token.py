"""A recurrent state as text, which a client passes from one request to the next.

A token is the base64 form of a version, the fingerprint of the model, the state as little-endian float32, and a digest
of these. The digest detects a damaged token. It is not a signature: a client that invents a state gets the predictions
of that state, and no other client is affected. So any server of the same model accepts it, also after a restart.
"""

import base64
import binascii
import hashlib

import numpy as np

from kerasptb.serving.errors import BadRequestError

_VERSION = b"\x01"
_DIGEST_SIZE = 8
# A cell's state grows by at most 1 per word. Far larger numbers would give NaN in place of probabilities.
_LARGEST = 1e6


def encode_state(state, fingerprint):
    """Returns a state as a token, of letters, digits, `-` and `_`.

    Args:
        state: float32 [S].
        fingerprint: hexadecimal digest of the model.
    """
    content = _VERSION + bytes.fromhex(fingerprint) + np.asarray(state, "<f4").tobytes()
    return base64.urlsafe_b64encode(content + _digest(content)).rstrip(b"=").decode()


def decode_state(token, fingerprint, state_size):
    """Returns the state of a token, float32 [S].

    Args:
        token: the result of `encode_state`.
        fingerprint: hexadecimal digest of the model that the state is for.
        state_size: number S of floats.

    Raises:
        BadRequestError: if it is not a token, is damaged, or belongs to another model.
    """
    again = "Begin again without a state."
    try:
        content = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        content = b""
    content, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    if content[:1] != _VERSION or digest != _digest(content):
        raise BadRequestError(f"`state` is not what an earlier answer gave, whole and unchanged. {again}")
    model = bytes.fromhex(fingerprint)
    if not content.startswith(model, 1):
        raise BadRequestError(f"`state` belongs to another model than the one served here, {fingerprint}. {again}")
    state = content[1 + len(model) :]
    # Anyone can compute the digest, so neither size nor values can be trusted.
    if len(state) != 4 * state_size or not (np.abs(np.frombuffer(state, "<f4")) <= _LARGEST).all():
        raise BadRequestError(f"`state` does not hold {state_size} numbers such as a model's state has. {again}")
    return np.frombuffer(state, "<f4").astype(np.float32)


def _digest(content):
    return hashlib.blake2b(content, digest_size=_DIGEST_SIZE).digest()
