"""A small English corpus from Python's standard library, for machines with neither data nor network.

The text is the prose of the language reference that `help()` shows (`pydoc_data.topics`), tokenised as PTB is: lower
case, numbers as `N`, no punctuation, clitics split off (`it 's`, `does n't`), rare words as `<unk>`. It differs a
little between versions of Python, and its perplexity cannot be compared with published figures.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from kerasptb.data.errors import DataError
from kerasptb.data.tokenizers.ptb_words import tokenize
from kerasptb.data.tokenizers.tokenizer import UNK

# A word with fewer occurrences in the training text becomes `<unk>`. With 3, this is 5.9% of the training words on
# Python 3.11, which is closest to PTB's 4.8%.
MIN_COUNT = 3

# Of every ten paragraphs, eight are for training, one for validation and one for the test. Neighbouring paragraphs go
# to different splits, so that the three splits are alike.
_SPLIT_OF_TEN = ("train",) * 4 + ("valid",) + ("train",) * 4 + ("test",)

_NOT_PROSE = re.compile(
    r"""::=|>>>|\.\.\.\ |^\s*[|+]|[{}]          # grammar, sessions, tables, code
      | ^\s*([*=~^"#.-])\1{2,}\s*$              # underlined headings
      | ^\s*(Changed|New|Added|Deprecated|Removed)\ in\ version | ^\s*Related|^\s*See\ also:?$
      | \s=\s|\breturn\ \w+$|:\s*$\n\s+\w+\(    # assignments and blocks
    """,
    re.VERBOSE | re.MULTILINE,
)
_MARKER = re.compile(r"^\s*(?:[*\-•]|\[?\(?\d+[.)\]]+)\s+")
_FOOTNOTE_OR_ADDRESS = re.compile(r"\s*\[\d+\]|<?https?://[^\s>)]+>?")
_PLAIN_WORD = re.compile(r"""["“'‘(*]*[^\W\d_]+(?:['’-][^\W\d_]+)*["”'’)*.,;:!?]*""")
_SENTENCE_END = re.compile(r"""(?<=[.!?])["”')]*\s+(?=["“'(*]*[A-Z])""")


def read_sample(topics: dict[str, str] | None = None) -> dict[str, str]:
    """Returns the sample's three texts, a sentence a line, of topics in `help()`'s layout: by default Python's own."""
    if topics is None:
        try:
            from pydoc_data.topics import topics as own  # noqa: PLC0415
        except ImportError:
            raise DataError(
                "The built-in sample needs Python's own module pydoc_data, which this Python lacks. "
                "Install the whole standard library, or name a folder of text."
            ) from None
        topics = own
    splits: dict[str, list[list[str]]] = {"train": [], "valid": [], "test": []}
    for paragraph, split in zip(paragraphs(topics), itertools.cycle(_SPLIT_OF_TEN), strict=False):
        splits[split].extend(paragraph)
    counts = Counter(itertools.chain.from_iterable(splits["train"]))
    known = {word for word, count in counts.items() if count >= MIN_COUNT}
    return {split: "".join(_lines(sentences, known)) for split, sentences in splits.items()}


def paragraphs(topics: dict[str, str]) -> Iterator[list[list[str]]]:
    """Yields the paragraphs of prose: lists of sentences, which are lists of words. No sentence occurs twice."""
    # Some topics repeat others completely. A sentence in two splits would test what the model has memorised.
    seen = set()
    for name in sorted(topics):
        for block in re.split(r"\n\s*\n", topics[name]):
            sentences = []
            for sentence in split_sentences(block):
                words = tokenize(sentence)
                if len(words) >= 4 and tuple(words) not in seen:
                    seen.add(tuple(words))
                    sentences.append(words)
            if sentences:
                yield sentences


def split_sentences(block: str) -> list[str]:
    """Returns the sentences of a block of text between blank lines; none if it is not prose."""
    if _NOT_PROSE.search(block):
        return []
    text = _FOOTNOTE_OR_ADDRESS.sub("", " ".join(_MARKER.sub("", block).split()))
    # Prose ends in a stop; headings, signatures and examples do not.
    if not text.rstrip("\"”')*").endswith((".", ":", "!", "?", ";")):
        return []
    words = text.split()
    if sum(bool(_PLAIN_WORD.fullmatch(word)) for word in words) < 0.6 * len(words):
        return []
    return _SENTENCE_END.split(text)


def _lines(sentences: Iterable[list[str]], known: set[str]) -> Iterator[str]:
    for words in sentences:
        yield f" {' '.join(word if word in known else UNK for word in words)} \n"
