"""Log probabilities of sentences, each read by itself from the end of another, or one after the other."""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar, cast

import numpy as np

from kerasptb.data import EOS, DataError, Tokenizer
from kerasptb.data.encoding import read_paragraphs
from kerasptb.data.errors import check_text
from kerasptb.data.sizes import has_words, sizes_of
from kerasptb.reading import Reader
from kerasptb.reading.counted_reader import CountedReader
from kerasptb.reading.reader import open_reader
from kerasptb.utils.files import finite
from kerasptb.utils.status_line import at_work, tracked

# Sentences that are sorted by length, and tokens that are read together.
_BLOCK, _TOGETHER = 4096, 1 << 13
_LONGEST = 256  # tokens of a row; longer sentences are read in pieces
_ROWS = 512  # distributions that are in memory at once
_BIT, _LN10 = math.log10(2), math.log(10)
_Values = TypeVar("_Values")


@dataclasses.dataclass(frozen=True, eq=False)
class SentenceScore:
    r"""What a model says of a sentence. All probabilities are base-10 logarithms, as in the field's tools.

    Attributes:
        sentence: the sentence.
        num_words: its words between white space.
        num_unknown: its tokens that are `<unk>`.
        tokens: what is read of it, as it is written, and at last `<eos>`; of a byte that is no whole character its
            number, as in `\xc3`.
        token_log10_probabilities: float64 [T], of each token after those before it.
        entropies: float64 [T], of the distribution before each token, in bits; `None`, like the other arrays below, if
            they were not asked for.
        end_log10_probabilities: float64 [T], of that the word before has ended, in that distribution.
        count_shares: float64 [T], the share that counts have in that distribution; 0 without counts.
        network_log10_probabilities: float64 [T], of each token by the network alone.
        counts_log10_probabilities: float64 [T], by the counts of the training text alone; NaN without counts.
        words: what stands between white space, and `<eos>`; empty if they were not asked for.
        token_words: int [T], the place among them of the word that each token is of.
    """

    sentence: str
    num_words: int
    num_unknown: int
    tokens: tuple[str, ...]
    token_log10_probabilities: np.ndarray
    entropies: np.ndarray | None = None
    end_log10_probabilities: np.ndarray | None = None
    count_shares: np.ndarray | None = None
    network_log10_probabilities: np.ndarray | None = None
    counts_log10_probabilities: np.ndarray | None = None
    words: tuple[str, ...] = ()
    token_words: np.ndarray | None = None

    @property
    def log10_probability(self) -> float:
        """That of the sentence and its end."""
        return float(self.token_log10_probabilities.sum())

    @property
    def has_words(self) -> bool:
        """Whether what stands between its spaces are words."""
        words, _, characters, unspaced = sizes_of(self.sentence)
        return not unspaced or has_words(words, characters, unspaced)

    @property
    def perplexity(self) -> float:
        """That of a word, of which the end is one; NaN without words."""
        return perplexity_of(self.log10_probability, self.num_words + 1 if self.has_words else 0)

    @property
    def surprisals(self) -> np.ndarray:
        """Those of the tokens in bits, float64 [T]."""
        return -self.token_log10_probabilities / _BIT

    def by_token(self) -> list[dict[str, Any]]:
        """Returns the figures of each token, and its word, dicts; needs `entropy=True`, as `by_word` does."""
        rows = self._rows(np.arange(len(self.tokens)))
        return [{"token": token, **row} for token, row in zip(self.tokens, rows, strict=True)]

    def by_word(self) -> list[dict[str, Any]]:
        """Returns the figures of each word: sums over its tokens, and the distribution before its first.

        `word_surprisal` is that of the word as a whole, among all words: with its end, and given that the one before
        has ended (Pimentel and Meister, 2024, "How to Compute the Probability of a Word").
        """
        firsts = np.flatnonzero(np.diff(self._asked(self.token_words), prepend=-1))
        ended = np.append(self._asked(self.end_log10_probabilities)[firsts], 0.0) / _BIT
        if not self.tokens[0][:1].isspace():
            ended[0] = 0.0  # the first word needs no space
        rows = self._rows(firsts)
        more = [row["surprisal"] + ended[i] - ended[i + 1] for i, row in enumerate(rows)]
        return [{**row, "word_surprisal": float(each)} for row, each in zip(rows, more, strict=True)]

    def _rows(self, firsts: np.ndarray) -> list[dict[str, Any]]:
        """Returns dicts of the tokens from each of some to before the next."""
        numbers = self._asked(self.token_words)[firsts].tolist()
        columns = {
            "word_number": [number + 1 for number in numbers],
            "word": [self.words[number] for number in numbers],
            "log10_probability": np.add.reduceat(self.token_log10_probabilities, firsts).tolist(),
            "surprisal": np.add.reduceat(self.surprisals, firsts).tolist(),
            "entropy": self._asked(self.entropies)[firsts].tolist(),
            "counts": self._asked(self.count_shares)[firsts].tolist(),
        }
        for name in "network", "counts":
            values = self._asked(getattr(self, f"{name}_log10_probabilities"))
            columns[f"{name}_surprisal"] = [finite(-each) for each in np.add.reduceat(values, firsts) / _BIT]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    @staticmethod
    def _asked(values: _Values | None) -> _Values:
        if values is None:
            raise ValueError("Expected scores with the entropies: ask for them with entropy=True.")
        return values


