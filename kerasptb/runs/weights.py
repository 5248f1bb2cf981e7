"""Files of weights that tell whether they are what was written."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasptb.arguments import ModelArguments
from kerasptb.engine import Network
from kerasptb.engine.files import arrays_in, network_of, read_weights
from kerasptb.engine.network import why_not
from kerasptb.engine.quantized import Quantized, as_float32
from kerasptb.runs.damage import RunError, damage
from kerasptb.utils.files import atomic_write

if TYPE_CHECKING:
    import h5py

logger = logging.getLogger(__name__)

DIGEST = "kerasptb_sha256"
_REMEDY = '--resume writes it anew; in a script load_model(weights="last") or ("best") reads the other weights.'
_EXPORT_ANEW = "Export the run anew."


def load_network(path: Path, arguments: ModelArguments, changes: Mapping[str, Any]) -> Network:
    """Returns the network of a file of weights.

    Args:
        path: the file.
        arguments: of the model.
        changes: "backend" and "precision" in place of the model's, among others.

    Raises:
        RunError: the file is damaged, or of another model.
        NativeUnavailableError: the backend or the precision is not there.
        ValueError: the backend has not the precision.
    """
    weights = read_checked(path, arguments)
    backend, precision = (changes.get(name) or getattr(arguments, name) for name in ("backend", "precision"))
    if precision is None:
        in_bfloat16 = arguments.dtype == "mixed_bfloat16" and backend in ("auto", "native")
        precision = "bfloat16" if in_bfloat16 and not why_not("bfloat16") else "float32"
    return network_of(arguments, weights, backend=backend, precision=precision)


def read_checked(path: Path, arguments: ModelArguments) -> list[np.ndarray | Quantized]:
    """Returns the arrays of `weights_of` of a model in a file; raises a `RunError` for a damaged one."""
    if path.suffix == ".npz":
        with damage(path, _EXPORT_ANEW):
            return read_weights(path, arguments)
    check(path)
    with damage(path, _REMEDY):
        weights = read_weights(path, arguments)
    if not all(np.isfinite(as_float32(weight)).all() for weight in weights):
        raise RunError(f"{path} holds weights that are not numbers: its training has diverged. {_REMEDY}")
    return weights


def is_whole(path: Path) -> bool:
    """Returns whether a file of weights is there, and is what was written."""
    try:
        check(path)
    except (RunError, FileNotFoundError):
        return False
    return True


def mend_weights(path: Path, copy: Path) -> None:
    """Writes a file of weights that is damaged or gone anew from its copy, or the copy from it, and logs it."""
    for file, other in ((path, copy), (copy, path)):
        if is_whole(file):
            continue
        if not is_whole(other):
            raise RunError(
                f"Neither {path} nor {copy.name} is whole, and no training comes by these weights again. "
                "Restore one of them from a copy of the run."
            )
        logger.warning("%s is damaged or gone. It is written anew from %s.", file, other.name)
        with atomic_write(file) as temporary:
            shutil.copyfile(other, temporary)


def check(path: Path) -> None:
    """Raises a `RunError` unless a file of weights is what was written."""
    import h5py  # noqa: PLC0415  (weights in 8 bits need none)

    with damage(path, _REMEDY), h5py.File(path, "r") as file:
        if (expected := file.attrs.get(DIGEST)) is None:
            raise ValueError("it has no digest")
        if sum(array.nbytes for array in arrays_in(file).values()) > path.stat().st_size:
            raise ValueError("its arrays are larger than the file")
        if expected != digest(file):
            raise ValueError("its digest is another")


def identity(path: Path) -> bytes:
    """Returns what tells a file of weights from others: the digest that it holds, in 8 bits that of the file."""
    if path.suffix == ".npz":
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    import h5py  # noqa: PLC0415  (weights in 8 bits need none)

    with damage(path, _REMEDY), h5py.File(path, "r") as stored:
        return str(stored.attrs.get(DIGEST)).encode()


def digest(file: h5py.File) -> str:
    """Returns the SHA-256 of the names and values of all arrays in an HDF5 file, in hexadecimal."""
    found = hashlib.sha256()
    for name, array in sorted(arrays_in(file).items()):
        found.update(f"{name} {array.shape} {array.dtype}\n".encode())
        found.update(np.ascontiguousarray(array[()]).tobytes())
    return found.hexdigest()
