from .context import Context as Context
from .counted_reader import CountedReader as CountedReader
from .files import load_saved_model as load_saved_model
from .generation import generate as generate
from .generation import generate_text as generate_text
from .reader import Reader as Reader
from .search import run_search as run_search
from .suggestion import Suggestion as Suggestion
from .suggestion import suggest as suggest

__all__: list[str]
