"""Text to ids. Depends on no model and on no framework.

What `load_corpus` takes becomes a `Corpus` in these steps:

    sources/source.py      Source: the paths that are named, and how they are read
    sources/published.py   or a name, PTB or the sample: found, downloaded, made
    sources/opening.py     OpenedText: three `TextFile`s in UTF-8, unpacked; of archives.py, joined, cut by splits.py
    sources/formats/       each file by its kind, as plain text
    text_format.py         TextFormat: what the text is cut into, judged by all of it
    paragraphs.py          its lines, joined where they are wrapped
    encoding.py            ids, by a `Tokenizer` of tokenizers/
    corpus.py              Corpus; stored.py keeps a large one in the cache
"""

from kerasptb.data.corpus import Corpus, load_corpus
from kerasptb.data.errors import DataError, UnknownWordError
from kerasptb.data.sources.source import Source
from kerasptb.data.tokenizers.ptb_words import tokenize
from kerasptb.data.tokenizers.subwords import Subwords
from kerasptb.data.tokenizers.tokenizer import EOS, UNK, Tokenizer
from kerasptb.data.tokenizers.vocabulary import Vocabulary
from kerasptb.data.tutorial import ptb_iterator, ptb_raw_data

__all__ = [
    "EOS",
    "UNK",
    "Corpus",
    "DataError",
    "Source",
    "Subwords",
    "Tokenizer",
    "UnknownWordError",
    "Vocabulary",
    "load_corpus",
    "ptb_iterator",
    "ptb_raw_data",
    "tokenize",
]
