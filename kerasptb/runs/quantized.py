"""Weights in 8 bits, for runs that are handed on."""

import math
import zipfile

import numpy as np

from kerasptb.runs.damage import damage
from kerasptb.utils.files import atomic_write

_LARGEST = 127
_SCALE = "/scale"
_REMEDY = "Export the run anew."


def save_quantized(model, path):
    """Writes a model's weights in 8 bits, with a scale for each row of a matrix; vectors stay float32.

    A row is a token of the embeddings, or an input of a layer. Its scale is the largest magnitude in it, by 127, as in
    symmetric post-training quantization (Jacob et al., 2018).
    """
    arrays = {}
    for weight in model.weights:
        value = np.ascontiguousarray(weight, np.float32)
        if value.ndim > 1:
            scale = np.abs(value).max(axis=tuple(range(1, value.ndim)), keepdims=True) / _LARGEST
            arrays[weight.path + _SCALE] = scale
            value = np.rint(value / np.where(scale > 0, scale, 1)).astype(np.int8)
        arrays[weight.path] = value
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_quantized(model, path):
    """Reads weights that `save_quantized` wrote of the same layers; after a `RunError` the model's are as before."""
    values = []
    with damage(path, _REMEDY), zipfile.ZipFile(path) as archive:
        for weight in model.weights:
            shape, name = tuple(weight.shape), weight.path
            if len(shape) > 1:
                scale = _read(archive, name + _SCALE, (shape[0], *(1 for _ in shape[1:])), np.float32)
                values.append(_read(archive, name, shape, np.int8) * scale)
            else:
                values.append(_read(archive, name, shape, np.float32))
            if not np.isfinite(values[-1]).all():
                raise ValueError(f"{name} has values that are not numbers")
    for weight, value in zip(model.weights, values, strict=True):
        weight.assign(value)


def _read(archive, name, shape, dtype):
    """Returns an array of a file that `numpy.savez` wrote; one of another shape, which may be huge, is not read."""
    try:
        member = archive.open(f"{name}.npy")
    except KeyError:
        raise ValueError(f"it has no {name}: its config.json is of another model") from None
    with member as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("its format is another")
        found, is_fortran, its_dtype = np.lib.format.read_array_header_1_0(file)
        if found != shape or is_fortran or its_dtype != dtype:
            raise ValueError(f"{name} is {its_dtype} {found}, and its config.json's model has {shape}")
        content = file.read(its_dtype.itemsize * math.prod(shape))
        if file.read(1):  # which compares the checksum, at the end
            raise ValueError(f"{name} is longer than its shape")
    return np.frombuffer(content, dtype).reshape(shape)
