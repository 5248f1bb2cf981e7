"""What an editor shows, without running anything: names, signatures, docstrings."""

import inspect
from pathlib import Path

import keras
import pytest

import kerasptb

jedi = pytest.importorskip("jedi", reason="the extra `dev` is not installed")
PROJECT = jedi.Project(str(Path(__file__).parents[1]))
LAYERS = ["FusedLSTM", "StatefulLSTM", "Dense", "Embedding", "Dropout", "TiedDense"]


def script(code):
    return jedi.Script(code, project=PROJECT)


@pytest.mark.parametrize("package", [kerasptb, kerasptb.tuning], ids=lambda package: package.__name__)
def test_every_public_name_is_offered_and_is_there(package):
    name = package.__name__
    offered = {each.name for each in script(f"import {name}\n{name}.").complete()}
    assert set(package.__all__) <= offered
    assert set(package.__all__) <= set(dir(package))
    for each in package.__all__:
        assert getattr(package, each) is not None
    with pytest.raises(AttributeError, match="nothing"):
        package.nothing  # noqa: B018


@pytest.mark.parametrize("name", [name for name in kerasptb.__all__ if inspect.isfunction(getattr(kerasptb, name))])
def test_functions_have_signatures_and_docstrings(name):
    (found,) = script(f"import kerasptb\nkerasptb.{name}(").get_signatures()
    own = [each for each in inspect.signature(getattr(kerasptb, name)).parameters if each != "kwargs"]
    assert [parameter.name for parameter in found.params][: len(own)] == own
    assert found.docstring().strip()


@pytest.mark.parametrize("name", LAYERS)
def test_layers_have_valid_and_complete_signatures(name):
    layer = getattr(kerasptb.layers, name)
    (found,) = script(f"import kerasptb\nkerasptb.layers.{name}(").get_signatures()
    parameters = [parameter.name for parameter in found.params]
    assert len(set(parameters)) == len(parameters)
    own = [each for each in inspect.signature(layer).parameters if each != "kwargs"]
    assert parameters[: len(own)] == own
    base = next(each for each in layer.__mro__ if each.__module__.startswith("keras.") and each.__name__ != "Layer")
    keras_own = set(inspect.signature(base.__init__).parameters) - {"self", "args", "kwargs", "quantization_config"}
    assert name == "TiedDense" or keras_own <= set(own)


def test_positional_arguments_are_keras_own():
    for ours, theirs in (
        (kerasptb.layers.FusedLSTM, keras.layers.LSTM),
        (kerasptb.layers.StatefulLSTM, keras.layers.LSTM),
        (kerasptb.layers.Dense, keras.layers.Dense),
        (kerasptb.layers.Embedding, keras.layers.Embedding),
    ):
        expected = [
            each for each in inspect.signature(theirs).parameters.values() if each.kind == each.POSITIONAL_OR_KEYWORD
        ]
        found = [
            each for each in inspect.signature(ours).parameters.values() if each.kind == each.POSITIONAL_OR_KEYWORD
        ]
        assert [each.name for each in found] == [each.name for each in expected if each.name != "quantization_config"]
        for ours_, theirs_ in zip(found, expected, strict=False):
            assert ours_.name == "stateful" or ours_.default == theirs_.default


def test_the_search_package_by_its_old_name_in_a_checkout():
    with pytest.warns(DeprecationWarning, match=r"`tuning` is `kerasptb\.tuning` now"):
        import tuning
    assert tuning is kerasptb.tuning
