"""Networks from files: HDF5 as Keras writes it, 8 bits, and `.keras`."""

import itertools
import json
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest

import kerasptb
from kerasptb.arguments import ModelArguments
from kerasptb.cells import CELLS
from kerasptb.data import Subwords, Vocabulary
from kerasptb.engine.files import load_keras_file, network_of, read_hdf5, read_weights, weights_of
from kerasptb.engine.quantized import quantize_rows, write_quantized
from kerasptb.models import LanguageModel
from kerasptb.native import NativeUnavailableError
from kerasptb.reading import suggest
from kerasptb.reading.reader import open_reader
from kerasptb.utils.errors import ExportError

V = 11
VOCABULARY = Vocabulary(["<eos>", "<unk>", *"abcdefghi"])
KINDS = [
    *({"cell": cell} for cell in CELLS),
    *(
        {"cell": cell, "tie_embeddings": tied, "projection": projected}
        for cell, tied, projected in itertools.product(("lstm", "gru"), (False, True), (False, True))
    ),
    {"units": (6,)},
    {"units": (4, 5, 6), "tie_embeddings": True, "word_dropout": 0.2, "output_dropout": 0.5},
    {"recurrent_dropout": 0.1, "recurrent_kernel_dropout": 0.1, "variational_dropout": True},
]


def make(**changes):
    how = {"units": (5, 6), "init_scale": 1.0, "seed": 1, "tokenizer": VOCABULARY, **changes}
    return LanguageModel(V, 6, batch_size=2, num_steps=3, **how)


def arguments_of(model):
    config = {name: value for name, value in model.get_config().items() if name in ModelArguments.fields()}
    return ModelArguments.from_config(config, "model")


def assert_equal(found, expected):
    for here, there in zip(found, expected, strict=True):
        assert here.dtype == "float32"
        np.testing.assert_array_equal(here, there)


@pytest.fixture(scope="module")
def model():
    return make()


@pytest.fixture
def path(model, tmp_path):
    """A .keras file of the model."""
    model.save(tmp_path / "m.keras")
    return tmp_path / "m.keras"


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_weights_are_named_placed_and_ordered_as_keras_does(changes, tmp_path):
    model = make(**changes)
    model.save_weights(tmp_path / "m.weights.h5")
    arguments = arguments_of(model)
    weights = weights_of(arguments)
    assert [(weight.path, weight.shape) for weight in weights] == [(each.path, each.shape) for each in model.weights]
    found = read_weights(tmp_path / "m.weights.h5", arguments)
    assert_equal(found, model.get_weights())
    assert_equal(network_of(arguments, found).weights, model.open_network().weights)
    with (tmp_path / "m.weights.h5").open("rb") as file:
        assert_equal(read_hdf5(file, arguments), found)


@pytest.mark.parametrize("changes", [{}, {"tie_embeddings": True, "projection": True}, {"cell": "gru"}], ids=str)
def test_weights_in_8_bits(changes, tmp_path):
    model = make(**changes)
    arguments = arguments_of(model)
    values = {each.path: np.asarray(each) for each in model.weights}
    write_quantized(tmp_path / "m.npz", values)
    found = network_of(arguments, read_weights(tmp_path / "m.npz", arguments))
    for name, value in values.items():
        if value.ndim > 1 and not name.endswith("/bias"):
            integers, scales = quantize_rows(value)
            values[name] = integers * scales
    model.set_weights(list(values.values()))
    assert_equal(found.weights, model.open_network().weights)
    tokens, states = np.array([[3, 1, 4], [1, 5, 9]], "int32"), np.zeros((2, found.state_size), "float32")
    for here, there in zip(found.encode(tokens, states), model.open_network().encode(tokens, states), strict=True):
        np.testing.assert_allclose(here, there, atol=1e-6)


@pytest.mark.parametrize("damage", ["truncated", "of another shape", "of another type", "a weight less"])
def test_damaged_weights_in_8_bits_are_refused(model, damage, tmp_path):
    path, arguments = tmp_path / "m.npz", arguments_of(model)
    write_quantized(path, {each.path: np.asarray(each) for each in model.weights})
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        with np.load(path) as arrays:
            values = dict(arrays)
        name = "lstm_0/lstm_cell/kernel"
        values[name] = {"of another shape": values[name][:, :-1], "a weight less": None}.get(
            damage, values[name].astype("float32")
        )
        np.savez(path, **{name: value for name, value in values.items() if value is not None})
    with pytest.raises((ValueError, zipfile.BadZipFile), match=r"lstm_0/lstm_cell/kernel|zip"):
        read_weights(path, arguments)


@pytest.mark.parametrize("changes", [{}, {"cell": "mogrifier", "tie_embeddings": True}, {"dtype": "bfloat16"}], ids=str)
def test_a_keras_file_is_read_as_the_model_reads(changes, tmp_path):
    model = make(**changes)
    model.compile()
    model.save(tmp_path / "m.keras")
    reader = kerasptb.load_reader(tmp_path / "m.keras")
    assert reader.tokenizer == VOCABULARY
    assert reader.fingerprint == open_reader(model).fingerprint
    assert_equal(reader.network.weights, model.open_network().weights)
    assert suggest(reader, "a b c", 3) == suggest(model, "a b c", 3)
    again = keras.models.load_model(tmp_path / "m.keras")
    assert_equal(again.open_network().weights, reader.network.weights)


