from benchmarks.people import aligned, by_words, figures, read_people
from kerasptb.keyboard import Correction


def test_words_are_found_in_what_was_typed():
    typed = "Teh  doc, sat onthe mat  and purred."
    found = aligned("The dog sat on the mat.", typed)
    assert [(typed[start:end], meant) for start, end, meant in found] == [
        ("Teh", "the"),  # one exchange
        ("doc,", "dog"),
        ("sat", "sat"),
        ("mat", "mat"),
    ]  # one word stands for two, and two are more than was shown
    assert aligned("A cat sat!", "A horse sat") == [(0, 1, "a"), (8, 11, "sat")]


def test_right_and_wrong_words_are_counted_after_corrections():
    typed = "A dgo sat in the hosue on mats"
    words = aligned("a dog sat in the house on mats", typed)
    corrections = [
        Correction(2, 5, "dgo", "dog", 9.0),
        Correction(17, 22, "hosue", "hose", 9.0),
        Correction(23, 30, "on mats", "onmats", 9.0),  # two right words become one
    ]
    found = figures([(typed, words)], lambda text: corrections)
    assert (found["words"], found["wrong"], found["wrong_after"]) == (8, 2, 3)
    assert (found["mended"], found["changed"]) == (50.0, 33.33)


def test_a_corrector_of_words_is_one_of_texts():
    correct = by_words({"don't": "do", "a": "a"}.get)
    assert correct("a (don't)") == [Correction(3, 8, "don't", "do", 0.0)]


def test_people_are_held_back_by_their_id(tmp_path):
    head = "PARTICIPANT_ID\tTEST_SECTION_ID\tSENTENCE\tUSER_INPUT\tLETTER\n"
    for number in 3999, 4000:
        rows = [f'{number}\t7\t"It is.\t"It si {number}\t{letter}\n' for letter in "It"]
        (tmp_path / f"{number}_keystrokes.txt").write_text(head + "".join(rows))
    assert read_people(tmp_path, held_back=False) == [('"It is.', '"It si 3999')]
    assert read_people(tmp_path, held_back=True) == [('"It is.', '"It si 4000')]
