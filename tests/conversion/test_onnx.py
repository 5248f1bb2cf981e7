import re
import sys

import numpy as np
import pytest

from kerasptb.conversion import export_onnx
from kerasptb.data import Subwords, Vocabulary
from kerasptb.models import LanguageModel
from kerasptb.utils.errors import ExportError
from kerasptb.utils.extras import install_command

TOKENS = np.random.default_rng(0).integers(0, 53, (3, 12)).astype("int32")


@pytest.fixture(scope="module")
def path(model, vocabulary, tmp_path_factory):
    pytest.importorskip("onnx", reason="onnx is not installed")
    return export_onnx(model, tmp_path_factory.mktemp("onnx") / "model.onnx")


@pytest.fixture(scope="module")
def session(path):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    return runtime.InferenceSession(path, providers=["CPUExecutionProvider"])


def run(session, tokens, state=None):
    """Returns the logits and the state to go on from."""
    if state is None:
        inputs = session.get_inputs()[1:]
        state = {value.name: np.zeros((len(tokens), value.shape[1]), "float32") for value in inputs}
    names = [value.name for value in session.get_outputs()]
    outputs = dict(zip(names, session.run(None, {"tokens": tokens, **state}), strict=True))
    return outputs.pop("logits"), {name.removeprefix("next_"): value for name, value in outputs.items()}


def test_logits_are_those_of_the_trained_model(session, model):
    np.testing.assert_allclose(run(session, TOKENS)[0], model.predict(TOKENS, verbose=0), atol=1e-5)


def test_batch_and_length_are_free_and_nothing_is_kept(session, model):
    expected = model.predict(TOKENS, verbose=0)
    for rows, steps in ((1, 1), (2, 12), (3, 7), (1, 1)):
        logits, _ = run(session, TOKENS[:rows, :steps])
        np.testing.assert_allclose(logits, expected[:rows, :steps], atol=1e-5)


def test_word_by_word_equals_the_whole_row(session):
    whole, whole_state = run(session, TOKENS)
    state, logits = None, []
    for step in range(TOKENS.shape[1]):
        part, state = run(session, TOKENS[:, step : step + 1], state)
        logits.append(part)
    np.testing.assert_allclose(np.concatenate(logits, axis=1), whole, atol=1e-5)
    assert list(state) == ["h0", "c0", "h1", "c1"]
    for name in state:
        np.testing.assert_allclose(state[name], whole_state[name], atol=1e-6, err_msg=name)


@pytest.mark.parametrize("projection", [False, True])
def test_one_layer_is_exported_too(tmp_path, projection):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    words = Vocabulary(["<unk>", "<eos>", *"abcdefg"])
    model = LanguageModel(len(words), 4, 5, 3, 2, init_scale=1.0, seed=1, projection=projection, tokenizer=words)
    path = export_onnx(model, tmp_path / "model.onnx")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(
        run(session, TOKENS % 9)[0], model.predict(TOKENS % 9, batch_size=3, verbose=0), atol=1e-5
    )


def test_the_words_are_beside_it(path, vocabulary):
    assert Vocabulary.load(path.with_name("model.vocabulary.txt")) == vocabulary


def test_a_tokenizer_is_beside_it_where_tokens_are_no_words(subword_model, subwords, tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    path = export_onnx(subword_model, tmp_path / "novel.onnx")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["novel.onnx", "novel.tokenizer.json"]
    assert Subwords.load(tmp_path / "novel.tokenizer.json") == subwords
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    tokens = np.tile(subwords.encode_typed("Once upon a"), (3, 1))
    np.testing.assert_allclose(run(session, tokens)[0], subword_model.predict(tokens, verbose=0), atol=1e-5)


def test_without_onnx_the_error_says_what_to_install(model, vocabulary, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ExportError, match=re.escape(install_command("onnx"))):
        export_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_files_that_exist_are_kept(path, model, vocabulary):
    before = path.read_bytes()
    with pytest.raises(ExportError, match=r"model\.onnx, which exists"):
        export_onnx(model, path)
    assert path.read_bytes() == before
