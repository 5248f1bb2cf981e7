"""The tokenizer in a folder, of whichever kind it is."""

from pathlib import Path

from kerasptb.data.subwords import Subwords
from kerasptb.data.tokenizer import Tokenizer
from kerasptb.data.vocabulary import Vocabulary


def load_tokenizer(folder: Path) -> Tokenizer:
    """Reads the tokenizer that `save` wrote under its `FILE` in a folder.

    Args:
        folder: the folder.

    Raises:
        DataError: the file is damaged.
        FileNotFoundError: there is none.
    """
    subwords = folder / Subwords.FILE
    return Subwords.load(subwords) if subwords.exists() else Vocabulary.load(folder / Vocabulary.FILE)
