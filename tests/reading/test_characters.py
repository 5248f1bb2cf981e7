"""The table of characters is that of Python's Unicode."""

import unicodedata

import numpy as np
import pytest

from kerasptb.reading import characters


@pytest.mark.slow
def test_the_table_is_that_of_this_unicode():
    version, _ = characters._TABLE.read_text().split("\n", 1)
    if version != unicodedata.unidata_version:
        pytest.skip(f"the table is of Unicode {version}, and this Python has {unicodedata.unidata_version}")
    assert characters.scan() == characters._TABLE.read_text()


def test_letters_spaces_and_capitals():
    classes, cases = characters.characters()
    assert (np.diff(classes >> 8) > 0).all()
    of = {
        character: int(classes[np.searchsorted(classes >> 8, ord(character), "right") - 1]) & 0xFF
        for character in "aé日3½ (\u0301!"
    }
    assert of == {"a": 1, "é": 1, "日": 65, "3": 4, "½": 8, " ": 16, "(": 32, "\u0301": 2, "!": 0}
    (latin,) = [each for each in cases.tolist() if each[0] <= ord("B") <= each[1]]
    assert latin == [ord("A"), ord("Z"), 1, 32]
