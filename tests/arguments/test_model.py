import inspect

import pytest

import kerasptb
from kerasptb.arguments import REQUIRED, ModelArguments, with_changes

SIZES = {"vocabulary_size": 9, "embedding_size": 4, "units": (4,), "batch_size": 2, "num_steps": 3}


def test_the_constructor_has_the_fields_in_their_order_with_their_defaults():
    """The signature is written out, for editors; all else comes from the fields."""
    parameters = list(inspect.signature(kerasptb.LanguageModel.__init__).parameters.values())[1:]
    defaults = {p.name: REQUIRED if p.default is inspect.Parameter.empty else p.default for p in parameters}
    assert defaults.pop("tokenizer") is None  # an object, which no setting is
    assert defaults == {field.name: field.default for field in ModelArguments.fields().values()}
    assert list(defaults) == list(ModelArguments.fields())
    for name in defaults:
        assert (
            f"        {name}: " in kerasptb.LanguageModel.__doc__ or f"    {name}: " in kerasptb.LanguageModel.__doc__
        )


def test_tied_embeddings_need_a_layer_of_their_size():
    assert ModelArguments(**SIZES, tie_embeddings=True).tie_embeddings
    with pytest.raises(ValueError, match=r"embedding_size=4, units=\(4, 3\)"):
        ModelArguments(**{**SIZES, "units": (4, 3)}, tie_embeddings=True)


def test_a_rate_that_is_not_named_follows_keep_prob():
    arguments = ModelArguments(**SIZES, keep_prob=0.75, hidden_dropout=0.1)
    assert [arguments.rate(name) for name in ("input_dropout", "hidden_dropout", "word_dropout")] == [0.25, 0.1, 0.0]


def test_keep_prob_replaces_the_rates_that_it_stands_for():
    recipe = {"keep_prob": 1.0, "input_dropout": 0.2, "output_dropout": 0.3, "word_dropout": 0.1}
    assert with_changes(recipe, {"keep_prob": 0.5, "output_dropout": 0.4}) == {
        "keep_prob": 0.5,
        "output_dropout": 0.4,
        "word_dropout": 0.1,
    }
    assert with_changes(recipe, {"input_dropout": 0.0}) == {**recipe, "input_dropout": 0.0}
