"""Text to ids. Depends on no model and on no framework."""

from kerasptb.data.corpus import Corpus, load_corpus
from kerasptb.data.errors import DataError, UnknownWordError
from kerasptb.data.reader import ptb_iterator, ptb_raw_data
from kerasptb.data.sources.source import Source
from kerasptb.data.text_format import load_tokenizer
from kerasptb.data.tokenizers.ptb_words import tokenize
from kerasptb.data.tokenizers.subwords import Subwords
from kerasptb.data.tokenizers.tokenizer import EOS, UNK, Tokenizer
from kerasptb.data.tokenizers.vocabulary import Vocabulary

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
    "load_tokenizer",
    "ptb_iterator",
    "ptb_raw_data",
    "tokenize",
]
