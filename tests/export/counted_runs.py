"""Runs with the counts of a text, which no training has made."""

import numpy as np

from kerasptb.models import LanguageModel
from kerasptb.models.weights import save_weights
from kerasptb.reading.counted_reader import CountedText
from kerasptb.reading.counts import initial_weights, sort_positions
from kerasptb.runs.counted_text import write_counts
from kerasptb.runs.words import make_words

_SIZES = {"embedding_size": 4, "units": [5], "batch_size": 2, "num_steps": 3, "init_scale": 1.0, "seed": 1}


def count(run, text):
    """Writes the words and counts of a text into a run."""
    tokens = np.ascontiguousarray(run.vocabulary.encode(text), "int32")
    make_words(run, tokens)
    order = sort_positions(tokens, len(run.vocabulary))
    write_counts(run, CountedText(tokens, order, *[initial_weights()] * 3))


def make_counted(make_run, folder, tokenizer, text, **data):
    """Returns a run with the counts of a text."""
    settings = {**_SIZES, "vocabulary_size": len(tokenizer)}
    run = make_run(folder, tokenizer, settings, data={"tokens": tokenizer.kind, **data})
    save_weights(LanguageModel(**run.settings.model.as_dict()), run.weights_path("best"))
    count(run, text)
    return run
