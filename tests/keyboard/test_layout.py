import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from kerasptb.data import DataError
from kerasptb.keyboard import Layout, layout, load_layout
from kerasptb.keyboard.channel import open_channel


def test_the_names_of_the_api_are_the_layouts_of_the_package():
    schemas = pytest.importorskip("kerasptb.serving.schemas", reason="the extra `serve` is not installed")
    files = sorted(path.stem for path in (Path(layout.__file__).parent / "layouts").glob("*.json"))
    assert sorted(get_args(schemas.LayoutName)) == [name for name in files if load_layout_or_none(name)]


def load_layout_or_none(name):
    try:
        return load_layout(name)
    except DataError:
        return None  # a table of confusions


def test_keys_lie_beside_each_other_in_rows():
    qwerty = load_layout("qwerty")
    centre = dict(zip(qwerty.keys, qwerty.centres.tolist(), strict=True))
    assert (centre["q"], centre["p"]) == ([0.5, 0.75], [9.5, 0.75])
    assert (centre["a"], centre["z"]) == ([1.0, 2.25], [2.0, 3.75])
    assert set(qwerty.keys) == set("abcdefghijklmnopqrstuvwxyz")
    assert set("abcdefghijklmnopqrstuvwxyz") == set(load_layout("azerty").keys)
    assert set("abcdefghijklmnopqrstuvwxyzç") == set(load_layout("portuguese").keys)
    assert set("abcdefghijklmnopqrstuvwxyzäöü") == set(load_layout("qwertz").keys)


@pytest.mark.parametrize(
    ("name", "letter", "key"),
    [
        ("qwerty", "a", "a"),
        ("qwerty", "Ã", "a"),
        ("qwerty", "ç", "c"),
        ("portuguese", "ç", "ç"),
        ("portuguese", "Ç", "ç"),
        ("qwertz", "ß", "s"),
        ("azerty", "œ", "o"),
        ("qwerty", "'", None),
        ("qwerty", "ß", None),
        ("qwerty", "я", None),
    ],
)
def test_letters_without_a_key_are_typed_by_that_of_their_base(name, letter, key):
    keys = load_layout(name)
    assert keys.key_of(letter) == (-1 if key is None else keys.keys.index(key))


def test_a_point_hits_the_key_that_it_is_on_or_else_the_nearest():
    qwerty = load_layout("qwerty")
    points = np.array([[0.5, 0.75], [0.99, 1.4], [1.01, 1.4], [-50, 0.7], [0.2, 2.0], [5.0, 99.0], [1.2, 3.6]])
    assert "".join(qwerty.keys[key] for key in qwerty.nearest(points)) == "qqwqavz"
    assert not len(qwerty.nearest(np.zeros((0, 2))))


def test_a_layout_is_a_file_that_anybody_can_write(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(
        json.dumps({"rows": [{"keys": "ab", "from": 2}, {"keys": "c"}], "height": 1, "typed_by": {"ß": "c"}})
    )
    mine = load_layout(str(path))
    assert mine.centres.tolist() == [[2.5, 0.5], [3.5, 0.5], [0.5, 1.5]]
    assert mine.key_of("ß") == 2
    path.write_text('{"rows": [{"keys": "QÄ"}], "typed_by": {"ẞ": "Q"}}')  # changed, and in capitals
    assert [load_layout(str(path)).key_of(letter) for letter in "qQäÄßa"] == [0, 0, 1, 1, 0, -1]
    one = tmp_path / "one.json"
    one.write_text('{"rows": [{"keys": "a"}]}')
    assert load_layout(str(one)).nearest(np.array([[7.0, 7.0]])).tolist() == [0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expected a layout such as"),
        ("[]", "Expected a layout such as"),
        ("{}", "Expected a layout such as"),
        ('{"rows": [{"keys": 3}]}', "Expected a layout such as"),
        ('{"rows": []}', "at least one key"),
        ('{"rows": [{"keys": "aba"}]}', "a place of its own"),
        ('{"rows": [{"keys": "a"}, {"keys": "b", "from": 0}], "height": 0}', "a place of its own"),
        ('{"rows": [{"keys": "a", "from": NaN}]}', "finite places"),
        ('{"rows": [{"keys": "a"}], "height": -1}', "positive height"),
        ('{"rows": [{"keys": "a"}], "typed_by": {"ß": "s"}}', "keys of the layout. Received: 's'"),
        ('{"rows": [{"keys": "a"}], "typed_by": 3}', "Expected a layout such as"),
    ],
)
def test_what_is_no_layout_is_said_in_a_line(tmp_path, text, reason):
    path = tmp_path / "wrong.json"
    path.write_text(text)
    with pytest.raises(DataError, match=reason) as error:
        load_layout(str(path))
    assert "\n" not in str(error.value)


def test_a_device_is_no_layout(tmp_path):
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    for open_it in (load_layout, open_channel):
        with pytest.raises(
            DataError, match=r"Expected a layout such as .*zero\.json\. Received: it is no regular file"
        ):
            open_it(str(tmp_path / "zero.json"))


def test_a_name_that_is_none_names_those_there_are():
    known = "one of azerty, portuguese, qwerty, qwertz, or the path of a file. Received: dvorak"
    with pytest.raises(DataError, match=known):
        load_layout("dvorak")


def test_what_types_a_letter_is_a_key():
    for key in ("z", "ab", ""):
        with pytest.raises(DataError, match=f"typed by keys of the layout. Received: '{key}'"):
            Layout("ab", np.array([[0, 0], [1, 0]]), typed_by={"c": key})


def test_two_keys_in_one_place_are_refused():
    with pytest.raises(DataError, match="a place of its own"):
        Layout("ab", np.zeros((2, 2)))
