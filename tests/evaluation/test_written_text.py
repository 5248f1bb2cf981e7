import itertools

import numpy as np
import pytest

from kerasptb.data import DataError, Subwords, Vocabulary
from kerasptb.data.tokenizers.tokenizer import EOS
from kerasptb.dynamic_evaluation import DynamicSettings, evaluate_dynamic
from kerasptb.evaluation import CacheSettings, evaluate_continuous_cache, reading
from kerasptb.keyboard import evaluate_keyboard
from kerasptb.keyboard.measure import savings as keyboard
from kerasptb.models import LanguageModel
from kerasptb.reading import suggest
from kerasptb.reading.pieces import pieces_of
from kerasptb.reading.reader import open_reader
from kerasptb.reading.words import search_words

LINES = ["The cat (a cat) sat.", "", 'It cost $ 5: the café\'s "hat!"']
TEXT = "\n".join(LINES)


@pytest.fixture(scope="module")
def subwords():
    return Subwords.train(LINES * 3, 300)


@pytest.fixture(scope="module")
def model(subwords, native_library):
    return LanguageModel(len(subwords), 6, (6,), batch_size=2, num_steps=5, init_scale=2.0, seed=3, tokenizer=subwords)


class Phone:
    """Types a text key by key, and looks at the suggestions after each."""

    def __init__(self, suggestions, keys):
        self.suggestions, self.keys = suggestions, keys
        self.text, self.pressed, self.space_is_there = "", 0, False

    def letter(self, letter):
        if self.space_is_there and (letter == " " or not letter.isalnum()):
            self.text, self.pressed = self.text[:-1], self.pressed - (letter == " ")
        self.text, self.pressed, self.space_is_there = self.text + letter, self.pressed + 1, False

    def word(self, word, may_be_shown):
        for typed in range(len(word)):
            shown = self.suggestions(self.text) if may_be_shown else []
            if {word, word.lower()} & set(shown[: self.keys]):
                self.text, self.pressed, self.space_is_there = self.text + word[typed:] + " ", self.pressed + 1, True
                return
            self.letter(word[typed])


def test_against_a_phone(model, subwords):
    def suggestions(text):
        return [each.word for each in suggest(model, text, k=3, exclude=(), complete=True)]

    phone = Phone(suggestions, keys=2)
    for line in filter(None, LINES):
        for part in line.split():
            units = [[part[0]]]
            for last, letter in itertools.pairwise(part):
                if (last.isalnum() or last in "'-") and (letter.isalnum() or letter in "'-"):
                    units[-1].append(letter)
                else:
                    units.append([letter])
            for unit in map("".join, units):
                first = unit[0] if unit[0].isalnum() and unit[0] != part[0] else ""
                if first:
                    phone.letter(first)  # after a bracket nothing is shown before the first letter
                rest = unit.removeprefix(first)
                phone.word(rest, rest[:1].isalnum() or len(units) == 1)
            phone.letter(" ")
        phone.text, phone.space_is_there = phone.text[:-1] + "\n", False
    assert phone.text == "".join(f"{line}\n" for line in LINES if line)
    result = evaluate_keyboard(model, TEXT, keys=2)
    assert result.num_keystrokes == phone.pressed
    assert result.num_characters == sum(len(part) + 1 for part in TEXT.split())
    assert result.num_words == len(TEXT.split())
    assert result.keystroke_savings > 0


def test_the_parts_of_a_text(subwords):
    ids = subwords.encode_typed("The cat (a café's).\nIt")
    parts = subwords.parts_of(ids)
    texts = [[unit and unit.text for unit in part] for part in parts]
    assert texts == [[], ["The"], ["cat"], ["(", "a"], ["café's", ")", "."], [], ["It"]]
    units = [unit for part in parts for unit in part if unit]
    assert [unit.text for unit in units if unit.lead == " "] == ["The", "cat", "(", "café's", "It"]
    assert [unit.text for unit in units if unit.shown_from] == [")", "."]
    assert [unit.text for unit in units if unit.begins] == ["a"]  # after an opening bracket
    for unit in units:
        if unit.end is not None:
            written = b"".join(subwords.pieces[i] for i in ids[unit.context : unit.end])
            assert written.decode() == unit.lead + unit.text


def test_words_and_subwords_type_the_same(model, subwords):
    """The same words and characters; what names no word is typed in full, and on no key."""
    text = "it cost <unk> 's cat\nthe N cats <unk> sat N\n"
    vocabulary = Vocabulary.from_tokens([*text.split(), EOS])
    of_words = LanguageModel(len(vocabulary), 4, (4,), batch_size=1, num_steps=5, seed=0, tokenizer=vocabulary)
    for learn in (False, True):
        ids = vocabulary.encode(text)
        results = [
            evaluate_keyboard(of_words, ids, learn=learn),
            evaluate_keyboard(model, subwords.encode(text), learn=learn),
            evaluate_keyboard(model, TEXT, learn=learn),
            evaluate_keyboard(of_words, TEXT, learn=learn),
        ]
        sizes = [(each.num_words, each.num_characters) for each in results]
        assert sizes[0] == sizes[1] == (10, len(text) - len("it "))  # the first word is read only
        assert sizes[2] == sizes[3] == (len(TEXT.split()), sum(len(part) + 1 for part in TEXT.split()))
        of_unnamed = 2 * len("<unk> ") + 2 * len("N ")
        assert results[1].savings_ceiling == pytest.approx(1 - (6 + of_unnamed) / results[1].num_characters)
        assert results[0].savings_ceiling == pytest.approx(results[1].savings_ceiling)


