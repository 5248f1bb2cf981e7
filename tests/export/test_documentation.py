"""What docs/export.md and examples/exported.md say, against the exports themselves."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow.core.framework import tensor_pb2

from kerasptb.cli.formats import function_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
EXAMPLES = (ROOT / "examples" / "exported.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", EXAMPLES, re.MULTILINE | re.DOTALL)


JSON = [json.loads(block) for block in blocks("json")]
EXCHANGES = list(zip(JSON[::2], JSON[1::2], strict=True))
SIGNATURES = ["encode", "generate", "initial_state", "predict_next", "score", "step"]
STATE = ("h0", "c0", "h1", "c1")


def signature_inputs(function):
    return function.structured_input_signature[1]


def with_state(values, loaded):
    """Puts a state where the page has the word "state"."""
    zero = loaded.initial_state(1)
    return {name: zero[name].numpy().tolist() if value == "state" else value for name, value in values.items()}


def test_every_signature_has_a_request_and_an_answer():
    assert sorted(request["signature_name"] for request, _ in EXCHANGES) == SIGNATURES


@pytest.mark.parametrize(("request_body", "answer"), EXCHANGES, ids=[body["signature_name"] for body, _ in EXCHANGES])
def test_rest_bodies_are_what_the_signatures_take_and_give(loaded, request_body, answer):
    assert set(request_body) == {"signature_name", "inputs"}
    function = loaded.signatures[request_body["signature_name"]]
    expected, inputs = signature_inputs(function), request_body["inputs"]
    if not isinstance(inputs, dict):
        # TensorFlow Serving takes a bare value for a signature of one input.
        assert len(expected) == 1
        inputs = {next(iter(expected)): inputs}
    # Over REST all inputs must be there, those with a default too.
    assert set(inputs) == set(expected)
    inputs = {name: tf.constant(value, expected[name].dtype) for name, value in with_state(inputs, loaded).items()}
    for name, value in inputs.items():
        assert expected[name].is_compatible_with(value), name
    result = function(**inputs)
    outputs = answer["outputs"] if len(result) > 1 else {next(iter(result)): answer["outputs"]}
    assert set(outputs) == set(result)
    for name, value in outputs.items():
        if value != "state":
            assert np.shape(value) == result[name].shape, name
            assert (np.asarray(value).dtype.kind == "U") == (result[name].dtype == tf.string), name


def predict_request_class():
    """The fields of TensorFlow Serving's PredictRequest, whose package need not be installed."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="tests/export/predict.proto", package="tests.export", dependency=[tensor_pb2.DESCRIPTOR.name]
    )
    spec = file.message_type.add(name="ModelSpec")
    for number, name in ((1, "name"), (3, "signature_name")):
        spec.field.add(name=name, number=number, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    request = file.message_type.add(name="PredictRequest")
    entry = request.nested_type.add(name="InputsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    for message, name, number, type_name, label in (
        (entry, "value", 2, ".tensorflow.TensorProto", field.LABEL_OPTIONAL),
        (request, "model_spec", 1, ".tests.export.ModelSpec", field.LABEL_OPTIONAL),
        (request, "inputs", 2, ".tests.export.PredictRequest.InputsEntry", field.LABEL_REPEATED),
    ):
        message.field.add(name=name, number=number, type=field.TYPE_MESSAGE, type_name=type_name, label=label)
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tests.export.PredictRequest"))


def test_the_grpc_request_is_what_its_signature_takes(loaded):
    (block,) = blocks("textproto")
    request = text_format.Parse(block, predict_request_class()())
    function = loaded.signatures[request.model_spec.signature_name]
    inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
    assert {name: value.dtype for name, value in inputs.items()} == {
        name: spec.dtype for name, spec in signature_inputs(function).items()
    }
    function(**inputs)


def test_the_table_lists_every_input_and_output_of_every_signature(loaded):
    rows = dict(re.findall(r"^\| `(\w+)`[^|]*\| (.*) \|$", PAGE, re.MULTILINE))
    for name in SIGNATURES:
        inputs, outputs = (set(re.findall(r"`(\w+)`", cell)) for cell in rows[name].split(" | "))
        assert inputs == set(signature_inputs(loaded.signatures[name])), name
        assert outputs == set(loaded.signatures[name].structured_outputs), name


def test_k_has_its_default_in_the_signature_for_grpc(saved_model):
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    for name in ("serving_default", "predict_next"):
        assert tf.make_ndarray(proto.meta_graphs[0].signature_def[name].defaults["k"]) == 5


@pytest.mark.parametrize("name", ["saved-model", "litert", "onnx"])
@pytest.mark.slow
def test_the_snippets_run(name, targets, model, vocabulary, tmp_path, monkeypatch, capsys):
    import kerasptb

    (snippet,) = [block for block in blocks("python") if targets[name] in block]
    for package in re.findall(r"^(?:from|import) (\w+)", snippet, re.MULTILINE):
        pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.chdir(tmp_path)
    function_of(name)(model, targets[name])
    exec(compile(snippet, "examples/exported.md", "exec"), {})
    exclude = ("<unk>",) if name == "saved-model" else ()
    expected = kerasptb.suggest(model, "the company said", 3, exclude=exclude)
    assert str([suggestion.word for suggestion in expected]) in capsys.readouterr().out


def test_a_text_read_word_by_word_as_the_page_does_is_the_text_read_at_once(loaded):
    (snippet,) = [block for block in blocks("python") if "model.step(" in block]
    names = {"model": loaded}
    exec(compile(snippet, "examples/exported.md", "exec"), names)
    expected = loaded.predict_next(["the company said"], 3)
    assert names["result"]["words"].numpy().tolist() == expected["words"].numpy().tolist()
    np.testing.assert_allclose(names["result"]["probabilities"], expected["probabilities"], rtol=1e-5)


@pytest.mark.slow
def test_the_snippets_of_subwords_take_text_and_find_whole_words(
    subword_exports, subword_model, subwords, monkeypatch, capsys
):
    import kerasptb

    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
    monkeypatch.chdir(subword_exports)
    names = {"tf": tf}
    pieces, words, by_tensorflow = blocks("python")[-3:]
    exec(compile(pieces, "examples/exported.md", "exec"), names)
    next_probabilities = subword_model.next_word_probabilities(subwords.encode_typed("Once upon a")[np.newaxis])[0]
    best = np.argsort(-next_probabilities)[:3]
    likeliest = str([subwords.decode([token]) for token in best])
    assert capsys.readouterr().out == f"{likeliest} Once upon a{subwords.pieces[best[0]].decode(errors='replace')}\n"
    exec(compile(words, "examples/exported.md", "exec"), names)
    expected = kerasptb.suggest(subword_model, "Once upon a ti", 3, complete=True)
    found = ast.literal_eval(capsys.readouterr().out)
    assert [word for word, _ in found] == [suggestion.word for suggestion in expected]
    assert all(word.startswith("ti") for word, _ in found)
    # `suggest` divides by the probability of what is typed.
    ratios = [p / suggestion.probability for (_, p), suggestion in zip(found, expected, strict=True)]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-4)
    assert 0 < ratios[0] < 1
    exec(compile(by_tensorflow, "examples/exported.md", "exec"), names)
    assert capsys.readouterr().out == f"{likeliest}\n"


def test_the_page_tells_how_tables_read_for_subwords(subword_exports, loaded):
    of_ids = dict(tf.saved_model.load(str(subword_exports / "models" / "novel" / "1")).signatures)
    assert set(of_ids) == {*loaded.signatures, "decode"}
    decode = of_ids.pop("decode")
    assert (set(signature_inputs(decode)), set(decode.structured_outputs)) == ({"tokens"}, {"text"})
    encode = of_ids.pop("encode")
    assert set(signature_inputs(encode)) == {"text"}
    assert set(encode.structured_outputs) == set(loaded.signatures["encode"].structured_outputs)
    other = {"text": "tokens", "words": "tokens", "num_words": "num_tokens"}
    missing = {"h1", "c1"}  # that model has one layer
    for name, function in of_ids.items():
        for found, of_text in (
            (signature_inputs(function), signature_inputs(loaded.signatures[name])),
            (function.structured_outputs, loaded.signatures[name].structured_outputs),
        ):
            assert set(found) == {other.get(each, each) for each in of_text} - missing, name
