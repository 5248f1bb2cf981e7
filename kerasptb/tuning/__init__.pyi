"""The public names; the package imports each from here when it is first used (see SPEC 1 of Scientific Python)."""

from .search import SearchError as SearchError
from .search import SearchResult as SearchResult
from .search import tune as tune
from .search_space import LanguageModelSpace as LanguageModelSpace
from .workers import WorkersFailedError as WorkersFailedError

__all__: list[str]
