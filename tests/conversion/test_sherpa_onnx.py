import numpy as np
import pytest

from kerasptb.conversion import export_sherpa_onnx
from kerasptb.data import Vocabulary
from kerasptb.evaluation import score_sentences
from kerasptb.models import LanguageModel
from kerasptb.utils.errors import ExportError

WORDS = ["<blk>", "<eos>", "<unk>", *(f"w{i}" for i in range(20))]
RANDOM = np.random.default_rng(0)
SENTENCES = [" ".join(RANDOM.choice(WORDS[3:], length)) for length in (4, 0, 9, 1)]


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary(WORDS)


@pytest.fixture(scope="module")
def model(vocabulary):
    return model_of(vocabulary)


def model_of(vocabulary, units=(8, 8), **settings):
    sizes = {"batch_size": 2, "num_steps": 3, "init_scale": 1.0, "seed": 0}
    return LanguageModel(len(WORDS), 6, units, tokenizer=vocabulary, **sizes, **settings)


@pytest.fixture(scope="module")
def session(tmp_path_factory, model, vocabulary):
    pytest.importorskip("onnx", reason="onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

    def load(**form):
        path = export_sherpa_onnx(model, tmp_path_factory.mktemp("onnx") / "lm.onnx", **form)
        return runtime.InferenceSession(path, providers=["CPUExecutionProvider"])

    return load


def test_token_by_token_the_log_probabilities_are_those_of_the_model(session, model, vocabulary):
    loaded = session()
    assert [value.name for value in loaded.get_inputs()] == ["x", "h0", "c0"]
    assert [value.name for value in loaded.get_outputs()] == ["log_softmax", "next_h0", "next_c0"]
    about = loaded.get_modelmeta().custom_metadata_map
    sizes = {name: int(about[name]) for name in ("num_layers", "hidden_size", "sos_id", "vocab_size")}
    assert sizes == {"num_layers": 2, "hidden_size": 8, "sos_id": 1, "vocab_size": 23}
    for sentence, scored in zip(SENTENCES, score_sentences(model, SENTENCES), strict=True):
        state = [np.zeros((2, 1, 8), "float32")] * 2
        token, values = sizes["sos_id"], []
        for following in [*vocabulary.encode(sentence), 1]:
            inputs = dict(zip(("x", "h0", "c0"), [np.array([[token]], "int64"), *state], strict=True))
            logs, *state = loaded.run(None, inputs)
            assert logs.shape == (1, 1, 23)
            values.append(logs[0, 0, following])
            token = following
        np.testing.assert_allclose(np.array(values) / np.log(10), scored.token_log10_probabilities, atol=1e-5)


def test_rows_and_lengths_are_free(session, vocabulary):
    loaded = session()
    tokens = RANDOM.integers(0, 23, (3, 7))
    state = RANDOM.normal(size=(2, 2, 3, 8)).astype("float32")
    whole, *after = loaded.run(None, {"x": tokens, "h0": state[0], "c0": state[1]})
    first, *between = loaded.run(None, {"x": tokens[:, :4], "h0": state[0], "c0": state[1]})
    rest, *last = loaded.run(None, {"x": tokens[:, 4:], "h0": between[0], "c0": between[1]})
    np.testing.assert_allclose(np.concatenate([first, rest], axis=1), whole, atol=1e-5)
    np.testing.assert_allclose(last, after, atol=1e-5)


def test_whole_sentences_have_their_cost(session, model, vocabulary):
    loaded = session(stateful=False)
    assert [value.name for value in loaded.get_inputs()] == ["x", "x_lens"]
    rows = [vocabulary.encode(sentence) for sentence in SENTENCES]
    lengths = np.array(list(map(len, rows)), "int64")
    scored = list(score_sentences(model, SENTENCES))
    expected = [-each.log10_probability * np.log(10) for each in scored]
    for padding in (0, 5, 22):
        x = np.full((len(rows), lengths.max()), padding, "int64")
        for row, ids in zip(x, rows, strict=True):
            row[: len(ids)] = ids
        (costs,) = loaded.run(None, {"x": x, "x_lens": lengths})
        np.testing.assert_allclose(costs, expected, rtol=1e-5)


def test_layers_of_several_widths_have_no_state_in_one_tensor(tmp_path, vocabulary):
    pytest.importorskip("onnx", reason="onnx is not installed")
    model = model_of(vocabulary, (8, 6))
    with pytest.raises(ExportError, match=r"layers of one width.*--preset small.*Received: units=\(8, 6\)"):
        export_sherpa_onnx(model, tmp_path / "lm.onnx")
    assert export_sherpa_onnx(model, tmp_path / "lm.onnx", stateful=False).exists()
    gru = model_of(vocabulary, (8, 8), cell="gru")
    with pytest.raises(ExportError, match=r"states h and c.*\(--without-state\).*Received: cell='gru'"):
        export_sherpa_onnx(gru, tmp_path / "gru.onnx")
    assert export_sherpa_onnx(gru, tmp_path / "gru.onnx", stateful=False).exists()
    words = Vocabulary([*WORDS[:1], "other", *WORDS[2:]])
    with pytest.raises(ExportError, match="no <eos>"):
        export_sherpa_onnx(model_of(words), tmp_path / "other.onnx", stateful=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines, None),
        (lambda lines: [*lines, "#0 23", "#1 24"], None),  # of a lexicon's graph
        (lambda lines: [*lines[:3], "other 3", *lines[4:]], r"has 'other' as id 3, the model 'w0'"),
        (lambda lines: lines[:-1], r"has None as id 22, the model 'w19'"),
        (lambda lines: [*lines, "more 23"], r"the 24 tokens of .*Received: one of 23"),
        (lambda lines: ["nothing"], r"line 1 of .*'nothing'"),
    ],
)
def test_ids_are_checked_against_the_recognisers(tmp_path, model, vocabulary, change, message):
    pytest.importorskip("onnx", reason="onnx is not installed")
    lines = [f"{word} {index}" for index, word in enumerate(WORDS)]
    (tmp_path / "tokens.txt").write_text("\n".join(change(lines)) + "\n")

    def export():
        return export_sherpa_onnx(model, tmp_path / "lm.onnx", tokens=tmp_path / "tokens.txt")

    if message is None:
        assert export().exists()
    else:
        with pytest.raises(ExportError, match=message):
            export()
        assert not (tmp_path / "lm.onnx").exists()
