import pytest

from kerasptb.data.scripts import count_unspaced, is_unspaced


@pytest.mark.parametrize(
    "text", ["漢字", "かな", "カナ", "ไทย", "ลำดับ", "ລາວ", "မြန်", "ខ្មែរ", "བོད", "ꆈꌠ", "々", "〇"]
)
def test_letters_of_scripts_without_spaces(text):
    assert all(map(is_unspaced, text))
    assert count_unspaced(text) == len(text)


@pytest.mark.parametrize("text", ["aé1", "한글", "Ελλ", "Яс", "ابج", "अआ"])
def test_letters_of_scripts_with_spaces(text):
    assert not any(map(is_unspaced, text))
    assert count_unspaced(text) == 0


def test_signs_count_to_such_a_script_and_are_no_letters_of_it():
    assert not any(map(is_unspaced, "。、「」！"))
    assert count_unspaced("。、「」！") == 5
