"""Log probabilities of sentences, each read by itself from the end of the one before."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator

import numpy as np

from kerasptb.data import DataError
from kerasptb.data.counts import count_text, has_words
from kerasptb.data.errors import check_text
from kerasptb.models import LanguageModel
from kerasptb.reading import Reader, open_reader

# Sentences that are sorted by length, and tokens that are read together.
_BLOCK, _TOGETHER = 4096, 1 << 13
# Rows are padded to a multiple of so many tokens, and longer sentences than the most are read in pieces: then there are
# few shapes, and a backend that compiles each has little to do.
_UNIT, _LONGEST = 8, 256


@dataclasses.dataclass(frozen=True, eq=False)
class SentenceScore:
    """What a model says of a sentence. All probabilities are base-10 logarithms, as in the field's tools.

    Attributes:
        sentence: the sentence.
        num_words: its words between white space.
        num_unknown: its tokens that are `<unk>`.
        tokens: what is read of it, and at last its end.
        token_log10_probabilities: float64 [T], of each token after those before it.
    """

    sentence: str
    num_words: int
    num_unknown: int
    tokens: tuple[str, ...]
    token_log10_probabilities: np.ndarray

    @property
    def log10_probability(self) -> float:
        """That of the sentence and its end."""
        return float(self.token_log10_probabilities.sum())

    @property
    def has_words(self) -> bool:
        """Whether what stands between its spaces are words."""
        words, _, characters, unspaced = count_text(self.sentence)
        return not unspaced or has_words(words, characters, unspaced)

    @property
    def perplexity(self) -> float:
        """That of a word, of which the end is one; NaN without words."""
        return perplexity_of(self.log10_probability, self.num_words + 1 if self.has_words else 0)


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


def score_sentences(model: LanguageModel | Reader, sentences: str | Iterable[str]) -> Iterator[SentenceScore]:
    """Yields what a model says of sentences, in their order.

    Each is read as a line of the training text is, after the end of another, from a zero state. They are read in
    batches of about equal length; the result does not depend on which, but for rounding.

    Args:
        model: a `LanguageModel` that knows its tokenizer; it need not be compiled. Or what `load_saved_model` returns.
        sentences: texts without line ends, or one; read in blocks of some thousand.

    Yields:
        `SentenceScore`s.

    Raises:
        DataError: the tokenizer has no end of a line; or a sentence has one.
        ValueError: the model does not know its tokenizer.
        UnknownWordError: a word is unknown, and there is no `<unk>`.
    """
    reader = open_reader(model)
    tokenizer = reader.tokenizer
    if tokenizer.eos_id is None:
        raise DataError("Expected a model of a text of lines: the vocabulary has no <eos>, so no sentence begins.")
    sentences = iter([sentences] if isinstance(sentences, str) else sentences)
    while block := list(itertools.islice(sentences, _BLOCK)):
        rows = [np.append(_encoded(reader.text_format, sentence), tokenizer.eos_id) for sentence in block]
        for sentence, ids, values in zip(block, rows, _log_probabilities(reader, rows, tokenizer.eos_id), strict=True):
            yield SentenceScore(
                sentence,
                len(sentence.split()),
                0 if tokenizer.unk_id is None else int((ids == tokenizer.unk_id).sum()),
                tuple(tokenizer.to_tokens(ids)),
                values / math.log(10),
            )


def _encoded(text_format, sentence):
    if "\n" in check_text(sentence):
        raise DataError(f"Expected sentences without line ends. Received: {sentence[:60]!r}")
    line = " ".join(sentence.split()) if text_format.of_words else sentence.rstrip()  # as lines are read
    return text_format.tokenizer.encode(text_format.signs.read(line))


def _log_probabilities(reader, rows, eos_id):
    """Returns those of the tokens of rows, natural logarithms: a list of float64 [T]."""
    results = [np.zeros(0)] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    while order:
        # The longest is the last of those that are read with it.
        padded = -(-len(rows[order[-1]]) // _UNIT) * _UNIT
        rows_together = _power_of_two(max(_TOGETHER // min(padded, _LONGEST), 1))
        together = order[-rows_together:]
        if padded > _LONGEST:  # each is read to the end of the longest
            together = [i for i in together if 2 * len(rows[i]) > padded]
        del order[-len(together) :]
        # The last few of a block are filled up, so that there are few shapes.
        targets = np.full((_power_of_two(2 * len(together) - 1), padded), eos_id, "int32")
        for row, i in zip(targets, together, strict=False):
            row[: len(rows[i])] = rows[i]
        tokens = np.concatenate([np.full_like(targets[:, :1], eos_id), targets[:, :-1]], axis=1)
        values = _read(reader, tokens, targets)
        for row, i in zip(values, together, strict=False):
            results[i] = row[: len(rows[i])].astype("float64")
    return results


def _read(reader, tokens, targets):
    """Returns the log probability of each target, float32 [B, T]."""
    states, parts = np.zeros((len(tokens), reader.state_size), "float32"), []
    for start in range(0, tokens.shape[1], _LONGEST):
        piece = slice(start, start + _LONGEST)
        values, states = reader.log_likelihoods(tokens[:, piece], targets[:, piece], states)
        parts.append(values)
    return np.concatenate(parts, axis=1)


def _power_of_two(count):
    """Returns the largest power of two that is at most `count`."""
    return 1 << (count.bit_length() - 1)
