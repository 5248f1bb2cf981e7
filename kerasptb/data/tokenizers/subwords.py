"""Subwords and characters: a text in pieces that write every byte of it, so that nothing is unknown."""

import base64
import contextlib
import functools
import hashlib
import itertools
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kerasptb.data.errors import DataError
from kerasptb.data.paragraphs import Paragraphs, is_wrapped
from kerasptb.data.scripts import is_unspaced
from kerasptb.data.streams import check_sizes
from kerasptb.data.tokenizers import sentence_piece
from kerasptb.data.tokenizers.tokenizer import EOS, Ending, Parts, Tokenizer, Unit, WordsThatBegin
from kerasptb.data.tokenizers.written_text import comes_unspaced, is_of_word, read_parts, split_typed
from kerasptb.utils.files import atomic_write
from kerasptb.utils.status_line import at_work

_BATCH = 1 << 20  # characters that are encoded at a time, by all processors
_MOST = 1_000_000  # pieces that are made of a text: their trainer takes memory for all of them before it reads
# What ends a paragraph in tokenizers that have no token for the end of a line.
_ENDS = (b"<eos>", b"</s>", b"<sos/eos>", b"<|endoftext|>", b"<|end_of_text|>", b"[SEP]")
_SPACE = "\u2581"  # how SentencePiece writes it
_BYTE = re.compile("<0x([0-9A-Fa-f]{2})>")  # likewise


def _byte_letters() -> dict[str, int]:
    """Returns the byte of each letter in which byte-level tokenizers write bytes (Radford et al., 2019)."""
    # A visible character of Latin-1 stands for its byte, those from U+0100 on for the others.
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