@pytest.mark.slow
def test_words_typed_before_are_shown_even_if_the_model_would_not(model, subwords):
    text = "Quagga sat.\nThe quagga sat.\nThe quagga sat."
    as_trained, learned = (evaluate_keyboard(model, text, learn=learn) for learn in (False, True))
    assert learned.num_keystrokes < as_trained.num_keystrokes
    assert learned.top1 > as_trained.top1
    # The last line is known word by word: three keys, the full stop and the space after it.
    before = evaluate_keyboard(model, text[: text.rindex("\n")], learn=True)
    assert learned.num_keystrokes - before.num_keystrokes == 5


def test_the_result_is_the_same_in_any_blocks(model, subwords, monkeypatch):
    ids = subwords.encode_typed(TEXT)
    parts = subwords.parts_of(ids)

    def find():
        shown = keyboard._find_all(open_reader(model), ids, parts, 2, None, learn=False)
        return [shown.get(id(unit)) for part in parts for unit in part]

    expected = find()
    for module, name, value in ((reading, "_BLOCK", 7), (keyboard, "_SCORES", 1), (keyboard, "_ROWS", 2)):
        monkeypatch.setattr(module, name, value)
    assert find() == expected
    assert {shown.typed for shown in expected if shown} > {None, 0, 1}


def test_contexts_are_those_of_a_text_that_is_read_from_the_beginning(model, subwords, monkeypatch):
    monkeypatch.setattr(reading, "_BLOCK", 10)
    ids, reader, places = subwords.encode_typed(TEXT)[:25], open_reader(model), []
    for start, hidden, states in reading.read_blocks(reader, ids):
        places.append(start)
        for i, context in enumerate(reader.contexts(hidden, states)):
            probabilities, state = model.stateless_next_word_probabilities(ids[np.newaxis, : start + i + 1])
            np.testing.assert_allclose(np.exp(context.log_probabilities), probabilities[0], rtol=1e-4)
            expected = np.concatenate([each[0] for layer in state for each in layer])
            np.testing.assert_allclose(context.state, expected, atol=1e-5)
    assert places == [0, 10, 20]


def test_no_less_probable_words_are_looked_for_and_the_others_are_the_same(model, subwords):
    pieces, reader = pieces_of(subwords), open_reader(model)
    context = reader.read_typed("The")

    def search(**how):
        made = search_words(pieces, context, " c", 9, **how)
        return next(result for _, result in keyboard.run_searches([(0, made)], reader.after, 1)).words

    everything = search()
    least = everything[3][1]
    assert [pair for pair in search(at_least=least * 0.999) if pair[1] >= least] == everything[:4]


@pytest.mark.slow
def test_characters_are_typed_too(native_library):
    characters = Subwords.characters()
    model = LanguageModel(256, 4, (4,), batch_size=1, num_steps=5, init_scale=2.0, seed=0, tokenizer=characters)
    result = evaluate_keyboard(model, "a cat's hat", learn=True)
    assert (result.num_words, result.num_characters) == (3, 12)
    # A long word that was typed before is completed, however many characters are typed of it.
    assert evaluate_keyboard(model, "incomprehensible\n" * 3, learn=True).num_keystrokes < 51


@pytest.mark.parametrize("learn", [False, True])
def test_keys_show_the_first_word_of_a_paragraph_in_characters(native_library, learn):
    characters = Subwords.characters()
    model = LanguageModel(256, 4, (4,), batch_size=1, num_steps=5, init_scale=0.0, tokenizer=characters)
    # "t" is the likeliest word, everywhere.
    model.get_layer("logits").bias.assign([3.0 if piece in b"t \n" else -9.0 for piece in characters.pieces])
    result = evaluate_keyboard(model, "t t\nt t\nt", learn=learn)
    assert (result.num_words, result.top1, result.num_keystrokes) == (5, 1.0, 5)


@pytest.mark.slow
def test_dynamic_evaluation_and_the_continuous_cache_read_subwords(model, subwords):
    ids = subwords.encode_typed(TEXT)
    probabilities = [model.next_word_probabilities(ids[np.newaxis, :end])[0, ids[end]] for end in range(1, len(ids))]
    perplexity = pytest.approx(np.exp(-np.log(probabilities).mean()), rel=1e-4)
    cached = evaluate_continuous_cache(model, ids, CacheSettings(theta=0.1, weight=0.0, window=9))
    assert (cached.num_words, cached.perplexity) == (len(ids) - 1, perplexity)
    statistics = [np.ones(variable.shape, "float32") for variable in model.trainable_variables]
    still = evaluate_dynamic(model, ids, statistics, DynamicSettings(1e-9, 0.0, 4))
    assert (still.num_words, still.perplexity) == (len(ids) - 1, perplexity)
    assert evaluate_dynamic(model, ids, statistics, DynamicSettings(0.5, 0.0, 4)).perplexity != perplexity


def test_what_cannot_be_typed(model, subwords):
    with pytest.raises(ValueError, match=r"for a model of words\. Received: one of subwords"):
        evaluate_keyboard(model, [1, 2, 3], cache=CacheSettings(0.1, 0.1))
    with pytest.raises(DataError, match="at least one word to type"):
        evaluate_keyboard(model, " \n\n")
    with pytest.raises(ValueError, match="keys"):
        evaluate_keyboard(model, [1, 2, 3], keys=0)


@pytest.mark.parametrize(("keys", "expected"), [(1, 62), (3, 62), (6, 31), (1000, 1)])
def test_so_few_words_are_looked_for_at_once_that_they_fit_in_memory(keys, expected, model, monkeypatch):
    seen, reader = [], open_reader(model)
    monkeypatch.setattr(Subwords, "__len__", lambda _: 8000)
    monkeypatch.setattr(keyboard, "run_searches", lambda searches, read, most: seen.append(most) or {})
    keyboard._find_all(reader, *reader.tokenizer.typed_parts("The cat"), keys, None, learn=True)
    assert seen == [expected]
