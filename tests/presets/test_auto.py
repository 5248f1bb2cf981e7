import math

import pytest

from kerasptb.presets import Facts, get_preset

SMALL = get_preset("small").model
START = {"units": (9,), "embedding_size": 9}


def auto(num_tokens=math.inf, **facts):
    return get_preset("auto", Facts(num_tokens, **facts))


@pytest.mark.parametrize(("num_tokens", "rows"), [(10**8, 32), (112_000, 32), (111_999, 16), (20_000, 4), (300, 1)])
def test_short_texts_are_read_in_few_rows(num_tokens, rows):
    recipe = auto(num_tokens)
    assert recipe.model_arguments() == {"vocabulary_size": 10_000, **SMALL, "batch_size": rows}
    assert rows == 1 or num_tokens // (rows * 35) >= 100
    assert ("batch_size" in recipe.reasons) == (rows < 32)
    longer = auto(num_tokens, given={"num_steps": 70}).fitted["batch_size"]
    assert longer == max(rows // 2, 1) or num_tokens == 10**8


def test_a_text_that_is_read_seldom_is_regularised_little():
    assert {**SMALL, **auto(passes=60).fitted} == {**SMALL, **auto(passes=40).fitted} == SMALL
    less = auto(passes=23.5)
    assert less.fitted["output_dropout"] == pytest.approx(0.5 * SMALL["output_dropout"], abs=1e-3)
    assert not {"variational_dropout", "activation_regularization"} & set(less.fitted)
    assert less.reasons["output_dropout"] == "the text is read 23.5 times"
    assert auto(passes=0.2).fitted["input_dropout"] == auto(passes=7).fitted["input_dropout"] == 0


def test_what_begins_with_a_run_is_regularised_sooner():
    less = auto(passes=10, started=True).fitted  # 0.3, and half of the rest
    assert less["output_dropout"] == pytest.approx(0.65 * SMALL["output_dropout"], abs=1e-3)
    assert less["activation_regularization"] == 0.65
    assert {**SMALL, **auto(passes=20, started=True).fitted} == SMALL


def test_larger_layers_where_many_tokens_are_read():
    for num_tokens, room in ((2_000_000, 7.9), (570_000, 1000), (10**8, 0.1), (10**8, None)):
        assert auto(num_tokens, room=room).model == SMALL
    for num_tokens, room, width in (
        (2_000_000, 8, 400), (575_000, 1000, 400), (2_000_000, 16, 512), (10**9, 100, 512)
    ):  # fmt: skip
        recipe = auto(num_tokens, room=room)
        assert recipe.model == {**SMALL, "embedding_size": width, "units": (width, width)}
        assert recipe.reasons["units"] == f"smaller ones would read the text {room} times in the minutes"
    for given in ({"taught": True}, {"given": {"units": (256, 256)}}, {"given": START, "started": True}):
        assert auto(10**9, room=100, **given).model == SMALL


def test_a_short_text_is_not_read_again_and_again():
    assert [auto(130_000, started=started).most_passes for started in (False, True)] == [40, 6]
    assert [auto(10**6, started=started).most_passes for started in (False, True)] == [100, 12]


def test_a_model_that_begins_with_weights_is_trained_at_a_lower_rate():
    of_small = get_preset("small").settings
    assert auto().settings == {**of_small, "beta_1": 0.0}
    assert auto(started=True).settings == {**of_small, "learning_rate": 0.001}


def test_what_no_fact_changes_is_the_same_recipe():
    facts = Facts(1000, {"num_steps": 5}, started=True, bfloat16=True, room=1000, passes=1)
    for name in ("notebook", "small", "medium"):
        assert get_preset(name, facts) is get_preset(name)
    assert get_preset("small").minutes is None
    assert (auto().minutes, auto().precision, auto(bfloat16=True).precision) == (30, None, "bfloat16")
    characters = get_preset("characters", facts)
    assert (characters.tokens, characters.precision, characters.fitted) == ("characters", "bfloat16", {"batch_size": 2})
