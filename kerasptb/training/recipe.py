"""What goes by the recipe, the text and the machine, in a training and in a search."""

import keras

from kerasptb.data import Corpus, DataError
from kerasptb.data.streams import count_batches
from kerasptb.ops.plan import default_precision
from kerasptb.ops.platform import why_not_native
from kerasptb.presets import get_preset


def format_by_preset(text, format, preset):
    """Returns how a text is read: in the tokens of a recipe, where one is named and nothing else says them."""
    if preset is None or isinstance(text, Corpus):
        return format
    return format.or_tokens(get_preset(preset).tokens)


def usual_preset(corpus, minutes=None):
    """Returns the recipe of a text for which none is named: that of the tutorial counts epochs, not minutes."""
    return "auto" if corpus.vocabulary.spells or minutes is not None else "notebook"


def has_bfloat16(backend="auto", dtype=None):
    """Returns whether a model has native kernels for bfloat16 here, of a backend and a dtype policy."""
    is_plain = keras.dtype_policies.get(dtype).name == "float32"
    return backend in ("auto", "native") and is_plain and why_not_native("bfloat16") is None


def precision_of(recipe, backend="auto", dtype=None):
    """Returns the precision of a new training that names none, of a backend and a dtype policy."""
    return recipe.precision or default_precision(backend, keras.dtype_policies.get(dtype))


def check_texts(corpus, batch_size, num_steps):
    """Raises a `DataError` if a text is too short for a batch, or for an evaluation; the message names it."""
    for name, text in (("training", corpus.train), ("validation", corpus.valid)):
        try:
            count_batches(len(text), batch_size, num_steps)
        except DataError as error:
            raise DataError(str(error).replace("The text", f"The {name} text", 1)) from None
    if len(corpus.test) < 2:
        raise DataError(f"Expected a test text of at least two words. Received: {len(corpus.test)}")
