"""The fields of arguments, and the frozen values that they make."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Self

REQUIRED: Any = type("Required", (), {"__repr__": lambda self: "REQUIRED"})()  # no default


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How a search varies an argument."""

    step: float | None = None  # a (low, high) range goes in multiples of it; None for any number
    log: bool = False  # whether the logarithm is uniform, where ratios matter
    # Of a space around a recipe, how far from its value, with `log` a factor; None for not at all.
    around: float | None = None


@dataclasses.dataclass(frozen=True)
class Argument:
    """What an argument is."""

    name: str
    kind: Any  # which values it takes, see `kinds`
    help: str  # one line on what it is
    default: Any = REQUIRED  # REQUIRED if a value must be named
    optional: bool = False  # whether it may be None
    option: bool = False  # whether the command line has an option for it
    shown: str | None = None  # what its help says of the default
    metavar: str | None = None  # what its help calls the value
    sampling: Sampling | None = None  # how a search varies it; None if none does
    fixed: bool = True  # whether what is resumed keeps it

    def read(self, value: Any) -> Any:
        """Returns a value in its canonical form; raises ValueError for one that the argument does not take."""
        if value is None and self.optional:
            return None
        try:
            return self.kind.read(value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(
                f"`{self.name}` must be {self.kind.expected}. Received: {self.name}={shortened(value)}"
            ) from None


def argument(kind: Any, help: str, default: Any = REQUIRED, **others: Any) -> Any:
    """Returns the dataclass field of an argument; see `Argument`. One whose default is None is optional."""
    metadata = {"kind": kind, "help": help, "optional": default is None, **others}
    return dataclasses.field(default=dataclasses.MISSING if default is REQUIRED else default, metadata=metadata)


# One with an option, whose default the recipe decides.
preset_argument = functools.partial(argument, option=True, shown="the preset's")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Base of frozen values whose fields are made by `argument`; each value is checked, and canonical."""

    def __post_init__(self) -> None:
        for name, field in self.fields().items():
            object.__setattr__(self, name, field.read(getattr(self, name)))

    @classmethod
    @functools.cache
    def fields(cls) -> dict[str, Argument]:
        """Returns the arguments by name, in the order of the fields."""
        found = [f for f in dataclasses.fields(cls) if "kind" in f.metadata]
        defaults = {f.name: REQUIRED if f.default is dataclasses.MISSING else f.default for f in found}
        return {f.name: Argument(f.name, default=defaults[f.name], **f.metadata) for f in found}

    @classmethod
    def named(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns those of the values that have a field."""
        return {name: values[name] for name in cls.fields() if name in values}

    @classmethod
    def asked(cls, further: Mapping[str, Any] | None = None, /, **named: Any) -> dict[str, Any]:
        """Returns the arguments that are named, in canonical form; `None` is one that is not, `further` has more."""
        fields, more = cls.fields(), dict(further or {})
        if unknown := sorted(set(more) - set(fields)):
            raise ValueError(f"Expected arguments among {sorted(fields)}. Received: {unknown}")
        values = {name: fields[name].read(value) for name, value in named.items() if value is not None}
        asked = {**values, **{name: fields[name].read(value) for name, value in more.items()}}
        if twice := [name for name in values if values[name] != asked[name]]:
            received = " and ".join(f"{twice[0]}={value!r}" for value in (named[twice[0]], more[twice[0]]))
            raise ValueError(f"{twice[0]} is named twice, as an argument and among further ones. Received: {received}")
        return asked

    @classmethod
    def from_config(cls, config: Any, part: str) -> Self:
        """Returns the arguments of a part of a config; raises ValueError as `read_part`, or if it lacks one."""
        values = read_part(cls.fields(), config, part)
        if missing := [f.name for f in cls.fields().values() if f.default is REQUIRED and f.name not in values]:
            raise ValueError(f"it lacks {', '.join(f'{part}.{name}' for name in missing)}")
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """Returns the arguments by name, for a function that takes them."""
        return {name: getattr(self, name) for name in self.fields()}

    def to_config(self) -> dict[str, Any]:
        """Returns the arguments as JSON holds them, a dict."""
        return {name: as_json(getattr(self, name)) for name in self.fields()}


def read_part(fields: Mapping[str, Argument], config: Any, part: str) -> dict[str, Any]:
    """Returns the checked values of a part of a config; raises ValueError if it is no dict of these fields' values."""
    if not isinstance(config, dict):
        raise ValueError(f"`{part}` must be an object of settings. Received: {part}={shortened(config)}")
    if unknown := sorted(set(config) - set(fields)):
        raise ValueError(f"there is no setting {', '.join(f'{part}.{name}' for name in unknown)}")
    return {name: fields[name].read(value) for name, value in config.items()}


def as_json(value: Any) -> Any:
    """Returns a value as JSON holds it: a tuple as a list."""
    return list(value) if isinstance(value, tuple) else value


def shortened(value: Any) -> str:
    """Returns a value as messages show it."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
