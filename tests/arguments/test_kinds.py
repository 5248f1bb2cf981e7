import numpy as np
import pytest

from kerasptb.arguments import Choice, Flag, Number, Several, Text, Whole

RATE = Number(0, 1, without_high=True)
ABOVE_0 = Number(0, without_low=True)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Whole(), np.int64(3), 3),
        (Whole(0), 0, 0),
        (Number(0, 1), np.float32(0.5), 0.5),
        (Number(0, 1), 1, 1.0),
        (RATE, 0, 0.0),
        (Flag(), np.bool_(True), True),
        (Several(Whole()), 3, (3,)),
        (Several(Whole()), np.array([3, 4]), (3, 4)),
        (Several(Text()), "embedding", ("embedding",)),
        (Choice(("a", "b")), "b", "b"),
    ],
)
def test_values_become_what_json_holds(kind, value, expected):
    found = kind.read(value)
    assert found == expected
    assert type(found) is type(expected)
    assert not isinstance(found, tuple) or {type(each) for each in found} == {type(expected[0])}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Whole(), 0),
        (Whole(), 2.0),
        (Whole(), True),
        (Whole(), "3"),
        (Number(0), -1e-9),
        (Number(0), float("nan")),
        (Number(0), float("inf")),
        (Number(0), True),
        (ABOVE_0, 0),
        (RATE, 1.0),
        (Flag(), 1),
        (Text(), ""),
        (Text(), 5),
        (Choice(("a",)), ["a"]),
        (Several(Whole()), []),
        (Several(Whole()), [[3]]),
        (Several(Whole()), {}),
    ],
)
def test_other_values_are_refused(kind, value):
    with pytest.raises((TypeError, ValueError)):
        kind.read(value)


def test_what_is_taken_is_said():
    assert Whole(0).expected == "a whole number of at least 0"
    assert RATE.expected == "a number of at least 0 and below 1"
    assert ABOVE_0.expected == "a number above 0"
    assert Number(0, 1, without_low=True).expected == "a number above 0 and at most 1"


def test_words_of_the_command_line_become_values():
    assert (Whole().parse("12"), ABOVE_0.parse("1e-3"), Several(Whole()).parse("7")) == (12, 0.001, 7)
    for kind, word in ((Whole(), "1.5"), (ABOVE_0, "nan"), (RATE, "1")):
        with pytest.raises(ValueError):
            kind.parse(word)
