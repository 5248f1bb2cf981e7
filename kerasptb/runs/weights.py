"""Files of weights that tell whether they are what was written."""

import hashlib
import io
import logging
import shutil

import h5py
import numpy as np

from kerasptb.compat.keras import H5IOStore, save_state
from kerasptb.runs.damage import RunError, damage
from kerasptb.runs.quantized import load_quantized
from kerasptb.utils.files import atomic_write

logger = logging.getLogger(__name__)

_DIGEST = "kerasptb_sha256"
_REMEDY = '--resume writes it anew; in a script load_model(weights="last") or ("best") reads the other weights.'


def save_weights(model, *paths):
    """Writes a model's weights, with their digest in the same file, to each path; the files are replaced whole."""
    # In memory: HDF5 kills the process if the disk is full.
    content = io.BytesIO()
    store = H5IOStore(content, mode="w")
    save_state(model, store, assets_store=None, inner_path="", visited_saveables=set())
    store.close()
    with h5py.File(content, "r+") as file:
        file.attrs[_DIGEST] = _digest(file)
    for path in paths:
        with atomic_write(path) as temporary:
            temporary.write_bytes(content.getbuffer())


def load_weights(model, path):
    """Reads a model's weights, of `save_weights`, or of `save_quantized` if the file's name ends in `.npz`."""
    if path.suffix == ".npz":
        load_quantized(model, path)
        return
    _check(path)
    with damage(path, _REMEDY):
        model.load_weights(path)
    if not all(np.isfinite(weight).all() for weight in model.get_weights()):
        raise RunError(f"{path} holds weights that are not numbers: its training has diverged. {_REMEDY}")


def is_whole(path):
    """Returns whether a file of weights is there, and is what was written."""
    try:
        _check(path)
    except (RunError, FileNotFoundError):
        return False
    return True


def mend_weights(path, copy):
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


def _check(path):
    with damage(path, _REMEDY), h5py.File(path, "r") as file:
        if (expected := file.attrs.get(_DIGEST)) is None:
            raise ValueError("it has no digest")
        if sum(array.nbytes for array in _arrays(file).values()) > path.stat().st_size:
            raise ValueError("its arrays are larger than the file")
        if expected != _digest(file):
            raise ValueError("its digest is another")


def _arrays(file):
    """Returns the arrays in an HDF5 file by name, unread."""
    arrays = {}
    file.visititems(lambda name, item: arrays.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return arrays


def _digest(file):
    """Returns the SHA-256 of the names and values of all arrays in an HDF5 file, in hexadecimal."""
    digest = hashlib.sha256()
    for name, array in sorted(_arrays(file).items()):
        digest.update(f"{name} {array.shape} {array.dtype}\n".encode())
        digest.update(np.ascontiguousarray(array[()]).tobytes())
    return digest.hexdigest()
