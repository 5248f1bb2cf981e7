"""Weights in 8 bits, for runs that are handed on."""

import math

import numpy as np

from kerasptb.runs.damage import damage
from kerasptb.utils.files import atomic_write

_LARGEST = 127
_SCALE = "/scale"
_HEADER = 1024  # bytes that an array's shape and type take at most
_REMEDY = "Export the run anew."


def quantize_rows(values):
    """Returns an array in 8 bits, and the float32 scale of each row, with an axis for each of its axes.

    A scale is the largest magnitude by 127, as in symmetric post-training quantization (Jacob et al., 2018).
    """
    scales = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True) / _LARGEST
    return np.rint(values / np.where(scales > 0, scales, 1)).astype(np.int8), scales


def save_quantized(model, path):
    """Writes a model's weights in 8 bits, with a scale for each row of a matrix; vectors stay float32.

    A row is a token of the embeddings, or an input of a layer.
    """
    arrays = {}
    for weight in model.weights:
        value = np.ascontiguousarray(weight, np.float32)
        if _is_matrix(weight):
            value, arrays[weight.path + _SCALE] = quantize_rows(value)
        arrays[weight.path] = value
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_quantized(model, path):
    """Reads weights that `save_quantized` wrote of the same layers; after a `RunError` the model's are as before."""
    values = []
    with damage(path, _REMEDY), np.load(path) as arrays:
        for weight in model.weights:
            shape, name = tuple(weight.shape), weight.path
            if _is_matrix(weight):
                scale = _read(arrays, name + _SCALE, (shape[0], *(1 for _ in shape[1:])), np.float32)
                values.append(_read(arrays, name, shape, np.int8) * scale)
            else:
                values.append(_read(arrays, name, shape, np.float32))
            if not np.isfinite(values[-1]).all():
                raise ValueError(f"{name} has values that are not numbers")
    for weight, value in zip(model.weights, values, strict=True):
        weight.assign(value)


def _is_matrix(weight):
    """Whether a weight is a matrix; a GRU's biases have two dimensions."""
    return len(weight.shape) > 1 and weight.name != "bias"


def _read(arrays, name, shape, dtype):
    """Returns an array of a file that `numpy.savez` wrote; one of another size, which may be huge, is not read."""
    if name not in arrays:
        raise ValueError(f"it has no {name}: its config.json is of another model")
    size = np.dtype(dtype).itemsize * math.prod(shape)
    value = arrays[name] if arrays.zip.getinfo(f"{name}.npy").file_size <= size + _HEADER else None
    if value is None or value.shape != shape or value.dtype != dtype:
        raise ValueError(f"{name} is no {np.dtype(dtype)} {shape}, which its config.json's model has")
    return value
