import math

import pytest

from kerasptb.presets import get_preset

SMALL = get_preset("small").model_arguments()


@pytest.mark.parametrize(("num_tokens", "rows"), [(10**8, 32), (112_000, 32), (111_999, 16), (20_000, 4), (300, 1)])
def test_short_texts_are_read_in_few_rows(num_tokens, rows):
    auto = get_preset("auto")
    assert auto.model_arguments() == SMALL
    assert auto.sized(num_tokens, 35) == {"batch_size": rows}
    assert rows == 1 or num_tokens // (rows * 35) >= 100
    assert auto.sized(num_tokens, 70)["batch_size"] == max(rows // 2, 1) or num_tokens == 10**8
    assert get_preset("small").sized(num_tokens, 35) == {}


def test_a_text_that_is_read_seldom_is_regularised_little():
    auto = get_preset("auto")
    assert {**SMALL, **auto.fitted(60)} == {**SMALL, **auto.fitted(20)} == SMALL
    less = auto.fitted(10)  # 0.3, and half of the rest
    assert less["output_dropout"] == pytest.approx(0.65 * SMALL["output_dropout"], abs=1e-3)
    assert less["activation_regularization"] == 0.65
    assert "variational_dropout" not in less
    assert auto.fitted(0.2)["input_dropout"] == pytest.approx(0.307 * SMALL["input_dropout"], abs=1e-3)
    assert get_preset("small").fitted(1) == {}
    assert (auto.minutes, get_preset("small").minutes) == (30, None)


def test_larger_layers_where_many_tokens_are_read():
    auto = get_preset("auto")
    assert auto.grown(2_000_000, 7.9) == auto.grown(570_000, 1000) == auto.grown(10**8, 0.1) == {}
    assert auto.grown(2_000_000, 8) == auto.grown(575_000, 1000) == {"embedding_size": 400, "units": (400, 400)}
    assert auto.grown(2_000_000, 16) == auto.grown(10**9, 100) == {"embedding_size": 512, "units": (512, 512)}
    assert get_preset("small").grown(10**9, 100) == {}


def test_a_short_text_is_not_read_again_and_again():
    auto = get_preset("auto")
    assert [auto.most_passes(130_000, started) for started in (False, True)] == [40, 6]
    assert [auto.most_passes(10**6, started) for started in (False, True)] == [100, 12]
    assert get_preset("small").most_passes(1000, started=True) == math.inf


def test_a_model_that_begins_with_weights_is_trained_at_a_lower_rate():
    auto, small = get_preset("auto"), get_preset("small")
    assert set(auto.started) <= set(auto.training_arguments())
    assert auto.started["learning_rate"] < auto.training_arguments()["learning_rate"] == 0.005
    assert small.started == {}
