"""SentencePiece's models as the tokenizer.json of Hugging Face's library.

A `.model` is a message of Google's protocol buffers; its fields are in sentencepiece_model.proto
(google/sentencepiece). Here are those that decide how a text is cut. They are read without the package protobuf, which
needs code that is generated from that file, and does not come with JAX; tokenizers' `from_spm` needs both, and takes
unigrams alone.
"""

import struct
from collections.abc import Iterator
from typing import Any

from kerasptb.data.errors import DataError

_SPACE = "\u2581"
_UNIGRAM, _BPE = 1, 2
# Types of pieces. A text that spells a mark such as `</s>` is cut into it, as in Hugging Face's library.
_NORMAL, _UNKNOWN, _USER_DEFINED = 1, 2, 4


def convert(content: bytes) -> str:
    """Returns the tokenizer.json of a model; raises DataError for no such file, or rules that are not known here."""
    import tokenizers  # noqa: PLC0415
    from tokenizers import decoders, models, normalizers, pre_tokenizers  # noqa: PLC0415

    try:
        fields = list(_fields(content))
        pieces = [_piece(dict(_fields(value))) for number, value in fields if number == 1]
        trainer, normalizer = (dict(_fields(dict(fields).get(number, b""))) for number in (2, 3))
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, struct.error):
        raise DataError("Expected a tokenizer.json or a SentencePiece model.") from None
    unknown = next((i for i, (_, _, kind) in enumerate(pieces) if kind == _UNKNOWN), None)
    kind, has_bytes = trainer.get(3, _UNIGRAM), bool(trainer.get(35, False))
    if unknown is None or kind not in (_UNIGRAM, _BPE):
        raise DataError("Expected a SentencePiece model of unigrams or byte pairs.")
    if trainer.get(24, False) or not normalizer.get(5, True):
        raise DataError("Expected a SentencePiece model that writes a space as U+2581, before a word.")
    if kind == _UNIGRAM:
        model: Any = models.Unigram([(text, score) for text, score, _ in pieces], unknown, has_bytes)
    elif any(kind == _USER_DEFINED for _, _, kind in pieces):
        raise DataError("Expected a SentencePiece model of byte pairs without symbols that a user has defined.")
    else:
        vocabulary = {text: i for i, (text, _, _) in enumerate(pieces)}
        model = models.BPE(
            vocabulary, _merges(pieces), unk_token=pieces[unknown][0], fuse_unk=True, byte_fallback=has_bytes
        )
    tokenizer: Any = tokenizers.Tokenizer(model)
    steps: list[Any] = [normalizers.Precompiled(normalizer[2])] if normalizer.get(2) else []
    if normalizer.get(4, True):
        steps += [normalizers.Strip(left=True, right=True), normalizers.Replace(tokenizers.Regex(" {2,}"), " ")]
    decode: list[Any] = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if normalizer.get(3, True):  # a space before the text, also before another
        steps.append(normalizers.Prepend(" "))
        decode.append(decoders.Strip(" ", 1, 0))
    if steps:
        tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, "never", split=False)
    tokenizer.decoder = decoders.Sequence(decode)
    return tokenizer.to_str()


def _piece(fields):
    """Returns a piece's text, score and type."""
    return fields[1].decode(), struct.unpack("<f", fields.get(2, bytes(4)))[0], fields.get(3, _NORMAL)


def _merges(pieces):
    """Returns the pairs of pieces that make another, in the order in which they are merged: by its score."""
    scores = {text: score for text, score, kind in pieces if kind == _NORMAL}
    ids = {text: i for i, (text, _, _) in enumerate(pieces)}
    merges = []
    for text, score in scores.items():
        halves = ((text[:i], text[i:]) for i in range(1, len(text)))
        pairs = [pair for pair in halves if pair[0] in scores and pair[1] in scores]
        merges += [(-score, ids[left], ids[right], left, right) for left, right in pairs]
    return [(left, right) for *_, left, right in sorted(merges)]


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """Yields the fields of a message: their number, and an int or bytes."""
    place = 0

    def number():
        nonlocal place
        value = shift = 0
        while True:
            byte = content[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(content):
        key = number()
        kind = key & 7
        if kind == 0:
            yield key >> 3, number()
            continue
        if kind not in (1, 2, 5):
            raise ValueError(f"a field of type {kind}")
        size = number() if kind == 2 else {1: 8, 5: 4}[kind]
        if place + size > len(content):
            raise ValueError("a field that ends behind the file")
        yield key >> 3, content[place : place + size]
        place += size
