"""A network from the files that hold its weights: HDF5 as Keras writes it, 8 bits, and `.keras`."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kerasptb.arguments import ModelArguments
from kerasptb.cells import CELLS
from kerasptb.engine.network import Network
from kerasptb.engine.quantized import Quantized, read_quantized, write_quantized

if TYPE_CHECKING:
    import h5py

LANGUAGE_MODEL, ASSETS = "LanguageModel", "assets/"


class Weight(NamedTuple):
    """An array of a model's weights.

    Attributes:
        path: as Keras names it, "lstm_0/lstm_cell/kernel".
        place: where it is in an HDF5 file that Keras wrote, "layers/stateful_lstm/cell/vars/0".
        shape: its shape.
    """

    path: str
    place: str
    shape: tuple[int, ...]


def weights_of(arguments: ModelArguments) -> list[Weight]:
    """Returns the weights of a `LanguageModel` in the order of its layers; of a tied kernel none."""
    return list(_weights(arguments))


def _weights(arguments: ModelArguments) -> Iterator[Weight]:
    cell, size, V = CELLS[arguments.cell], arguments.embedding_size, arguments.vocabulary_size
    yield Weight("embedding/embeddings", "layers/embedding/vars/0", (V, size))
    layer_class, features = "stateful_lstm" if cell.name == "lstm" else "stateful_rnn", size
    for i, units in enumerate(arguments.units):
        of_cell, place = f"{cell.layer_name(i)}/{cell.name}_cell", f"layers/{_numbered(layer_class, i)}/cell/vars"
        for j, (name, (_, shape)) in enumerate(cell.weight_shapes(features, units).items()):
            yield Weight(f"{of_cell}/{name}", f"{place}/{j}", shape)
        features = units
    if arguments.projection:
        yield Weight("projection/kernel", "layers/dense/vars/0", (features, size))
        yield Weight("projection/bias", "layers/dense/vars/1", (size,))
        features = size
    if arguments.tie_embeddings:
        yield Weight("logits/bias", "layers/tied_dense/vars/0", (V,))
        return
    place = f"layers/{_numbered('dense', int(arguments.projection))}/vars"
    yield Weight("logits/kernel", f"{place}/0", (features, V))
    yield Weight("logits/bias", f"{place}/1", (V,))


def _numbered(name: str, i: int) -> str:
    """Returns how Keras names the i-th of several layers of a class in a file."""
    return f"{name}_{i}" if i else name


def network_of(arguments: ModelArguments, arrays: Sequence[np.ndarray | Quantized], **how: Any) -> Network:
    """Returns the network of arrays in the order of `weights_of`; `how` are further arguments of `Network`."""
    if arguments.tie_embeddings:
        arrays = [*arrays[:-1], arrays[0], arrays[-1]]  # which stands for its transpose
    return Network(CELLS[arguments.cell], arrays, arguments.tie_embeddings, **how)


def arrays_in(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Returns the arrays in an HDF5 file by name, unread; raises ValueError if some lie in other files."""
    import h5py  # noqa: PLC0415  (weights in 8 bits need none)

    arrays: dict[str, h5py.Dataset] = {}  # links are not followed
    file.visititems(lambda name, item: arrays.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    if any(array.external or array.is_virtual for array in arrays.values()):
        raise ValueError("it has arrays in other files")
    return arrays


def read_hdf5(file: str | Path | io.IOBase, arguments: ModelArguments) -> list[np.ndarray]:
    """Returns the arrays of `weights_of` in an HDF5 file; raises ValueError for a file of other layers."""
    import h5py  # noqa: PLC0415  (weights in 8 bits need none)

    with h5py.File(file, "r") as stored:
        arrays = arrays_in(stored)
        return [_read(arrays, weight) for weight in weights_of(arguments)]


def _read(stored: Mapping[str, Any], weight: Weight) -> np.ndarray:
    if weight.place not in stored:
        raise ValueError(f"it has no {weight.place}: its config.json is of another model")
    array = stored[weight.place]
    if array.shape != weight.shape:
        raise ValueError(f"{weight.path} is {array.shape}, where its config.json's model has {weight.shape}")
    values = array[()]
    if array.attrs.get("dtype") == "bfloat16":  # of which HDF5 has but the bits
        values = (values.view("uint16").astype("uint32") << 16).view("float32")
    return np.ascontiguousarray(values, "float32")


def read_weights(path: Path, arguments: ModelArguments) -> list[np.ndarray | Quantized]:
    """Returns the arrays of `weights_of` in a file of weights, in 8 bits if its name ends in `.npz`."""
    if path.suffix == ".npz":
        return read_quantized(path, [(weight.path, weight.shape) for weight in weights_of(arguments)])
    return [*read_hdf5(path, arguments)]


def write_in_8_bits(path: Path, arguments: ModelArguments, network: Network) -> None:
    """Writes the weights of a model's network, from where `read_weights` reads them; the kernel that is tied once."""
    arrays = network.weights
    if arguments.tie_embeddings:
        arrays = [*arrays[:-2], arrays[-1]]
    paths = (weight.path for weight in weights_of(arguments))
    write_quantized(path, dict(zip(paths, arrays, strict=True)))


def load_keras_file(path: Path, **how: Any) -> Network:
    """Returns the network of a `.keras` file that `LanguageModel.save` wrote; raises ValueError for others."""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        name = config.get("class_name") if isinstance(config, dict) else type(config).__name__
        if name != LANGUAGE_MODEL:
            raise ValueError(f"it holds a {name}")
        settings = {name: config["config"][name] for name in ModelArguments.fields() if name in config["config"]}
        arguments = ModelArguments.from_config(settings, "config")
        weights = read_hdf5(io.BytesIO(archive.read("model.weights.h5")), arguments)
    return network_of(arguments, weights, **how)
