"""The exported language model in the runtime that others wrote, with a recogniser made by hand."""

import json

import numpy as np
import pytest
from transducer import FRAME, write_transducer

from kerasptb.conversion import export_sherpa_onnx
from kerasptb.data import Vocabulary
from kerasptb.evaluation import score_sentences
from kerasptb.models import LanguageModel

WORDS = ["<blk>", "<eos>", "<unk>", *(f"w{i}" for i in range(40))]


@pytest.fixture(scope="module")
def runtime():
    return pytest.importorskip("sherpa_onnx", reason="sherpa-onnx is not installed")


@pytest.fixture(scope="module")
def model():
    return LanguageModel(
        len(WORDS), 16, (16, 16), batch_size=2, num_steps=3, init_scale=1.0, seed=0, tokenizer=Vocabulary(WORDS)
    )


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sherpa")
    pytest.importorskip("onnx", reason="onnx is not installed")
    export_sherpa_onnx(model, folder / "lm.onnx")
    return folder


@pytest.fixture
def hear(runtime, folder):
    """What the recogniser hears whose frames have these logits."""
    import onnx

    def decoded(logits, **settings):
        write_transducer(onnx, folder, WORDS, logits)
        parts = {name: str(folder / f"{name}.onnx") for name in ("encoder", "decoder", "joiner")}
        recogniser = runtime.OnlineRecognizer.from_transducer(
            tokens=str(folder / "tokens.txt"),
            **parts,
            decoding_method="modified_beam_search",
            num_threads=1,
            **settings,
        )
        stream = recogniser.create_stream()
        stream.accept_waveform(16_000, np.zeros(160 * FRAME * (len(logits) + 3), "float32"))
        stream.input_finished()
        while recogniser.is_ready(stream):
            recogniser.decode_stream(stream)
        return json.loads(recogniser.get_result_as_json_string(stream))

    return decoded


def test_the_log_probabilities_are_those_of_keras(hear, folder, model):
    # Of a thousand prefixes: the runtime adds up what each utterance costs in float32, so these are not long.
    for ids in np.random.default_rng(0).integers(3, len(WORDS), (20, 50)):
        logits = np.full((len(ids) + 1, len(WORDS)), -30.0)
        logits[np.arange(len(ids)), ids] = 30.0  # nothing else can be heard
        logits[-1, 0] = 30.0
        found = hear(logits, lm=str(folder / "lm.onnx"), lm_scale=0.5)
        words = [WORDS[i] for i in ids]
        assert found["tokens"] == words
        (scored,) = score_sentences(model, [" ".join(words)])
        expected = scored.token_log10_probabilities[:-1] * np.log(10)
        np.testing.assert_allclose(found["lm_probs"], expected, rtol=0, atol=1e-4)


def test_the_model_changes_what_is_heard_as_computed_by_hand(hear, folder, model):
    # After the first word, two are heard alike: `likely`, which the model expects, a little worse than `rare`.
    first = 3
    of_next = model.next_word_probabilities([[WORDS.index("<eos>"), first]])[0]
    likely, rare = 3 + of_next[3:].argmax(), 3 + of_next[3:].argmin()
    lead = 1.0
    logits = np.full((4, len(WORDS)), -30.0)
    logits[0, first] = logits[2:, 0] = 30.0
    logits[1, rare], logits[1, likely] = 20.0 + lead, 20.0
    threshold = lead / np.log(of_next[likely] / of_next[rare])
    assert hear(logits)["tokens"] == [WORDS[first], WORDS[rare]]
    for scale, second in ((0.8 * threshold, rare), (1.25 * threshold, likely)):
        found = hear(logits, lm=str(folder / "lm.onnx"), lm_scale=scale)
        assert found["tokens"] == [WORDS[first], WORDS[second]]
        assert found["lm_probs"][1] == pytest.approx(np.log(of_next[second]), abs=1e-4)
