from .context import Beginning as Beginning
from .context import Context as Context
from .counted_reader import CountedReader as CountedReader
from .generation import generate as generate
from .generation import generate_text as generate_text
from .generation import sample as sample
from .memory import Memory as Memory
from .network_reader import NetworkReader as NetworkReader
from .network_reader import load_saved_model as load_saved_model
from .reader import ModelReader as ModelReader
from .reader import Reader as Reader
from .reader import open_reader as open_reader
from .suggestion import Suggestion as Suggestion
from .suggestion import suggest as suggest
from .words import NextWords as NextWords
from .words import WordPieces as WordPieces
from .words import pieces_of as pieces_of
from .words import run_search as run_search
from .words import search_words as search_words
from .writer import Typed as Typed
from .writer import Writer as Writer

__all__: list[str]
