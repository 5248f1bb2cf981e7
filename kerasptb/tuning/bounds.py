"""What a setting of a search may be: a value, a range with both ends, or a list of choices."""

from typing import Any, TypeAlias

import keras_tuner as kt

from kerasptb.arguments import (
    RECIPE_ARGUMENTS,
    WIDTH_STEP,
    Argument,
    Flag,
    ModelArguments,
    Sampling,
    Several,
    Whole,
)

Bounds: TypeAlias = float | tuple[float, float] | list[int] | list[float] | None

# What a search may vary: `units` and `num_layers` stand for the model's `units`.
FIELDS = {
    "num_layers": Argument("num_layers", Whole(), "number of LSTM layers", sampling=Sampling(1)),
    **{name: field for name, field in ModelArguments.fields().items() if field.sampling is not None},
    **RECIPE_ARGUMENTS,
}


def _sampling(name: str) -> Sampling:
    return FIELDS[name].sampling or Sampling()


def check(name: str, bounds: Any) -> None:
    """Raises a ValueError for bounds that the setting of this name does not take."""
    field = FIELDS[name]
    is_range, choices = isinstance(bounds, tuple), bounds if isinstance(bounds, list) else [bounds]
    if name == "projection" and not isinstance(bounds, bool):
        raise ValueError(f"Expected projection as True or False. Received: projection={bounds}")
    if isinstance(field.kind, Flag) and (is_range or not {*choices} <= {False, True}):
        raise ValueError(f"Expected {name} as True, False or a list of both. Received: {name}={bounds}")
    if not choices:
        raise ValueError(f"Expected at least one choice of {name}. Received: {name}=[]")
    if not isinstance(field.kind, Several):
        for value in bounds if is_range else choices:
            if value is not None:
                field.read(value)
    if is_range:
        _check_range(name, bounds, _sampling(name).step)


def _check_range(name: str, bounds: tuple[float, float], step: float | None) -> None:
    if len(bounds) != 2 or not bounds[0] <= bounds[1]:
        raise ValueError(f"Expected {name} as (low, high), a list of choices, or a value. Received: {name}={bounds}")
    if step == WIDTH_STEP and (bounds[0] % step or bounds[1] % step or bounds[0] < step):
        raise ValueError(
            f"A range of {name} goes in steps of {step}: expected ends that are multiples of it; a list of choices "
            f"takes any. Received: {name}={bounds}"
        )
    if step and abs((steps := (bounds[1] - bounds[0]) / step) - round(steps)) > 1e-6:
        raise ValueError(
            f"A range of {name} goes in steps of {step}: expected ends that are a whole number of them apart; a "
            f"list of choices takes any. Received: {name}={bounds}"
        )


def leaves_choice(bounds: Any) -> bool:
    """Returns whether a search draws the setting."""
    return isinstance(bounds, tuple | list)


def allowed(name: str, bounds: Any) -> list[int]:
    """Returns the possible values of a whole-numbered setting, rising."""
    if isinstance(bounds, tuple):
        return list(range(bounds[0], bounds[1] + 1, int(_sampling(name).step or 1)))
    return sorted(bounds) if isinstance(bounds, list) else [bounds]


def draw(hp: kt.HyperParameters, name: str, bounds: Any, as_name: str) -> Any:
    """Returns the value that `keras_tuner.HyperParameters` draw within the bounds, by another name."""
    if isinstance(bounds, list):
        value = hp.Choice(as_name, bounds, ordered=not isinstance(bounds[0], str))
        return bool(value) if isinstance(bounds[0], bool) else value  # KerasTuner makes them 0 and 1
    if not isinstance(bounds, tuple):
        return bounds
    (low, high), sampling = bounds, _sampling(name)
    how: dict[str, Any] = {"sampling": "log"} if sampling.log else {"step": sampling.step}
    if isinstance(FIELDS[name].kind, Whole | Several):
        return hp.Int(as_name, low, high, **how)
    # KerasTuner counts steps by `//`. As 0.5 // 0.05 is 9, it would never draw the end of the range.
    high += 1e-6 * how.get("step", 0)
    # Six digits are enough: 0.6500000000000001 becomes 0.65.
    return float(f"{hp.Float(as_name, low, high, **how):.6g}")


def around(name: str, value: Any) -> tuple[float, float] | None:
    """Returns the range around a recipe's value, as the field says; `None` if there is none, or it does nothing."""
    kind, sampling = FIELDS[name].kind, _sampling(name)
    if sampling.around is None or not value or value == FIELDS[name].default:
        return None
    if sampling.step is None:  # ratios matter
        return float(f"{value / sampling.around:.3g}"), float(f"{value * sampling.around:.3g}")
    # Shares: from 0.1 on where they must not be 0, up to 0.9 where they must not be 1.
    low, high = (0.0, 0.9) if kind.without_high else (0.1, 1.0)
    middle = max(round(value / sampling.step), 1) * sampling.step
    return round(max(middle - sampling.around, low), 2), round(min(middle + sampling.around, high), 2)


def describe(name: str, bounds: Any) -> str:
    """Returns what a search draws of a setting, for people to read."""
    if isinstance(bounds, tuple):
        return f"{name} {bounds[0]:g} to {bounds[1]:g}"
    return f"{name} {'/'.join(map(str, bounds))}"


def to_config(bounds: Any) -> Any:
    """Returns bounds as JSON holds them: `{"range": [low, high]}`, `{"choices": [...]}` or a value."""
    if isinstance(bounds, tuple):
        return {"range": list(bounds)}
    return {"choices": bounds} if isinstance(bounds, list) else bounds


def from_config(config: Any) -> Any:
    """Returns the bounds that `to_config` was given."""
    if not isinstance(config, dict):
        return config
    return tuple(config["range"]) if "range" in config else config["choices"]
