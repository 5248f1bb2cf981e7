import keras
import pytest

from kerasptb.optimizers import OneCycle


def test_rises_and_falls_along_a_cosine():
    schedule = OneCycle(1.0, total_steps=100, warmup_fraction=0.2, start_divisor=10, end_divisor=1000)
    # At the ends, at the peak, and half-way up and down, where a cosine is in the middle.
    expected = {0: 0.1, 10: 0.55, 20: 1.0, 60: (1 + 0.001) / 2, 100: 0.001, 150: 0.001}
    for step, rate in expected.items():
        assert float(schedule(step)) == pytest.approx(rate, rel=1e-5), step


def test_without_warm_up_it_only_falls():
    schedule = OneCycle(0.5, total_steps=10, warmup_fraction=0.0)
    rates = [float(schedule(step)) for step in range(11)]
    assert rates[0] == pytest.approx(0.5)
    assert rates == sorted(rates, reverse=True)


def test_is_saved_with_its_optimizer():
    optimizer = keras.optimizers.AdamW(OneCycle(0.01, 50, 0.3, 20.0, 100.0))
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()
    assert again.get_config()["learning_rate"]["config"]["total_steps"] == 50


@pytest.mark.parametrize("arguments", [{"total_steps": 0}, {"total_steps": 5, "warmup_fraction": 1.0}])
def test_refuses_what_is_no_cycle(arguments):
    with pytest.raises(ValueError, match="Expected total_steps of at least 1, warmup_fraction in"):
        OneCycle(1.0, **arguments)
