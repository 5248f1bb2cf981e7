"""SentencePiece's models as the tokenizer.json of Hugging Face's library.

A `.model` is a message of Google's protocol buffers; its fields are in sentencepiece_model.proto
(google/sentencepiece). Here are those that decide how a text is cut. protobuf, which TensorFlow brings, reads them: it
is made for input of strangers. The package sentencepiece names them too, but for a protobuf as new as itself, and
tokenizers' `from_spm` takes unigrams alone.
"""

import base64
import functools
import json
from typing import Any

from kerasptb.data.errors import DataError

_SPACE = "\u2581"
_UNIGRAM, _BPE = 1, 2
# Types of pieces. A text that spells a mark such as `</s>` is cut into it, as in Hugging Face's library.
_NORMAL, _UNKNOWN, _USER_DEFINED = 1, 2, 4
_Piece = tuple[str, float, int]  # its text, score and type
# A FileDescriptorProto in text format: what of the messages is read.
_MESSAGES = f"""
message_type {{ name: "Piece"
  field {{ name: "text" number: 1 type: TYPE_BYTES }}
  field {{ name: "score" number: 2 type: TYPE_FLOAT }}
  field {{ name: "type" number: 3 type: TYPE_INT32 default_value: "{_NORMAL}" }}
}}
message_type {{ name: "Trainer"
  field {{ name: "model_type" number: 3 type: TYPE_INT32 default_value: "{_UNIGRAM}" }}
  field {{ name: "treat_whitespace_as_suffix" number: 24 type: TYPE_BOOL }}
  field {{ name: "byte_fallback" number: 35 type: TYPE_BOOL }}
}}
message_type {{ name: "Normalizer"
  field {{ name: "precompiled_charsmap" number: 2 type: TYPE_BYTES }}
  field {{ name: "add_dummy_prefix" number: 3 type: TYPE_BOOL default_value: "true" }}
  field {{ name: "remove_extra_whitespaces" number: 4 type: TYPE_BOOL default_value: "true" }}
  field {{ name: "escape_whitespaces" number: 5 type: TYPE_BOOL default_value: "true" }}
}}
message_type {{ name: "Model"
  field {{ name: "pieces" number: 1 type_name: "Piece" label: LABEL_REPEATED }}
  field {{ name: "trainer" number: 2 type_name: "Trainer" }}
  field {{ name: "normalizer" number: 3 type_name: "Normalizer" }}
}}
"""


def convert(content: bytes) -> str:
    """Returns the tokenizer.json of a model; raises DataError for no such file, or rules that are not known here."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    try:
        model = _model_class().FromString(content)
        pieces = [(piece.text.decode(), piece.score, piece.type) for piece in model.pieces]
    except (DecodeError, UnicodeDecodeError):
        raise DataError("Expected a tokenizer.json or a SentencePiece model.") from None
    trainer, normalizer = model.trainer, model.normalizer
    unknown = next((i for i, (_, _, kind) in enumerate(pieces) if kind == _UNKNOWN), None)
    if unknown is None or trainer.model_type not in (_UNIGRAM, _BPE):
        raise DataError("Expected a SentencePiece model of unigrams or byte pairs.")
    if trainer.treat_whitespace_as_suffix or not normalizer.escape_whitespaces:
        raise DataError("Expected a SentencePiece model that writes a space as U+2581, before a word.")
    of_kind = _unigrams if trainer.model_type == _UNIGRAM else _byte_pairs
    steps: list[dict[str, Any]] = []
    if table := normalizer.precompiled_charsmap:
        steps.append({"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()})
    if normalizer.remove_extra_whitespaces:
        steps.append({"type": "Strip", "strip_left": True, "strip_right": True})
        steps.append({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
    decode: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if normalizer.add_dummy_prefix:  # a space before the text, also before another
        steps.append({"type": "Prepend", "prepend": " "})
        decode.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    tokenizer = {
        "version": "1.0",
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": "never", "split": False},
        "decoder": {"type": "Sequence", "decoders": decode},
        "model": {**of_kind(pieces, unknown), "byte_fallback": trainer.byte_fallback},
    }
    return json.dumps(tokenizer, ensure_ascii=False)


def _unigrams(pieces: list[_Piece], unknown: int) -> dict[str, Any]:
    return {"type": "Unigram", "unk_id": unknown, "vocab": [(text, score) for text, score, _ in pieces]}


def _byte_pairs(pieces: list[_Piece], unknown: int) -> dict[str, Any]:
    if any(kind == _USER_DEFINED for _, _, kind in pieces):
        raise DataError("Expected a SentencePiece model of byte pairs without symbols that a user has defined.")
    vocabulary = {text: i for i, (text, _, _) in enumerate(pieces)}
    named = {"vocab": vocabulary, "merges": _merges(pieces), "unk_token": pieces[unknown][0]}
    return {"type": "BPE", "fuse_unk": True, **named}


def _merges(pieces: list[_Piece]) -> list[tuple[str, str]]:
    """Returns the pairs of pieces that make another, in the order in which they are merged: by its score."""
    scores = {text: score for text, score, kind in pieces if kind == _NORMAL}
    ids = {text: i for i, (text, _, _) in enumerate(pieces)}
    lengths = set(map(len, scores)) - {0}
    merges: list[tuple[float, int, int, str, str]] = []
    for text, score in scores.items():
        halves = ((text[:i], text[i:]) for i in lengths if len(text) - i in lengths)
        pairs = [pair for pair in halves if pair[0] in scores and pair[1] in scores]
        merges += [(-score, ids[left], ids[right], left, right) for left, right in pairs]
    return [(left, right) for *_, left, right in sorted(merges)]


@functools.cache
def _model_class() -> Any:
    """Returns the class of the message `Model`; the fields that it does not name are skipped."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format  # noqa: PLC0415

    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="sentence_piece.proto", package="kerasptb")
    pool.Add(text_format.Parse(_MESSAGES, file))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("kerasptb.Model"))
