"""Where the keys of a keyboard are: files of a few lines, which anybody can write."""

from __future__ import annotations

import dataclasses
import functools
import json
import unicodedata
from pathlib import Path

import numpy as np

from kerasptb.data import DataError
from kerasptb.utils.files import read_small

_OWN = Path(__file__).parent / "layouts"
_WHAT = 'a layout such as {"rows": [{"keys": "qwertyuiop"}, {"keys": "asdfghjkl", "from": 0.5}]}'
# Of a phone's keys, in their width.
_HEIGHT = 1.5


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """The keys of a keyboard, K of them.

    Attributes:
        keys: K small letters, or other characters.
        centres: float64 [K, 2], x to the right and y down, in widths of a key.
        height: of a key, in widths.
        typed_by: mapping from letters without a key to the key that stands for them.
    """

    keys: str
    centres: np.ndarray
    height: float = _HEIGHT
    typed_by: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        places = {tuple(np.round(place, 6)) for place in self.centres.tolist()}
        if not self.keys or len(set(self.keys)) < len(self.keys) or len(places) < len(self.keys):
            raise DataError(
                f"Expected a layout with at least one key, each in a place of its own. Received: keys {self.keys!r}"
            )
        if not np.isfinite(self.centres).all() or not 0 < self.height < np.inf:
            raise DataError("Expected a layout with keys in finite places, and of a positive height")
        if unknown := [key for key in self.typed_by.values() if key not in set(self.keys)]:
            raise DataError(f"Expected letters that are typed by keys of the layout. Received: {unknown[0]!r}")

    def key_of(self, letter: str) -> int:
        """Returns the key of a letter, in capitals or with an accent as without; -1 for none."""
        small = letter.lower()
        for each in (small, self.typed_by.get(small, ""), unicodedata.normalize("NFD", small)[:1]):
            if each and each in self.keys:
                return self.keys.index(each)
        return -1

    def nearest(self, points: np.ndarray) -> np.ndarray:
        """Returns the keys that points hit, int [N], from float64 [N, 2]: those whose rectangles are nearest."""
        away = np.abs(points[:, np.newaxis] - self.centres) - np.array([0.5, self.height / 2])
        distances = (np.maximum(away, 0) ** 2).sum(axis=2)
        between = ((points[:, np.newaxis] - self.centres) ** 2).sum(axis=2)
        return np.lexsort([between, distances])[:, 0] if len(points) else np.zeros(0, int)


def load_layout(name: str) -> Layout:
    """Returns a `Layout` of the package, "azerty", "portuguese", "qwerty" or "qwertz", or of a JSON file.

    A file has `rows` from the top, each with its `keys` from left to right, `from` where the first begins; and may have
    the `height` of a key, in widths, and what letters without a key are `typed_by`.

    Raises:
        DataError: if there is no such layout, or the file is none.
    """
    own = _OWN / f"{name}.json"
    return _read_own(own) if own.parent == _OWN and own.exists() else _read(Path(name))


def _read(path: Path) -> Layout:
    try:
        layout = json.loads(read_small(path))
    except OSError:
        known = ", ".join(sorted(each.stem for each in _OWN.glob("*.json") if each.stem != "ocr"))
        raise DataError(f"Expected a layout, one of {known}, or the path of a file. Received: {path}") from None
    except (RecursionError, ValueError) as error:
        raise DataError(f"Expected {_WHAT} in {path}. Received: {error}") from None
    try:
        height = float(layout.get("height", _HEIGHT))
        keys = "".join(row["keys"] for row in layout["rows"]).lower()
        centres = [
            (float(row.get("from", 0)) + i + 0.5, (y + 0.5) * height)
            for y, row in enumerate(layout["rows"])
            for i in range(len(row["keys"]))
        ]
        typed_by = {letter.lower(): key.lower() for letter, key in layout.get("typed_by", {}).items()}
        return Layout(keys, np.array(centres).reshape(-1, 2), height, typed_by)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"Expected {_WHAT} in {path}") from None


_read_own = functools.lru_cache(_read)
