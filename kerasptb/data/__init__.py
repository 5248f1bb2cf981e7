"""Text to ids to batches. Depends on numpy and tf.data, and on no model."""

from kerasptb.data.batching import make_dataset
from kerasptb.data.corpus import Corpus, load_corpus
from kerasptb.data.errors import DataError, UnknownWordError
from kerasptb.data.reader import ptb_iterator, ptb_raw_data
from kerasptb.data.tokenizer import tokenize
from kerasptb.data.vocabulary import EOS, UNK, Vocabulary

__all__ = [
    "EOS",
    "UNK",
    "Corpus",
    "DataError",
    "UnknownWordError",
    "Vocabulary",
    "load_corpus",
    "make_dataset",
    "ptb_iterator",
    "ptb_raw_data",
    "tokenize",
]
