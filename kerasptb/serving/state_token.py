"""A recurrent state as text, which a client passes from one request to the next.

A token is the base64 form of a byte of flags, the fingerprint of the model, the state as little-endian float32, and a
digest of these. The first flag says that a paragraph begins after it. With the second the last words that were typed
follow the state: of a model of words (see `WordCache`) how many, their ids, and the words that the model does not know;
else (see `TypedWords`) the words. The digest detects a damaged token. It is not a signature: a client that invents a
state gets the predictions of that state, and no other client is affected. So any server of the same model accepts it,
also after a restart. Nor is it a secret: whoever has a token can read these words in it.
"""

import base64
import binascii
import hashlib

import numpy as np

from kerasptb.data.word_cache import MAX_CHARACTERS, MAX_NEW, WINDOW, TypedWords, WordCache
from kerasptb.data.word_search import pieces_of
from kerasptb.serving.errors import StateError

_BEGINS, _WITH_WORDS = 1, 2
_DIGEST_SIZE = 8
# A cell's state grows by at most 1 per word. Far larger numbers would give NaN in place of probabilities.
_LARGEST = 1e6
# So many bytes of words that are written out are kept: those of 2,000 words and more in most languages.
_MAX_TYPED_BYTES = 32_000
_AGAIN = "Begin again without a state."


def encode_state(state, fingerprint, cache=None, begins=False):
    """Returns a state as a token, of letters, digits, `-` and `_`.

    Args:
        state: float32 [S].
        fingerprint: hexadecimal digest of the model.
        cache: the `WordCache` or `TypedWords` of the words typed before; `None` for none.
        begins: whether a paragraph begins after it.
    """
    flags = (_BEGINS if begins else 0) | (0 if cache is None else _WITH_WORDS)
    content = bytes([flags]) + bytes.fromhex(fingerprint) + np.asarray(state, "<f4").tobytes()
    if isinstance(cache, TypedWords):
        content += _newest("\n".join(cache.words).encode())
    elif cache is not None:
        ids = cache.ids.astype(_id_type(len(cache.vocabulary)))
        words = "\n".join(cache.new_words).encode()
        content += np.array(len(ids), "<u2").tobytes() + ids.tobytes() + words
    return base64.urlsafe_b64encode(content + _digest(content)).rstrip(b"=").decode()


def decode_state(token, fingerprint, state_size, tokenizer):
    """Returns what is in a token.

    Args:
        token: the result of `encode_state`.
        fingerprint: hexadecimal digest of the model that the state is for.
        state_size: number S of floats.
        tokenizer: the model's `Tokenizer`.

    Returns:
        state: float32 [S].
        cache: the `WordCache` or `TypedWords` of the words typed before; `None` if there is none in the token.
        begins: whether a paragraph begins after it.

    Raises:
        StateError: if it is not a token, is damaged, or belongs to another model.
    """
    try:
        content = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        content = b""
    content, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    if not content or content[0] > _BEGINS | _WITH_WORDS or digest != _digest(content):
        raise StateError(f"`state` is not what an earlier answer gave, whole and unchanged. {_AGAIN}")
    model = bytes.fromhex(fingerprint)
    if not content.startswith(model, 1):
        raise StateError(f"`state` belongs to another model than the one served here, {fingerprint}. {_AGAIN}")
    begin, end = 1 + len(model), 1 + len(model) + 4 * state_size
    state, words = content[begin:end], content[end:]
    with_words = bool(content[0] & _WITH_WORDS)
    # Anyone can compute the digest, so neither size nor values can be trusted.
    whole = len(state) == 4 * state_size and bool(words) == with_words
    if not whole or not (np.abs(np.frombuffer(state, "<f4")) <= _LARGEST).all():
        raise StateError(f"`state` does not hold {state_size} numbers such as a model's state has. {_AGAIN}")
    decode = _decode_words if pieces_of(tokenizer).are_words else _decode_typed
    cache = decode(words, tokenizer) if with_words else None
    return np.frombuffer(state, "<f4").astype(np.float32), cache, bool(content[0] & _BEGINS)


def largest_token(state_size, vocabulary_size):
    """Returns how many characters a token can have.

    Args:
        state_size: number S of floats of a state.
        vocabulary_size: number V of tokens.
    """
    words = 2 + WINDOW * _id_type(vocabulary_size).itemsize + MAX_NEW * (4 * MAX_CHARACTERS + 1)
    return (4 * (64 + 4 * state_size + words)) // 3


def _decode_words(content, vocabulary):
    """Returns the `WordCache` of the part of a token after the state."""
    id_type = _id_type(len(vocabulary))
    num_words = int.from_bytes(content[:2], "little")
    end = 2 + num_words * id_type.itemsize
    try:
        new_words = content[end:].decode().split("\n") if len(content) > end else []
    except UnicodeDecodeError:
        new_words = [""]
    ids = content[2:end]
    sound = (
        2 <= end <= len(content)
        and num_words <= WINDOW
        and len(new_words) <= MAX_NEW
        and all(0 < len(word) <= MAX_CHARACTERS and word.split() == [word] for word in new_words)
        and (vocabulary.unk_id is not None or not new_words)
        and (np.frombuffer(ids, id_type) < len(vocabulary) + len(new_words)).all()
    )
    if not sound:
        raise StateError(f"`state` does not hold words such as an answer's state has. {_AGAIN}")
    return WordCache(vocabulary, np.frombuffer(ids, id_type), new_words)


def _decode_typed(content, _):
    """Returns the `TypedWords` of the part of a token after the state."""
    try:
        words = content.decode().split("\n")
    except UnicodeDecodeError:
        words = [""]
    sound = len(words) <= WINDOW and all(len(word) <= MAX_CHARACTERS and word.split() == [word] for word in words)
    if not sound:
        raise StateError(f"`state` does not hold words such as an answer's state has. {_AGAIN}")
    return TypedWords(words)


def _newest(words):
    """Returns lines, one a word, without the oldest of more than `_MAX_TYPED_BYTES`."""
    return words if len(words) <= _MAX_TYPED_BYTES else words[-_MAX_TYPED_BYTES:].partition(b"\n")[2]


def _id_type(vocabulary_size):
    return np.dtype("<u2" if vocabulary_size + MAX_NEW <= 2**16 else "<u4")


def _digest(content):
    return hashlib.blake2b(content, digest_size=_DIGEST_SIZE).digest()
