"""Words and their ids."""

import functools
import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from kerasptb.data.errors import DataError, UnknownWordError
from kerasptb.data.signs import begins_word
from kerasptb.data.sources.text_file import read_utf8
from kerasptb.data.streams import check_sizes
from kerasptb.data.tokenizers.prefixes import PrefixIndex
from kerasptb.data.tokenizers.ptb_words import NUMBER, is_numeral, is_word_character, split_tokens
from kerasptb.data.tokenizers.tokenizer import EOS, UNK, Ending, Parts, Tokenizer, TypedWord, Unit, WordsThatBegin
from kerasptb.utils.files import atomic_write

# Parts of a text that are remembered with their words, and characters of a part.
_MAX_PARTS, _MAX_PART_CHARACTERS = 50_000, 40
# The white space that ends a line. Every other kind, such as a form feed, separates words like a space.
LINE_END = re.compile(r"\r\n|[\r\n]")
# Words, and the white space between them, which contains the line ends.
_UNIT = re.compile(r"\S+|\s+")


class Vocabulary(Tokenizer):
    """The tokenizer of words between white space: an immutable two-way table of words and ids.

    Args:
        words: the words in order of their ids. They must be distinct, not empty and without whitespace.

    Attributes:
        words: tuple of V words; `words[id]` is the word of an id. Also called `tokens`.
        word_to_id: mapping from word to id. Also called `token_to_id`.

    Raises:
        DataError: a word is repeated, is empty or contains whitespace, or there is no word at all.

    Example:
        >>> vocabulary = Vocabulary.from_tokens("the cat saw the dog <unk>".split())
        >>> vocabulary.words
        ('the', '<unk>', 'cat', 'dog', 'saw')
        >>> vocabulary.encode("the dog saw the mouse")
        array([0, 3, 4, 0, 1], dtype=int32)
        >>> vocabulary.decode([0, 2, 4])
        'the cat saw'
    """

    FILE = "vocabulary.txt"

    kind = "words"
    spells = False
    unnamed = frozenset((UNK, NUMBER))

    def __init__(self, words: Iterable[str]) -> None:
        self.tokens = self.words = tuple(words)
        self.word_to_id = self.token_to_id
        self.eos_id, self.unk_id = self.word_to_id.get(EOS), self.word_to_id.get(UNK)
        self.limit = len(self.words) if self.unk_id is not None and len(self.words) >= 3 else None
        if not self.words:
            raise DataError("Expected a vocabulary of at least one word. Received: words=()")
        if len(self.word_to_id) != len(self.words):
            repeated = next(word for word, count in Counter(self.words).items() if count > 1)
            raise DataError(f"Expected every word of a vocabulary once. Received {repeated!r} more than once.")
        for word in self.words:
            if word.split() != [word]:
                raise DataError(f"Expected words without whitespace, none of them empty. Received: {word!r}")
        self.digest = hashlib.sha256("\n".join(self.words).encode()).hexdigest()
        self.pieces = tuple(b"\n" if word == EOS else f" {word}".encode() for word in self.words)

    @classmethod
    def from_tokens(cls, tokens: Iterable[str], size: int | None = None) -> "Vocabulary":
        """Returns the vocabulary of the words of a text, `<eos>` among them if it is to have an id.

        Args:
            tokens: the words.
            size: as for `from_counts`.
        """
        return cls.from_counts(Counter(tokens), size)

    @classmethod
    def from_counts(cls, counts: Mapping[str, int], size: int | None = None) -> "Vocabulary":
        """Returns the vocabulary of counted words: ids by decreasing count, then by word.

        Args:
            counts: mapping from word to its number of occurrences.
            size: the most words to keep, at least 3. `<unk>` is always kept, `<eos>` if it is in `counts`, and then the
                most frequent of the others. Words that are left out count as `<unk>`. `None` keeps exactly the words
                in `counts`.

        Raises:
            DataError: `size` is not an integer of at least 3.
        """
        if size is not None:
            check_sizes(size=size)
            if size < 3:
                raise DataError(f"Expected a size of at least 3: {UNK}, {EOS} and one word. Received: size={size}")
            counts = _most_frequent(counts, size)
        return cls(word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def encode(self, text: str | Iterable[str]) -> np.ndarray:
        r"""Returns the ids of a text or of its words. Words outside the vocabulary become `<unk>`.

        Args:
            text: a text, whose line ends (`"\n"`) become `<eos>`; or an iterable of words, which are not split.

        Returns:
            int32 [N].

        Raises:
            UnknownWordError: a word is outside a vocabulary that has no `<unk>`.
            DataError: a word is not a string, for example if ids are passed.
        """
        tokens = text
        if isinstance(text, str):  # no other character than "\n" ends a line, as in the original reader
            lines = io.StringIO(text, newline="\n")
            tokens = (word for line in lines for word in line.replace("\n", f" {EOS} ").split())
        get, unk_id = self.word_to_id.get, self.unk_id

        def find(token: str) -> int:
            index = get(token)
            if index is not None:
                return index
            if not isinstance(token, str):
                raise DataError(f"Expected a text or its words. Received: {token!r} of {type(token)} among the words.")
            if unk_id is None:
                raise UnknownWordError(token)
            return unk_id

        return np.fromiter(map(find, tokens), np.int32)

    def to_words(self, ids: Iterable[int]) -> list[str]:
        """Returns the words of ids, as `to_tokens` does."""
        return self.to_tokens(ids)

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the words of ids, as `to_tokens` takes them, with spaces between them; `<eos>` stays a word."""
        return " ".join(self.to_words(ids))

    def continued(self, text: str, ids: Iterable[int]) -> str:
        """Returns a text and the words that follow, integers [N], as lines: one for each sentence."""
        lines = [line.split() for line in LINE_END.split(text)]
        for word in self.to_tokens(ids):
            if word == EOS:
                lines.append([])
            else:
                lines[-1].append(word)
        return "\n".join(" ".join(line) for line in lines).removesuffix("\n")

    def typed_after(self, text: str, before: str) -> str:
        """Returns a text with a space before it: each word has one."""
        return text and f" {text}"

    def encode_further(self, text: str, before: Ending = Ending.WORD) -> np.ndarray:
        """Returns the ids of the words of a text that a person typed, as `words_typed` finds them, int32 [T]."""
        return self.encode(self.words_typed(text))

    def units_typed(self, text: str) -> list[Unit]:
        """Returns the parts of a text between white space that hold words, and the white space with line ends."""
        units = (Unit(*match.span(), self.encode_further(match.group())) for match in _UNIT.finditer(text))
        return [unit for unit in units if len(unit.tokens)]

    def words_typed(self, text: str) -> Iterator[str]:
        """Yields the words of a text: as the vocabulary has them, else as they were typed.

        Args:
            text: any text. Each part between white space is looked up in the vocabulary as it is written, then in lower
                case ("Mr."). If it is not there, it is split as in the Penn Treebank, and its parts are looked up in
                the same way: first without the punctuation around it, then word by word. Unknown numbers become `N`.
                Punctuation that is not in the vocabulary is dropped. A line's end is `<eos>`.
        """
        return (word for word, _ in self.read_typed(text))

    def read_typed(self, text: str) -> Iterator[tuple[str, str]]:
        """Yields the words of a text as `words_typed`, and the characters that were typed for each.

        In these `’` may have become `'`.
        """
        for i, line in enumerate(LINE_END.split(text)):
            if i and EOS in self:
                yield EOS, "\n"
            for part in line.split():
                yield from self._read_part(part)

    @functools.cached_property
    def _read_part(self) -> Callable[[str], tuple[tuple[str, str], ...]]:
        """Reads a part of a text without white space; the last are remembered: each keystroke has them again."""

        def read(part: str) -> tuple[tuple[str, str], ...]:
            known = self._known(part)
            return ((known, part),) if known else tuple(self._words_in(part))

        remembered = functools.lru_cache(_MAX_PARTS)(read)
        return lambda part: (remembered if len(part) <= _MAX_PART_CHARACTERS else read)(part)

    def _known(self, word: str) -> str | None:
        return next((form for form in (word, word.lower()) if form in self), None)

    def _words_in(self, text: str) -> Iterator[tuple[str, str]]:
        for inner in "'’.", "'’":  # "(U.S.," may contain the word "U.S.", or "U.S" without the last stop
            start, end = _ends(text, inner)
            if end - start < len(text) and (known := self._known(text[start:end])):
                yield from self._words_in(text[:start])
                yield known, text[start:end]
                yield from self._words_in(text[end:])
                return
        for token, is_word in split_tokens(text):
            if not is_word:
                if token in self:
                    yield token, token
            elif known := self._known(token):
                yield known, token
            else:
                yield (NUMBER if is_numeral(token) and NUMBER in self else token), token

    def typed_parts(self, text: str, keep_lines: bool | None = None) -> tuple[np.ndarray, Parts]:
        """Returns the ids of a text and its parts; each line is a sentence. Signs that it lacks are not read."""
        words, parts = list[str](), Parts()
        for line in LINE_END.split(text):
            if EOS in self:
                words.append(EOS)
                parts.append([])
            for part in line.split():
                parts.append(list(self._typed_part(part, len(words))))
                words.extend(typed.word for typed in parts[-1] if typed.word)
        return self.encode(words), parts

    def _typed_part(self, part: str, context: int) -> Iterator[TypedWord]:
        done = 0
        for word, typed in self._read_part(part):
            start = part.replace("’", "'").index(typed.replace("’", "'"), done)
            yield from (TypedWord(sign, None, " ", context) for sign in part[done:start])
            done, is_named = start + len(typed), word not in self.unnamed
            glued = start > 0 and not begins_word(part[:start])
            yield TypedWord(part[start:done], word, " ", context, context + 1, int(glued), is_named)
            context += 1
        yield from (TypedWord(sign, None, " ", context) for sign in part[done:])

    def parts_of(self, ids: np.ndarray) -> Parts:
        """Returns the parts of a text: each word is one."""
        return [
            [] if word == EOS else [TypedWord(word, word, " ", i, i + 1, 0, word not in self.unnamed)]
            for i, word in enumerate(self.to_words(ids))
        ]

    @functools.cached_property
    def prefixes(self) -> PrefixIndex:
        """Finds tokens by how what they write begins; what names no word is never found."""
        named = zip(self.tokens, self.written, strict=True)
        return PrefixIndex("" if token in self.unnamed else text for token, text in named)

    def split_typed(self, text: str, others: WordsThatBegin | None = None) -> tuple[str, str]:
        """Splits a text where the word that is being typed begins.

        The last word is unfinished unless white space follows it. At an apostrophe it is split as in the Penn Treebank
        (`it` and `'s`, `do` and `n't`). Punctuation in front (`"the`, `and/or`) is not part of it unless a word begins
        so, one of the vocabulary or of the others. After other punctuation (`hello,`) a new word begins.
        """
        if not text or text[-1].isspace():
            return text, ""
        run = text.rsplit(None, 1)[-1]
        for start in _starts(self.prefixes, run):
            begun = run[start:]
            if begun and (
                self.prefixes.beginning(f" {begun}").size or (others is not None and len(others.beginning(begun)))
            ):
                break
        else:
            start = _word_start(run)
        cut = len(text) - len(run) + start
        return text[:cut], text[cut:] and f" {text[cut:]}"

    def save(self, path: str | os.PathLike) -> None:
        """Writes the words to a UTF-8 text file, completely or not at all, one per line, in order of their ids."""
        with atomic_write(path) as temporary:
            temporary.write_text("".join(f"{word}\n" for word in self.words), encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Vocabulary":
        """Reads a vocabulary that `save` wrote: UTF-8, one word a line.

        Raises:
            DataError: the file is not UTF-8, is empty, or holds a line that is not one word.
        """
        text = read_utf8(Path(path), "vocabulary")
        try:
            return cls(text.removesuffix("\n").split("\n") if text else ())
        except DataError as error:
            raise DataError(f"{path} is not a vocabulary file of one word a line. {error}") from None


def _most_frequent(counts: Mapping[str, int], size: int) -> dict[str, int]:
    always = {UNK: counts.get(UNK, 0)} | ({EOS: counts[EOS]} if EOS in counts else {})
    others = sorted(counts.keys() - always.keys(), key=lambda word: (-counts[word], word))
    kept = others[: size - len(always)]
    always[UNK] += sum(counts[word] for word in others[len(kept) :])
    return always | {word: counts[word] for word in kept}


def _starts(index: PrefixIndex, run: str) -> Iterator[int]:
    """Yields the places in a run of characters without white space where a word may begin, the likeliest first."""
    yield 0
    first = next((i for i, character in enumerate(run) if is_word_character(character)), len(run))
    yield first
    apostrophe = max(run.rfind("'"), run.rfind("’"))
    if apostrophe > 0:
        if run[apostrophe - 1] in "nN" and f" {run[first : apostrophe - 1]}" in index:
            yield apostrophe - 1
        yield apostrophe
    yield _word_start(run)


def _word_start(run: str) -> int:
    return next((i for i in range(len(run), 0, -1) if not is_word_character(run[i - 1])), 0)


def _ends(text: str, inner: str) -> tuple[int, int]:
    """Returns the start and end of a text without surrounding punctuation, except signs that may end a word."""
    start = next((i for i, c in enumerate(text) if is_word_character(c) or c in "'’"), len(text))
    inside = [i for i in range(start, len(text)) if is_word_character(text[i]) or text[i] in inner]
    return start, inside[-1] + 1 if inside else start