def perplexity_of(log10_probability: float, num_words: int) -> float:
    """Returns the perplexity of a word of a text.

    Args:
        log10_probability: that of the text.
        num_words: its words; NaN is returned if there are none.
    """
    try:
        return 10 ** (-log10_probability / num_words) if num_words else math.nan
    except OverflowError:
        return math.inf


def score_sentences(model: Any, sentences: str | Iterable[str], entropy: bool = False) -> Iterator[SentenceScore]:
    """Yields what a model says of sentences, in their order.

    Each is read as a line of the training text is, after the end of another, from a zero state. They are read in
    batches of about equal length; the result does not depend on which, but for rounding.

    Args:
        model: a `LanguageModel` that knows its tokenizer; it need not be compiled. Or a `Reader`, such as `load_reader`
            returns.
        sentences: texts without line ends, or one; read in blocks of some thousand.
        entropy: whether the entropies of the distributions, the shares of counts in them and the words are found too.

    Yields:
        `SentenceScore`s.

    Raises:
        DataError: the tokenizer has no end of a line; or a sentence has one.
        ValueError: the model does not know its tokenizer.
        UnknownWordError: a word is unknown, and there is no `<unk>`.
    """
    reader = _of_lines(model)
    sentences = iter([sentences] if isinstance(sentences, str) else sentences)
    while block := list(itertools.islice(sentences, _BLOCK)):
        rows = [_encoded(reader, sentence) for sentence in block]
        for sentence, ids, figures in zip(block, rows, _figures(reader, rows, entropy), strict=True):
            yield _score(reader.tokenizer, sentence, ids, figures)


def score_document(model: Any, text: str, entropy: bool = False) -> Iterator[SentenceScore]:
    """Yields what a model says of the paragraphs of a text, each read after all that stands before it.

    They are those that a training text would have: of a model of words the lines, empty ones too. With counts of the
    training text, those of the text before a token refine the network too, as in `evaluate_counts`.

    Args:
        model: as for `score_sentences`.
        text: the text.
        entropy: as for `score_sentences`.

    Yields and raises as `score_sentences`.
    """
    reader = _of_lines(model)
    paragraphs = list(read_paragraphs(check_text(text), reader.text_format))
    rows = [_encoded(reader, paragraph) for paragraph in paragraphs]
    if not rows:
        return
    ids = np.concatenate([[reader.tokenizer.eos_id], *rows]).astype("int32")
    figures = np.split(_read_document(reader, ids, entropy), np.cumsum([len(row) for row in rows])[:-1])
    for paragraph, of_paragraph, found in zip(paragraphs, rows, figures, strict=True):
        yield _score(reader.tokenizer, paragraph, of_paragraph, found)


def _of_lines(model: Any) -> Reader:
    """Returns what reads with a model; raises a `DataError` if its text has no ends of lines."""
    reader = open_reader(model)
    if reader.tokenizer.eos_id is None:
        raise DataError("Expected a model of a text of lines: the vocabulary has no <eos>, so no sentence begins.")
    return reader


def _encoded(reader: Reader, sentence: str) -> np.ndarray:
    """Returns the ids of a sentence and its end."""
    if "\n" in check_text(sentence):
        raise DataError(f"Expected sentences without line ends. Received: {sentence[:60]!r}")
    line = reader.text_format.signs.read(reader.text_format.line(sentence))
    return np.append(reader.tokenizer.encode(line), cast(int, reader.tokenizer.eos_id))


def _score(tokenizer: Tokenizer, sentence: str, ids: np.ndarray, figures: np.ndarray) -> SentenceScore:
    """Returns the `SentenceScore` of figures, [T, 1], or [T, 6], as `_read` returns them."""
    logs, *others = figures.T
    return SentenceScore(
        sentence,
        len(sentence.split()),
        0 if tokenizer.unk_id is None else int((ids == tokenizer.unk_id).sum()),
        tuple(_texts(tokenizer, ids)),
        logs / _LN10,
        *(figure if i in (0, 2) else figure / _LN10 for i, figure in enumerate(others)),
        *(_words(tokenizer, sentence, ids) if others else ()),
    )


