"""Settings of evaluations that adapt to a text: tuned once, and kept in a file of a run."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from kerasptb.arguments import Arguments
from kerasptb.utils.files import read_json, write_json

_Settings = TypeVar("_Settings", bound=Arguments)


class KeptSettings:
    """Settings that are tuned at first use, and again where the weights, the text or what else they are for differ.

    Args:
        path: the file, the run's adaptation.json.
        weights: the arrays of the model.
        corpus: the digest of the text that they are tuned on.
        report: called with a line before they are tuned, and if they cannot be kept.
    """

    def __init__(self, path: Path, weights: Iterable[np.ndarray], corpus: str, report: Callable[[str], Any]) -> None:
        digest = hashlib.sha256()
        for weight in weights:
            digest.update(weight.tobytes())
        self._path, self._report = path, report
        self._tuned_for = {"weights": digest.hexdigest(), "corpus": corpus}

    def settings(self, method: str, kind: type[_Settings], tune: Callable[[], _Settings], **others: Any) -> _Settings:
        """Returns the settings of a method, by its name in the file.

        Args:
            method: the name.
            kind: their class.
            tune: makes them.
            **others: what else they are tuned for, in JSON.
        """
        tuned_for = {**self._tuned_for, **others}
        entry = self._read().get(method)
        if isinstance(entry, dict) and entry.get("tuned_for") == tuned_for:
            try:
                return kind(**entry["settings"])
            except (KeyError, TypeError, ValueError):
                pass  # a file that was written by hand
        name = method.replace("_", " ")
        self._report(f"Tuning the settings of {name} on the validation text; {self._path} will keep them.")
        found = tune()
        entry = {"settings": dataclasses.asdict(found), "tuned_for": tuned_for}
        try:
            write_json(self._path, {**self._read(), method: entry})  # beside what another process has tuned meanwhile
        except OSError as error:
            self._report(f"The settings could not be kept, and will be tuned again: {error.strerror}: {self._path}")
        return found

    def _read(self) -> dict[str, Any]:
        content = read_json(self._path)
        return content if isinstance(content, dict) else {}
