import numpy as np
import pytest

from kerasptb.conversion import export_litert
from kerasptb.data import Subwords, Vocabulary
from kerasptb.models import LanguageModel
from kerasptb.utils.errors import ExportError

interpreters = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")


@pytest.fixture(scope="module")
def path(model, vocabulary, tmp_path_factory):
    return export_litert(model, tmp_path_factory.mktemp("litert") / "deep" / "model.tflite")


def run(path, tokens):
    """Returns the probabilities after the last of the words, float32 [V], read one by one."""
    runner = interpreters.Interpreter(str(path)).get_signature_runner("step")
    state = {
        name: np.zeros(detail["shape"], "float32")
        for name, detail in runner.get_input_details().items()
        if name != "tokens"
    }
    for token in tokens:
        state = runner(tokens=np.array([[token]], "int32"), **state)
        probabilities = state.pop("probabilities")
    return probabilities[0]


@pytest.mark.parametrize("text", ["", "the company", "Mr. zebra doesn't sit on the mat"])
def test_word_by_word_equals_the_trained_model(path, model, vocabulary, text):
    tokens = vocabulary.encode_typed(text)
    np.testing.assert_allclose(run(path, tokens), model.next_word_probabilities(tokens[np.newaxis])[0], atol=1e-6)


def test_only_litert_s_own_operations_are_in_it(path):
    names = {detail["op_name"] for detail in interpreters.Interpreter(str(path))._get_ops_details()}
    assert "FULLY_CONNECTED" in names
    assert not [name for name in names if name.startswith("Flex") or name in ("CUSTOM", "WHILE")]


def test_the_words_are_beside_it(path, vocabulary):
    assert Vocabulary.load(path.with_name("model.vocabulary.txt")) == vocabulary
    assert sorted(file.name for file in path.parent.iterdir()) == ["model.tflite", "model.vocabulary.txt"]


@pytest.mark.parametrize("quantize", [False, True])
def test_rows_may_be_read_together(tmp_path, vocabulary, quantize):
    model = LanguageModel(
        len(vocabulary), 8, 8, 1, 5, init_scale=1.0, tie_embeddings=True, seed=3, tokenizer=vocabulary
    )
    path = export_litert(model, tmp_path / "model.tflite", quantize=quantize)
    step = interpreters.Interpreter(str(path)).get_signature_runner("step")
    state = {name: np.random.default_rng(0).normal(size=(3, 8)).astype("float32") for name in ("h0", "c0")}
    tokens = np.array([[5], [1], [40]], "int32")
    together = step(tokens=tokens, **state)
    assert together["probabilities"].shape == (3, len(vocabulary))
    for i in range(3):
        alone = step(tokens=tokens[i : i + 1], **{name: value[i : i + 1] for name, value in state.items()})
        for name, value in alone.items():
            np.testing.assert_allclose(together[name][i], value[0], atol=1e-6, err_msg=name)


def test_a_tokenizer_is_beside_it_where_tokens_are_no_words(subword_exports, subwords, subword_model):
    files = sorted(file.name for file in subword_exports.iterdir() if file.is_file())
    assert files == ["novel.tflite", "novel.tokenizer.json"]
    assert Subwords.load(subword_exports / "novel.tokenizer.json") == subwords
    tokens = subwords.encode_typed("Once upon a")
    expected = subword_model.next_word_probabilities(tokens[np.newaxis])[0]
    np.testing.assert_allclose(run(subword_exports / "novel.tflite", tokens), expected, atol=1e-6)


def test_eight_bit_weights_take_a_quarter_and_cost_little(tmp_path, vocabulary):
    words = Vocabulary([*vocabulary.words, *(f"word{i}" for i in range(2000))])
    model = LanguageModel(len(words), 64, (64, 48), 1, 5, init_scale=0.3, seed=2, tokenizer=words)
    whole = export_litert(model, tmp_path / "whole.tflite")
    small = export_litert(model, tmp_path / "small.tflite", quantize=True)
    # A quarter of the size, and the scales: each matrix has one for each output.
    assert small.stat().st_size < 0.3 * whole.stat().st_size
    tokens = np.random.default_rng(0).integers(0, len(words), 30)
    expected = model.next_word_probabilities(tokens[np.newaxis])[0]
    probabilities = run(small, tokens)
    assert np.isclose(probabilities.sum(), 1, atol=1e-3)
    # Half a step of 256 in each weight: the logarithms of the probabilities move by a hundredth or two.
    difference = np.abs(np.log(probabilities) - np.log(expected))
    assert 0 < difference.mean() < 0.02


@pytest.mark.parametrize("projection", [False, True])
def test_a_tied_matrix_is_stored_once_and_each_word_has_a_scale(tmp_path, vocabulary, projection):
    words = Vocabulary([*vocabulary.words, *(f"word{i}" for i in range(2000))])
    options = {"init_scale": 0.3, "tie_embeddings": True, "projection": projection, "seed": 2}
    model = LanguageModel(len(words), 64, (32, 96 if projection else 64), 1, 5, **options, tokenizer=words)
    embeddings = model.get_layer("embedding").embeddings
    # The vectors of rare words are short: with one scale for all of them nothing would be left of these.
    embeddings.assign(embeddings * np.geomspace(1, 0.001, len(words), dtype="float32")[:, np.newaxis])
    path = export_litert(model, tmp_path / "small.tflite", quantize=True)
    others = model.count_params() - len(words) * 65
    # A byte for each weight; for each word its bias, our scale, and the converter's scale and zero, of 8 bytes.
    assert path.stat().st_size < len(words) * (64 + 20) + 1.2 * others + 10_000
    tokens = np.random.default_rng(0).integers(0, len(words), 30)
    expected = model.next_word_probabilities(tokens[np.newaxis])[0]
    difference = np.abs(np.log(run(path, tokens)) - np.log(expected))
    assert 0 < difference.mean() < 0.02
    few = np.array([5, len(words) - 1])  # a long vector, and the shortest
    expected = model.next_word_probabilities(few[np.newaxis])[0]
    np.testing.assert_allclose(np.log(run(path, few)), np.log(expected), atol=0.05)


def test_the_phone_s_file_is_at_most_1_5_mb(tmp_path):
    words = Vocabulary(["<eos>", *(f"word{i}" for i in range(9_999))])
    model = LanguageModel.from_preset("phone", batch_size=1, tokenizer=words)
    assert export_litert(model, tmp_path / "phone.tflite", quantize=True).stat().st_size <= 1_500_000


def test_files_that_exist_are_kept(path, model, vocabulary):
    before = path.read_bytes()
    with pytest.raises(ExportError, match=r"model\.tflite, which exists"):
        export_litert(model, path)
    assert path.read_bytes() == before


def test_words_beside_it_are_kept_and_shared_if_they_are_the_same(model, vocabulary, tmp_path):
    (tmp_path / "model.vocabulary.txt").write_text("mine\n")
    with pytest.raises(ExportError, match=r"model\.vocabulary\.txt holds the words of another model"):
        export_litert(model, tmp_path / "model.tflite")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("model.vocabulary.txt", "mine\n")]
    vocabulary.save(tmp_path / "model.vocabulary.txt")
    assert export_litert(model, tmp_path / "model.tflite").exists()


def test_the_name_must_end_as_the_format_s_names_do(model, vocabulary, tmp_path):
    with pytest.raises(ExportError, match=r"ends in \.tflite or \.litert\. Received: .*model\.bin"):
        export_litert(model, tmp_path / "model.bin")
    assert not list(tmp_path.iterdir())
