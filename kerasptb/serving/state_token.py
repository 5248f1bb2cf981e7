"""A recurrent state as text, which a client passes from one request to the next.

A token is the base64 form of a byte of flags, the fingerprint of the model, the state as little-endian float32, and a
digest of these. The first flag says that a paragraph begins after it, the third that a quote or bracket was opened.
With the second the last words that were typed (see `Memory`) follow the state, compressed, one a line. The digest
detects a damaged token. It is not a signature: a client that invents a state gets the predictions of that state, and no
other client is affected. So any server of the same model accepts it, also after a restart. Nor is it a secret: whoever
has a token can read these words in it.
"""

import base64
import binascii
import hashlib
import zlib

import numpy as np

from kerasptb.data.tokenizers.tokenizer import Ending
from kerasptb.data.tokenizers.written_text import comes_unspaced
from kerasptb.keyboard.memory import MAX_CHARACTERS, WINDOW, Memory
from kerasptb.serving.errors import StateError

_WITH_WORDS = 2
# How the text before a state ends.
_ENDS = {Ending.LINE: 1, Ending.OPENING: 4, Ending.WORD: 0}
_DIGEST_SIZE = 8
# A cell's state grows by at most 1 per word. Far larger numbers would give NaN in place of probabilities.
_LARGEST = 1e6
# So many bytes of words are kept: those of 2,000 words and more in most languages.
_MAX_WORD_BYTES = 32_000
_AGAIN = "Begin again without a state."


def encode_state(state: np.ndarray, fingerprint: str, memory: Memory | None = None, whole: str = Ending.WORD) -> str:
    """Returns a state as a token, of letters, digits, `-` and `_`.

    `memory` is that of the words typed before, `whole` the text, or as much of its end as tells how it ends.
    """
    end = Ending.LINE if whole.endswith("\n") else Ending.OPENING if comes_unspaced(whole, " ") else Ending.WORD
    flags = _ENDS[end] | (0 if memory is None else _WITH_WORDS)
    content = bytes([flags]) + bytes.fromhex(fingerprint) + np.asarray(state, "<f4").tobytes()
    if memory is not None:
        content += zlib.compress(_newest("\n".join(memory.words).encode()), 1)
    return base64.urlsafe_b64encode(content + _digest(content)).rstrip(b"=").decode()


def decode_state(token: str, fingerprint: str, state_size: int) -> tuple[np.ndarray, Memory | None, Ending]:
    """Returns the state in a token, float32 [S], the `Memory` or `None`, and how the text ends.

    Raises a `StateError` if it is not a token, is damaged, or belongs to another model.
    """
    try:
        content = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        content = b""
    content, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    if not content or content[0] & ~_WITH_WORDS not in _ENDS.values() or digest != _digest(content):
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
    memory = _decode_words(words) if with_words else None
    end = next(end for end, flag in _ENDS.items() if flag == content[0] & ~_WITH_WORDS)
    return np.frombuffer(state, "<f4").astype(np.float32), memory, end


def largest_token(state_size: int) -> int:
    """Returns how many characters a token of a state of so many floats can have."""
    return (4 * (64 + 4 * state_size + _MAX_WORD_BYTES + _MAX_WORD_BYTES // 100)) // 3  # incompressible words


def _decode_words(content: bytes) -> Memory:
    """Returns the `Memory` of the part of a token after the state."""
    try:
        words = zlib.decompressobj().decompress(content, _MAX_WORD_BYTES + 1).decode().split("\n")
    except (zlib.error, UnicodeDecodeError):
        words = [""]
    sound = len(words) <= WINDOW and all(len(word) <= MAX_CHARACTERS and word.split() == [word] for word in words)
    if not sound:
        raise StateError(f"`state` does not hold words such as an answer's state has. {_AGAIN}")
    return Memory(words)


def _newest(words: bytes) -> bytes:
    """Returns lines, one a word, without the oldest of more than `_MAX_WORD_BYTES`."""
    return words if len(words) <= _MAX_WORD_BYTES else words[-_MAX_WORD_BYTES:].partition(b"\n")[2]


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_SIZE).digest()
