"""Large texts are encoded once: their ids lie in the cache folder, and are mapped into memory from there.

    CACHE/texts/KEY/
      text.json            the text's place, sizes and times of change; its tokenizer; the digest of its ids
      vocabulary.txt       or tokenizer.json: the tokenizer
      train.ids …          little-endian int32

An entry appears whole. It is replaced when its text has changed; the folder may be removed at any time.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kerasptb.data.errors import DataError
from kerasptb.data.sources.splits import SPLITS
from kerasptb.data.text_format import load_tokenizer
from kerasptb.data.tokenizers.tokenizer import Tokenizer

_DESCRIPTION = "text.json"
_BLOCK = 1 << 22

# What an entry raises that another process is removing, or that is damaged.
_DAMAGE = (OSError, ValueError, KeyError, TypeError)

_Description = dict[str, Any]  # what text.json holds
_Ids = dict[str, np.ndarray]  # by split


class StoredTexts:
    """The encoded texts in a cache folder."""

    def __init__(self, cache_dir: Path) -> None:
        self.folder = cache_dir / "texts"

    def find(self, key: _Description, vocabulary: Tokenizer | None) -> tuple[_Ids, Tokenizer, _Description] | None:
        """Returns the ids, tokenizer and description of an entry in whose description `key` is, or None.

        `key` has the text, the signs that it was read without, and the digest of the tokenizer, or what made it.
        """
        for folder in self.folder.glob("*"):
            with contextlib.suppress(*_DAMAGE):
                description = _described(folder)
                if key == {name: description[name] for name in key}:
                    found = vocabulary or load_tokenizer(folder)
                    return _checked(folder, found, description), found, description
        return None

    def new_entry(self) -> tempfile.TemporaryDirectory[str]:
        """Returns a context with a new folder for ids, which is removed at its end unless it was handed to `add`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(".*"):  # by a process that was killed
            if left.stat().st_mtime < time.time() - 24 * 3600:
                shutil.rmtree(left, ignore_errors=True)
        return tempfile.TemporaryDirectory(dir=self.folder, prefix=".", ignore_cleanup_errors=True)

    def add(self, folder: Path, vocabulary: Tokenizer, description: _Description) -> _Ids:
        """Makes a folder of `new_entry` an entry, in place of its text's earlier ones; returns the ids, read-only."""
        description = {"made_with": [], **description, "words": vocabulary.digest}
        vocabulary.save(folder / vocabulary.FILE)
        (folder / _DESCRIPTION).write_text(json.dumps(description), encoding="utf-8")
        self._remove_older(description["text"])
        content = json.dumps([description[name] for name in ("text", "absent_signs", "made_with", "words")])
        entry = self.folder / hashlib.sha256(content.encode()).hexdigest()[:32]
        try:
            folder.rename(entry)
        except OSError:  # another process was faster, or what is there is damaged
            with contextlib.suppress(OSError, ValueError):
                return _checked(entry, vocabulary, description)
            shutil.rmtree(entry, ignore_errors=True)
            folder.rename(entry)
        return _open(entry)

    def _remove_older(self, text: dict[str, Any]) -> None:
        for folder in self.folder.glob("*"):
            with contextlib.suppress(*_DAMAGE):
                other = _described(folder)["text"]
                if other["location"] == text["location"] and other != text:
                    shutil.rmtree(folder, ignore_errors=True)


def _described(folder: Path) -> _Description:
    return json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))


def digest_of(vocabulary: Tokenizer, ids: Mapping[str, np.ndarray]) -> str:
    """Returns the SHA-256, in hexadecimal, of a tokenizer's tokens and of the ids of all splits; 60 ms for 100 MB."""
    digest = hashlib.sha256("\n".join(vocabulary.tokens).encode())
    for split in SPLITS:
        digest.update(f"\n{len(ids[split])}\n".encode())
        for start in range(0, len(ids[split]), _BLOCK):
            digest.update(np.ascontiguousarray(ids[split][start : start + _BLOCK], "<i4").data)
    return digest.hexdigest()


def _open(folder: Path) -> _Ids:
    return {split: np.memmap(folder / f"{split}.ids", "<i4", "r") for split in SPLITS}


def _checked(folder: Path, vocabulary: Tokenizer, description: _Description) -> _Ids:
    ids = _open(folder)
    if digest_of(vocabulary, ids) != description["digest"]:
        raise DataError(f"{folder} is damaged: its ids are not what they were.")
    return ids