def test_its_tokenizer_may_be_of_subwords_with_lines_of_its_own(tmp_path):
    subwords = Subwords.train(["The cat sat on the mat."] * 4, 270)
    format = kerasptb.data.text_format.TextFormat(tokenizer=subwords, keep_lines=True, absent_signs=("’",))
    model = LanguageModel(len(subwords), 4, 4, batch_size=1, num_steps=3, tokenizer=format)
    model.save(tmp_path / "m.keras")
    reader = kerasptb.load_reader(tmp_path / "m.keras")
    assert (reader.text_format, reader.tokenizer) == (model.text_format, subwords)


def test_a_backend_and_a_precision_may_be_named(path, native_library, monkeypatch):
    assert not kerasptb.load_reader(path, backend="reference").network.on_library
    assert kerasptb.load_reader(path, backend="native").network.on_library
    monkeypatch.setattr("kerasptb.engine.network.why_not", lambda precision: "It has none.")
    for how in {"backend": "native"}, {"precision": "bfloat16"}:
        with pytest.raises(NativeUnavailableError, match="It has none"):
            kerasptb.load_reader(path, **how)


def test_a_model_that_does_not_know_its_tokenizer_is_told(tmp_path):
    make(tokenizer=None).save(tmp_path / "m.keras")
    with pytest.raises(ExportError, match=r"Expected a model that knows its tokenizer\. Received: .*m\.keras"):
        kerasptb.load_reader(tmp_path / "m.keras")
    assert load_keras_file(tmp_path / "m.keras").vocabulary_size == V


def test_a_file_of_another_class_is_refused(tmp_path):
    other = keras.Sequential([keras.Input([3]), keras.layers.Dense(2)])
    other.save(tmp_path / "m.keras")
    with pytest.raises(ExportError, match=r"Expected a \.keras file of a LanguageModel\. .*\(it holds a Sequential\)"):
        kerasptb.load_reader(tmp_path / "m.keras")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        kerasptb.load_reader(tmp_path / "m.keras")


def rewritten(path, **changes):
    """Writes a .keras file again with members changed or left out, by their names up to the first dot."""
    copy = path.with_name("copy.keras")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as written:
        for name in archive.namelist():
            content = archive.read(name)
            change = changes.get(name.rpartition("/")[2].partition(".")[0], lambda content: content)
            if (changed := change(content)) is not None:
                written.writestr(name, changed)
    shutil.move(copy, path)


def with_units(content):
    config = json.loads(content)
    config["config"]["units"] = [5, 7]
    return json.dumps(config)


def without_vocabulary_size(content):
    config = json.loads(content)
    del config["config"]["vocabulary_size"]
    return json.dumps(config)


@pytest.mark.parametrize(
    "changes",
    [
        {"config": lambda _: b"{"},
        {"config": lambda _: b"[]"},
        {"config": lambda _: None},
        {"config": with_units},
        {"config": without_vocabulary_size},
        {"model": lambda _: b"no weights"},
        {"model": lambda content: content[: len(content) // 2]},
        {"model": lambda _: None},
        {"vocabulary": lambda content: content + b"another\n"},
        {"vocabulary": lambda content: content.replace(b"a\nb\n", b"b\na\n")},
        {"vocabulary": lambda content: b"\xff\xfe\xff"},
    ],
)
def test_a_damaged_member_is_told_in_a_line(path, changes):
    rewritten(path)
    assert kerasptb.load_reader(path).tokenizer == VOCABULARY
    rewritten(path, **changes)
    with pytest.raises(ExportError, match=r"Expected a \.keras file of a LanguageModel\. Received: .*m\.keras \(.+\)"):
        kerasptb.load_reader(path)


@pytest.mark.parametrize("size", [0, 10, 1000, -1])
def test_a_truncated_file_is_told_in_a_line(path, size):
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ExportError, match=r"Expected a \.keras file of a LanguageModel\. Received: .*m\.keras \(.+\)"):
        kerasptb.load_reader(path)


def test_values_that_were_changed_are_seen(path):
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("model.weights.h5")
    start = member.header_offset + member.file_size // 2
    content[start : start + 20] = bytes(255 - byte for byte in content[start : start + 20])
    path.write_bytes(content)
    with pytest.raises(ExportError, match=r"Bad CRC-32"):
        kerasptb.load_reader(path)


def test_an_array_of_another_shape_is_told(model, tmp_path):
    model.save_weights(tmp_path / "m.weights.h5")
    with h5py.File(tmp_path / "m.weights.h5", "r+") as file:
        del file["layers/embedding/vars/0"]
        file["layers/embedding/vars/0"] = np.zeros((V, 5), "float32")
    with pytest.raises(ValueError, match=r"embedding/embeddings is \(11, 5\), where .* model has \(11, 6\)"):
        read_weights(tmp_path / "m.weights.h5", arguments_of(model))