class Subwords(Tokenizer):
    r"""A tokenizer of Hugging Face's library, as its tokenizer.json holds it.

    `Subwords.train` makes one of byte-level byte-pair encoding (Sennrich et al., 2016; Radford et al., 2019): 256 bytes
    and the most useful pairs of pieces; a word and the space before it are one text to cut.

    Args:
        content: the text of a tokenizer.json. Its dropout is left out: a text is cut once, and always alike.

    Attributes:
        kind: "characters" if its tokens are the bytes and no more, else "subwords".

    Raises:
        DataError: it is no tokenizer, or none whose pieces write what was read.

    Example:
        >>> subwords = Subwords.train(["the cat sat", "the cat ran"], 264)
        >>> subwords.to_tokens(subwords.encode("the cat"))
        ['Ġthe', 'Ġcat']
        >>> subwords.decode(subwords.encode("the dog\n"))
        'the dog\n'
    """

    FILE = "tokenizer.json"

    spells = True

    def __init__(self, content: str) -> None:
        import tokenizers  # noqa: PLC0415  (words are read without it)

        with _plain_errors():
            settings = json.loads(content, object_hook=_check_charsmap)
            if settings["model"].pop("dropout", None):
                content = json.dumps(settings, ensure_ascii=False)
            self._tokenizer = tokenizers.Tokenizer.from_str(content)
        self._content, self.digest = content, hashlib.sha256(content.encode()).hexdigest()
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True  # a text that spells such a token means its letters
        size = self._tokenizer.get_vocab_size()
        tokens = [self._tokenizer.id_to_token(index) for index in range(size)]
        self.tokens = tuple(token for token in tokens if token is not None)
        if len(self.tokens) != size:
            raise DataError(f"Expected a tokenizer whose {size} ids are 0 to {size - 1}.")
        pieces = _pieces(self.tokens, settings)
        self.eos_id = _end_of_paragraph(pieces)
        pieces[self.eos_id] = b"\n"
        self.pieces = tuple(pieces)
        self.unk_id = _unknown(settings["model"], self.tokens)
        self.first = " " if self._begins_with_space() else ""
        plain = not settings["model"].get("merges", True) and len(self) == 256 and not self.first
        self.kind, self.limit = ("characters", None) if plain else ("subwords", len(self))
        self._ids_of_bytes = np.array([pieces.index(bytes([i])) for i in range(256)], "<i4") if plain else None

    @functools.cached_property
    def merges(self) -> list[tuple[str, str]] | None:
        """The pairs of tokens that are merged, those first that are merged first; `None` if it has further rules."""
        rules = json.loads(self._content)
        model = rules["model"]
        plain = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        if (
            rules.get("added_tokens")
            or rules.get("normalizer") not in (None, {"type": "Prepend", "prepend": " "})
            or rules.get("pre_tokenizer") != plain
            or model.get("type") != "BPE"
            or any(value for name, value in model.items() if name not in ("type", "vocab", "merges"))
            or not {bytes([byte]) for byte in range(256)}.issubset(self.pieces)
        ):
            return None
        merges = [tuple(pair if isinstance(pair, list) else pair.split(" ")) for pair in model["merges"]]
        return merges if len(set(merges)) == len(merges) else None

    @classmethod
    def train(cls, paragraphs: Iterable[str], size: int) -> "Subwords":
        """Makes the subwords of a text.

        Args:
            paragraphs: the text's paragraphs.
            size: the most pieces, 257 to a million. A short text has fewer: those that occur twice.

        Raises:
            DataError: `size` is not such an integer.
        """
        check_sizes(size=size)
        if not 256 < size <= _MOST:
            raise DataError(
                f"Expected a size of 257 to {_MOST:,} subwords: a piece for each byte, and more. Received: size={size}"
            )
        with at_work("Making subwords"):
            return cls(_byte_pairs(" ", paragraphs, size))

    @classmethod
    def characters(cls) -> "Subwords":
        """Returns the tokenizer whose pieces are the bytes of UTF-8."""
        return cls(_byte_pairs("", [], 256))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Subwords":
        """Reads a tokenizer.json, or a SentencePiece model.

        Raises:
            DataError: it is none that `Subwords` takes.
        """
        content = Path(path).read_bytes()
        try:
            is_json = content.lstrip()[:1] == b"{"
            return cls(content.decode("utf-8") if is_json else sentence_piece.convert(content))
        except (UnicodeDecodeError, DataError) as error:
            raise DataError(f"{path} is not a tokenizer.json or .model that can be used. {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the tokenizer.json, completely or not at all."""
        with atomic_write(path) as temporary:
            temporary.write_text(self._content, encoding="utf-8", newline="\n")

    def encode(self, text: str) -> np.ndarray:
        """Returns the ids of a text, int32 [N].

        Each line is a paragraph, without white space at its end, and one of nothing else is none. The last line has no
        end yet, and so keeps it.
        """
        *whole, rest = text.split("\n")
        ids = [of_lines for _, of_lines in self._encode_batches(filter(None, map(str.rstrip, whole)))]
        if rest:
            ids.append(self._encode_batch([rest]))
        return np.concatenate([np.zeros(0, "<i4"), *ids])

    def encode_paragraphs(self, paragraphs: Iterable[str]) -> Iterator[np.ndarray]:
        """Yields the ids of paragraphs, each with its end, int32 [N], in pieces of many paragraphs.

        Raises:
            DataError: a paragraph does not come back from its ids, apart from letters that no piece writes.
        """
        for batch, ids in self._encode_batches(paragraphs):
            if self._ids_of_bytes is None:
                self._check_written(batch, ids)
            yield ids

    def _encode_batches(self, paragraphs: Iterable[str]) -> Iterator[tuple[list[str], np.ndarray]]:
        paragraphs = iter(paragraphs)
        for first in paragraphs:
            batch, size = [first], len(first)
            while size < _BATCH and (paragraph := next(paragraphs, None)) is not None:
                batch.append(paragraph)
                size += len(paragraph)
            yield batch, self._encode_batch([*batch, ""])

    def _check_written(self, paragraphs: list[str], ids: np.ndarray) -> None:
        for paragraph, line in zip(paragraphs, self._written_lines(ids), strict=False):  # nothing follows the last end
            if line.removeprefix(self.first) != paragraph and self.unk_id not in self.encode(paragraph):
                self.check_faithful(paragraph)

    def continued(self, text: str, ids: Iterable[int]) -> str:
        """Returns a text and what ids, integers [N], write after it; a paragraph ends in a line end."""
        line, *lines = self._written_lines(ids)
        if not text or text.endswith("\n"):
            line = line.removeprefix(self.first)
        return "\n".join([text.rstrip(" ") + line, *(each.removeprefix(self.first) for each in lines)])

    def typed_after(self, text: str, before: str) -> str:
        """Returns a text that is typed after another: with a space between two letters or digits, else as it is."""
        return f" {text}" if _is_letter(text[:1]) and not comes_unspaced(before, self.first) else text

    def encode_further(self, text: str, before: Ending = Ending.WORD) -> np.ndarray:
        """Returns the ids of a text that a person typed after another, int32 [T].

        Within a line the spaces at its end are left out.
        """
        if before == Ending.LINE:
            return self.encode(text)
        text = self.typed_after(text.rstrip(" "), before)
        # Something is put before it, since what begins a paragraph may be read with a space before it.
        before = before if _is_letter(text[:1]) else Ending.WORD
        word, both = self.encode(before), self.encode(f"{before}{text}")
        if (both[: len(word)] == word).all():
            return both[len(word) :]
        return self.encode(text.removeprefix(self.first))

    def units_typed(self, text: str) -> list[Unit]:
        """Returns the words of a text with the signs at them and the spaces before, and the line ends."""
        units: list[Unit] = []
        begin, (*whole, rest) = 0, text.split("\n")
        for line in whole:
            end = begin + len(line)
            if kept := line.rstrip():
                units += [*self._units(kept, begin), Unit(end, end + 1, np.array([self.eos_id], "int32"))]
            begin = end + 1
        return [*units, *(self._units(rest, begin) if rest else [])]

    def _units(self, line: str, begin: int) -> list[Unit]:
        words = [match.span() for match in re.finditer(r"\S+", line)]
        with _plain_errors():
            encoded = self._tokenizer.encode(line, add_special_tokens=False)
        tokens: list[list[int]] = [[] for _ in range(len(words) + 1)]
        place = 0
        for token, (start, end) in zip(encoded.ids, encoded.offsets, strict=True):
            # It is of the word in which the first of its characters that is no space stands, or the one after.
            inside = end - len(line[start:end].lstrip())
            while place < len(words) and inside >= words[place][1]:
                place += 1
            tokens[place].append(token)
        words.append((words[-1][1] if words else 0, len(line)))  # spaces at the end
        return [
            Unit(begin + start, begin + end, np.array(ids, "int32"))
            for (start, end), ids in zip(words, tokens, strict=True)
            if ids
        ]

    def words_typed(self, text: str) -> Iterator[str]:
        """Yields the words of a text as keys show them: signs of punctuation are words, a line's end is `<eos>`."""
        for of_word, run in itertools.groupby(text, is_of_word):
            if of_word:
                yield "".join(run)
            else:
                yield from (EOS if sign == "\n" else sign for sign in run if sign == "\n" or not sign.isspace())

    def typed_parts(self, text: str, keep_lines: bool | None = None) -> tuple[np.ndarray, Parts]:
        """Returns the ids of a text and its parts, each a word with the signs at it."""
        keep_lines = not is_wrapped([text]) if keep_lines is None else keep_lines
        lines = (line.removesuffix("\r") for line in text.split("\n"))
        ids = self.encode_typed("\n".join(Paragraphs(keep_lines).read(lines)))
        return ids, self.parts_of(ids)

    def parts_of(self, ids: np.ndarray) -> Parts:
        """Returns the parts of a text of ids, see `written_text.read_parts`."""
        return read_parts([self.pieces[index] for index in ids.tolist()], self.first)

    def split_typed(self, text: str, others: WordsThatBegin | None = None) -> tuple[str, str]:
        """Splits a text where the word that is being typed begins, see `written_text.split_typed`."""
        return split_typed(text, self.first)

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of ids; bytes that are no UTF-8, as of a character that was cut, become U+FFFD."""
        return "\n".join(line.removeprefix(self.first) for line in self._written_lines(ids))

    def _written_lines(self, ids: Iterable[int]) -> list[str]:
        written = b"".join(self.pieces[index] for index in self._checked(ids))
        return written.decode(errors="replace").split("\n")

    def check_faithful(self, paragraph: str) -> None:
        """Raises a `DataError` if a paragraph does not come back from its ids."""
        if (back := self.decode(self.encode(paragraph))) != paragraph:
            at = next(i for i, (a, b) in enumerate(itertools.zip_longest(paragraph, back)) if a != b)
            raise DataError(
                "Expected a tokenizer that gives back what it read. It read "
                f"{paragraph[at : at + 20]!r} and gave back {back[at : at + 20]!r}"
            )

    def _encode_batch(self, paragraphs: list[str]) -> np.ndarray:
        """Returns the ids of paragraphs with an end between each two."""
        if self._ids_of_bytes is not None:
            return self._ids_of_bytes[np.frombuffer("\n".join(paragraphs).encode(), np.uint8)]
        with _plain_errors():
            encoded = self._tokenizer.encode_batch_fast(paragraphs, add_special_tokens=False)
        ids = itertools.chain.from_iterable((*each.ids, self.eos_id) for each in encoded)
        return np.fromiter(ids, "<i4")[:-1]

    def _begins_with_space(self) -> bool:
        with _plain_errors():
            ids = self._tokenizer.encode("a", add_special_tokens=False).ids
        if not ids:
            raise DataError("Expected a tokenizer that reads every letter. It reads nothing in 'a'.")
        return self.pieces[ids[0]].startswith(b" ")


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """Raises a `DataError` for what the library raises, its panics too, which are no `Exception`."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(f"{error}".split()) or type(error).__name__
        raise DataError(f"Expected a tokenizer that Hugging Face's library can use. It failed: {reason}") from None


def _check_charsmap(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns an object of a tokenizer.json. For a table that is shorter than it says the library takes 8 GB."""
    if "precompiled_charsmap" in settings:
        table = base64.b64decode(settings["precompiled_charsmap"])
        if len(table) < 4 + int.from_bytes(table[:4], "little"):
            raise DataError("its table of characters is damaged")
    return settings


def _is_letter(character: str) -> bool:
    """Returns whether a word with a space before it may begin with a character."""
    return character != "" and unicodedata.category(character)[0] in "LN" and not is_unspaced(character)


def _byte_pairs(first: str, paragraphs: Iterable[str], size: int) -> str:
    """Returns the content of a tokenizer.json of byte-level byte-pair encoding, with `first` before each paragraph."""
    import tokenizers  # noqa: PLC0415
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers  # noqa: PLC0415

    tokenizer: Any = tokenizers.Tokenizer(models.BPE())
    if first:
        tokenizer.normalizer = normalizers.Prepend(first)
        tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    else:
        tokenizer.decoder = decoders.ByteLevel()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, show_progress=False, initial_alphabet=sorted(_byte_letters())
    )
    tokenizer.train_from_iterator(paragraphs, trainer)
    return tokenizer.to_str(pretty=False)


def _pieces(tokens: tuple[str, ...], settings: dict[str, Any]) -> list[bytes]:
    """Returns the bytes that each token writes."""
    content = json.dumps([settings.get("pre_tokenizer"), settings.get("decoder")])
    added = {token["content"] for token in settings.get("added_tokens", [])}
    if '"ByteLevel"' in content:
        letters = _byte_letters()
        write = lambda token: bytes(letters[letter] for letter in token)  # noqa: E731
    elif _SPACE in content or '"Metaspace"' in content:
        write = _sentence_piece
    else:
        raise DataError("Expected a tokenizer whose pieces are of bytes, or with their spaces as SentencePiece's.")
    try:
        return [token.encode() if token in added else write(token) for token in tokens]
    except KeyError as error:
        raise DataError(f"Expected pieces of bytes. Received: one with the letter {error}") from None


def _unknown(model: dict[str, Any], tokens: tuple[str, ...]) -> int | None:
    """Returns the id of the piece that stands for unknown letters; `None` if bytes write these."""
    if model.get("byte_fallback"):
        return None
    token = model.get("unk_token")
    return tokens.index(token) if token in tokens else model.get("unk_id")


def _end_of_paragraph(pieces: list[bytes]) -> int:
    """Returns the id of the piece that ends a paragraph."""
    for end in (b"\n", *_ENDS):
        if end in pieces:
            return pieces.index(end)
    names = ", ".join(end.decode() for end in _ENDS)
    raise DataError(f"Expected a tokenizer with a token for the end of a line, or one of {names}.")


def _sentence_piece(token: str) -> bytes:
    byte = _BYTE.fullmatch(token)
    return bytes.fromhex(byte[1]) if byte else token.replace(_SPACE, " ").encode()
