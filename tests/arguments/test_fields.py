import dataclasses

import pytest

from kerasptb.arguments import REQUIRED, Arguments, Flag, Several, Whole, argument, read_part


@dataclasses.dataclass(frozen=True)
class Sizes(Arguments):
    rows: int = argument(Whole(), "rows of a table", option=True)
    widths: tuple = argument(Several(Whole()), "widths of its columns", (1,))
    wide: bool = argument(Flag(), "whether it is wide", False)
    limit: int | None = argument(Whole(), "the most rows", None, optional=True)


def test_fields_say_what_the_arguments_are():
    fields = Sizes.fields()
    assert list(fields) == ["rows", "widths", "wide", "limit"]
    assert fields["rows"].default is REQUIRED
    assert (fields["rows"].help, fields["rows"].option, fields["widths"].default) == ("rows of a table", True, (1,))


def test_values_are_checked_and_canonical():
    assert Sizes(3, [4, 5]) == Sizes(3, (4, 5), False, None)
    with pytest.raises(ValueError, match=r"`widths` must be a list, each a whole number of at least 1\. Received: wid"):
        Sizes(3, [])
    with pytest.raises(ValueError, match=r"`rows` must be a whole number of at least 1\. Received: rows=None"):
        Sizes(None)
    with pytest.raises(ValueError, match=r"rows='x{199}…$"):
        Sizes("x" * 1000)


def test_configs_round_trip():
    sizes = Sizes(3, (4, 5), limit=7)
    assert sizes.to_config() == {"rows": 3, "widths": [4, 5], "wide": False, "limit": 7}
    assert Sizes.from_config(sizes.to_config(), "sizes") == sizes
    assert Sizes.from_config({"rows": 2}, "sizes").widths == (1,)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({}, "it lacks sizes.rows"),
        ([], r"`sizes` must be an object of settings\. Received: sizes=\[\]"),
        ({"rows": 1, "colour": 2, "shape": 3}, r"there is no setting sizes\.colour, sizes\.shape"),
        ({"rows": 1, "wide": "yes"}, r"`wide` must be True or False\. Received: wide='yes'"),
    ],
)
def test_configs_of_another_form_are_told(config, text):
    with pytest.raises(ValueError, match=text):
        Sizes.from_config(config, "sizes")


def test_a_part_may_leave_settings_out():
    assert read_part(Sizes.fields(), {"widths": 2}, "sizes") == {"widths": (2,)}


def test_of_other_values_those_with_a_field_are_taken():
    assert Sizes.named({"rows": 2, "self": 3, "limit": None}) == {"rows": 2, "limit": None}
