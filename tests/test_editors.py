"""What an editor shows, without running anything: names, signatures, docstrings."""

import importlib
import inspect
import typing
from pathlib import Path

import keras
import pytest

import kerasptb
from kerasptb.models.overrides import Overrides

jedi = pytest.importorskip("jedi", reason="the extra `dev` is not installed")
PROJECT = jedi.Project(str(Path(__file__).parents[1]))
# Public by what the pages say of them, not by the package's stub.
OTHER_ROOMS = ("models.transfer", "ops.logits", "native", "runs.settings", "serving")
LAYERS = ["FusedLSTM", "StatefulLSTM", "Dense", "Embedding", "Dropout", "TiedDense"]


def script(code):
    return jedi.Script(code, project=PROJECT)


@pytest.mark.parametrize("package", [kerasptb, kerasptb.export, kerasptb.tuning], ids=lambda package: package.__name__)
def test_every_public_name_is_offered_and_is_there(package):
    name = package.__name__
    offered = {each.name for each in script(f"import {name}\n{name}.").complete()}
    assert set(package.__all__) <= offered
    assert set(dir(package)) == set(package.__all__)
    for each in package.__all__:
        assert getattr(package, each) is not None
    with pytest.raises(AttributeError, match="nothing"):
        package.nothing  # noqa: B018


@pytest.mark.parametrize("package", [kerasptb, kerasptb.tuning], ids=lambda package: package.__name__)
def test_beside_public_names_only_modules_of_the_package_are_offered(package):
    name = package.__name__
    offered = script(f"import {name}\n{name}.").complete()
    others = [each for each in offered if each.name not in package.__all__ and not each.name.startswith("__")]
    assert [each.name for each in others if not each.full_name.startswith(f"{name}.")] == []
    assert {each.type for each in others} == {"module"}


@pytest.mark.parametrize("name", [name for name in kerasptb.__all__ if inspect.isfunction(getattr(kerasptb, name))])
def test_functions_have_signatures_and_docstrings(name):
    (found,) = script(f"import kerasptb\nkerasptb.{name}(").get_signatures()
    own = [each for each in inspect.signature(getattr(kerasptb, name)).parameters if each != "kwargs"]
    assert [parameter.name for parameter in found.params][: len(own)] == own
    assert found.docstring().strip()


def test_from_preset_shows_the_arguments_of_the_model():
    expected = typing.get_type_hints(kerasptb.LanguageModel.__init__)
    del expected["return"]
    assert typing.get_type_hints(Overrides) == expected
    shown = inspect.signature(kerasptb.LanguageModel.from_preset)
    assert list(shown.parameters) == ["preset", *expected]
    assert str(shown).startswith(
        "(preset: str | os.PathLike[str], *, vocabulary_size: int = the preset's, embedding_size: int = the "
    )


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


def functions_of(room):
    """The public functions of a module, and the constructors, methods and properties of its public classes, by name."""
    own = [name for name, value in vars(room).items() if getattr(value, "__module__", None) == room.__name__]
    values = [getattr(room, name) for name in getattr(room, "__all__", own) if not name.startswith("_")]
    for value in (each for each in values if inspect.isclass(each)):
        for base in (each for each in value.__mro__ if each.__module__.startswith("kerasptb.")):
            names = [name for name in vars(base) if not name.startswith("_") or name in ("__init__", "__call__")]
            for member in map(vars(base).get, names):
                accessor = getattr(member, "fget", None) or getattr(member, "func", None)  # of a property
                values.append(accessor or getattr(member, "__func__", member))
    return {f"{each.__module__}.{each.__qualname__}": each for each in values if inspect.isfunction(each)}


def test_every_public_function_is_annotated():
    rooms = [getattr(kerasptb, name) for name in kerasptb.__all__ if inspect.ismodule(getattr(kerasptb, name))]
    rooms += [kerasptb, *(importlib.import_module(f"kerasptb.{name}") for name in OTHER_ROOMS)]
    functions = {name: function for room in rooms for name, function in functions_of(room).items()}
    assert len(functions) > 200
    missing = []
    for name, function in functions.items():
        signature = inspect.signature(function)
        annotations = {each.name: each.annotation for each in signature.parameters.values()}
        annotations["return"] = signature.return_annotation
        missing += [
            f"{name}: {each}"
            for each, annotation in annotations.items()
            if annotation is signature.empty and each not in ("self", "cls")
        ]
    assert not missing


def test_the_search_package_is_one_in_a_checkout():
    import tuning

    assert tuning is kerasptb.tuning
