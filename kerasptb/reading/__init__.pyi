from .context import Beginning as Beginning
from .context import Context as Context
from .counted_reader import CountedReader as CountedReader
from .files import load_saved_model as load_saved_model
from .generation import generate as generate
from .generation import generate_text as generate_text
from .generation import sample as sample
from .pieces import WordPieces as WordPieces
from .pieces import pieces_of as pieces_of
from .reader import Reader as Reader
from .reader import open_reader as open_reader
from .search import NextWords as NextWords
from .search import run_search as run_search
from .search import run_searches as run_searches
from .search import search_side_by_side as search_side_by_side
from .suggestion import Suggestion as Suggestion
from .suggestion import suggest as suggest
from .typed import Typed as Typed
from .words import search_words as search_words

__all__: list[str]