def _texts(tokenizer: Tokenizer, ids: np.ndarray) -> Iterator[str]:
    """Yields what tokens write: subwords name theirs in letters of their own, as `Ġ` for a space."""
    for index, name in zip(ids.tolist(), tokenizer.to_tokens(ids), strict=True):
        piece = tokenizer.pieces[index] if tokenizer.spells else b""
        yield EOS if index == tokenizer.eos_id else piece.decode(errors="backslashreplace") or name


def _words(tokenizer: Tokenizer, sentence: str, ids: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns the words of a sentence and its end, and the place of each token's word among them, int [T].

    A token is of the word in which it begins, or of the next one if it begins with white space.
    """
    pieces = [tokenizer.pieces[index] for index in ids[:-1].tolist()]
    written = re.findall(r"\s*\S+", b"".join(pieces).decode(errors="surrogateescape"))
    ends = np.cumsum([len(word.encode(errors="surrogateescape")) for word in written], dtype=int)
    words = sentence.split()
    if len(words) != len(written):  # a tokenizer may read a letter as several, and a space
        words = [word.strip() for word in written]
    return (*words, EOS), np.searchsorted(ends, np.cumsum([0, *map(len, pieces)]), side="right")


def _figures(reader: Reader, rows: Sequence[np.ndarray], entropy: bool) -> list[np.ndarray]:
    """Returns those of the tokens of rows, natural logarithms first: a list of float64 [T, 1], or [T, 6]."""
    eos_id, results = reader.tokenizer.eos_id, [np.zeros((0, 1))] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    with at_work("Scoring") as stage:
        while order:
            stage.tell(len(rows) - len(order), len(rows))
            longest = len(rows[order[-1]])  # the last of those that are read together
            together = order[-max(_TOGETHER // min(longest, _LONGEST), 1) :]
            if longest > _LONGEST:  # each is read to the end of the longest
                together = [i for i in together if 2 * len(rows[i]) > longest]
            del order[-len(together) :]
            targets = np.full((len(together), longest), eos_id, "int32")
            for row, i in zip(targets, together, strict=True):
                row[: len(rows[i])] = rows[i]
            tokens = np.concatenate([np.full_like(targets[:, :1], eos_id), targets[:, :-1]], axis=1)
            values = _read(reader, tokens, targets, entropy)
            for row, i in zip(values, together, strict=True):
                results[i] = row[: len(rows[i])].astype("float64")
    return results


def _read(reader: Reader, tokens: np.ndarray, targets: np.ndarray, entropy: bool) -> np.ndarray:
    """Returns the log probability of each target, [B, T, 1], or with what else is asked for, [B, T, 6].

    That is what `Reader.describe` says of the distribution before, the share of counts in it, and the log probabilities
    by the network alone and by the counts alone.
    """
    states, parts = np.zeros((len(tokens), reader.state_size), "float32"), []
    for start in tracked("Scoring", range(0, tokens.shape[1], _LONGEST)):
        piece = slice(start, start + _LONGEST)
        of_piece = tokens[:, piece], targets[:, piece], states
        values, after = reader.log_likelihoods(*of_piece)
        others = (
            [_distributions(reader, tokens[:, piece], states), _apart(reader, *of_piece, values)] if entropy else []
        )
        parts.append(np.concatenate([values[..., np.newaxis], *others], axis=2))
        states = after
    return np.concatenate(parts, axis=1)


def _distributions(reader: Reader, tokens: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Returns what is said of the distribution after each token, and its share of counts, float64 [B, T, 3]."""
    hidden, _ = reader.encode(tokens, states)
    flat = hidden.reshape(-1, hidden.shape[-1])
    pieces = (flat[start : start + _ROWS] for start in range(0, len(flat), _ROWS))
    found = [
        np.column_stack([reader.describe(reader.log_probabilities(each)), reader.count_shares(each)]) for each in pieces
    ]
    return np.concatenate(found).reshape(*tokens.shape, 3)


def _apart(
    reader: Reader, tokens: np.ndarray, targets: np.ndarray, states: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """Returns the log probabilities of targets by the network and by the counts alone, [B, T, 2]; `values` by both."""
    if not isinstance(reader, CountedReader):
        return np.stack([values, np.full_like(values, np.nan)], axis=2)
    network, _ = reader.alone.log_likelihoods(tokens, targets, states[:, : reader.alone.state_size])
    return np.stack([network, reader.of_counts(tokens, targets, states)], axis=2)


def _read_document(reader: Reader, ids: np.ndarray, entropy: bool) -> np.ndarray:
    """Returns the figures of all tokens of a text but the first, [T, 1] or [T, 6]."""
    if not isinstance(reader, CountedReader):
        return _read(reader, ids[np.newaxis, :-1], ids[np.newaxis, 1:], entropy)[0].astype("float64")
    if entropy:
        pieces = reader.describe_going_on(ids)
    else:
        pieces = (values[:, np.newaxis].astype("float64") for *_, values in reader.score_going_on(ids))
    return np.concatenate(list(pieces))
