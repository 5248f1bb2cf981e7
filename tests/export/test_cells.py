"""Models of each cell in each format, beside the model itself."""

import shutil

import numpy as np
import pytest
from small_models import reader_in_eight_bits

from benchmarks.c_model import CModel, compile_model
from kerasptb.cells import CELLS
from kerasptb.conversion import export_litert, export_onnx, export_saved_model
from kerasptb.export import export_c, export_page
from kerasptb.models import LanguageModel
from kerasptb.reading import load_saved_model
from kerasptb.reading.reader import open_reader
from kerasptb.utils.errors import ExportError

IDS = np.array([3, 1, 4, 1, 5, 9, 2, 6], "int32")
IN_C = ("lstm", "cifg", "gru")


OTHERS = [name if name == "gru" else pytest.param(name, marks=pytest.mark.slow) for name in CELLS]


@pytest.fixture(scope="module", params=OTHERS)
def model(request, vocabulary):
    return LanguageModel(
        len(vocabulary), 8, (11, 9), 1, 5, seed=4, init_scale=0.5, tokenizer=vocabulary, cell=request.param
    )


@pytest.fixture(scope="module")
def expected(model):
    """Log probabilities after each of the ids, float32 [T, V], by the model itself."""
    logits = model.predict(IDS[np.newaxis], verbose=0)[0]
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def test_saved_models_and_readers(model, expected, tmp_path):
    export_saved_model(model, tmp_path / "saved")
    for reader in (open_reader(model), load_saved_model(tmp_path / "saved")):
        states = np.zeros((1, reader.state_size), "float32")
        hidden, after = reader.encode(IDS[np.newaxis], states)
        kernel, bias = reader.network.dense[-1]
        logits = hidden[0] @ kernel + bias
        np.testing.assert_allclose(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), expected, atol=1e-5)
        for token in IDS:  # in NumPy
            one, states = reader.encode(np.array([[token]], "int32"), states)
        np.testing.assert_allclose(states, after, atol=1e-6)
        np.testing.assert_allclose(one[0, 0], hidden[0, -1], atol=1e-6)


def test_litert(model, expected, tmp_path):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    runner = interpreter.Interpreter(str(export_litert(model, tmp_path / "m.tflite"))).get_signature_runner("step")
    state = {
        name: np.zeros(detail["shape"], "float32")
        for name, detail in runner.get_input_details().items()
        if name != "tokens"
    }
    for token, wanted in zip(IDS, expected, strict=True):
        state = runner(tokens=np.array([[token]], "int32"), **state)
        np.testing.assert_allclose(np.log(state.pop("probabilities")[0]), wanted, atol=1e-4)


def test_onnx(model, expected, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    if CELLS[model.cell].onnx_operator is None:
        with pytest.raises(ExportError, match=r"ONNX has no form of such a cell; .* Received: a model of an? "):
            export_onnx(model, tmp_path / "m.onnx")
        return
    session = runtime.InferenceSession(export_onnx(model, tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    state = {value.name: np.zeros((1, value.shape[1]), "float32") for value in session.get_inputs()[1:]}
    assert list(state) == list(CELLS[model.cell].state_sizes(model.units))
    logits, *_ = session.run(None, {"tokens": IDS[np.newaxis], **state})
    np.testing.assert_allclose(logits[0] - np.log(np.exp(logits[0]).sum(axis=1, keepdims=True)), expected, atol=1e-5)


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
def test_c(model, tmp_path):
    if model.cell not in IN_C:
        for export, path in ((export_c, "c"), (export_page, "m.html")):
            with pytest.raises(ExportError, match="has no form of such a cell"):
                export(model, tmp_path / path)
        return
    c = CModel(compile_model(export_c(model, tmp_path / "float", float32=True), "-O1"))
    reader = open_reader(model)
    text = "the cat sat on the mat"
    tokens = reader.tokenizer.encode_typed(text)[1:]
    expected = reader.read_typed(text).log_probabilities
    np.testing.assert_allclose(c.read(c.begin(), tokens), expected, rtol=0, atol=1e-5)
    in_eight_bits = reader_in_eight_bits(model, tmp_path / "weights.npz")
    c = CModel(compile_model(export_c(model, tmp_path / "eight"), "-O1"))
    expected = in_eight_bits.read_typed(text).log_probabilities
    np.testing.assert_allclose(c.read(c.begin(), tokens), expected, rtol=0, atol=1e-3)
