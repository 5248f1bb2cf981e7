import keras
import pytest

from kerasptb.optimizers import ClippedAdamW, ClippedSGD, OneCycle
from kerasptb.optimizers.by_name import decay_of, rate_of, with_optimizer


def test_keeps_rate_and_clip_norm():
    optimizer = with_optimizer(ClippedSGD(0.25, 3.0), "adamw")
    assert type(optimizer) is ClippedAdamW
    assert (float(optimizer.learning_rate), optimizer.global_clipnorm) == (0.25, 3.0)


def test_keeps_a_schedule():
    optimizer = with_optimizer(ClippedAdamW(OneCycle(0.02, 10, 0.0)), "rmsprop")
    assert type(optimizer) is keras.optimizers.RMSprop
    assert float(optimizer.learning_rate) == pytest.approx(0.02)
    assert optimizer.get_config()["learning_rate"]["config"]["total_steps"] == 10


def test_decays_as_it_is_told():
    adamw = ClippedAdamW(0.1, weight_decay=0.5)
    assert with_optimizer(adamw, "sgd", 0.25).weight_decay == 0.25
    assert with_optimizer(adamw, "adamw").weight_decay == decay_of("adamw") == 0.01
    assert decay_of("sgd") == 0.0


@pytest.mark.parametrize("name", ["sgd", "adamw", "adam"])
def test_keeps_averages_that_it_can_keep(name):
    optimizer = with_optimizer(ClippedSGD(polyak_averaging=True), name)
    assert getattr(optimizer, "polyak_averaging", False) == (name != "adam")
    optimizer = with_optimizer(ClippedSGD(use_ema=True, ema_momentum=0.75), name)
    assert (optimizer.use_ema, optimizer.ema_momentum) == (True, 0.75)


def test_knows_the_default_rates():
    assert rate_of("sgd") == 1.0
    assert rate_of("adamw") == rate_of("adam") == pytest.approx(0.001)


def test_refuses_unknown_names():
    with pytest.raises(ValueError, match=r'Expected "sgd", "adamw" or the name of another Keras optimizer.*best'):
        rate_of("best")
