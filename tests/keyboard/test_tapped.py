"""The search for words by taps: against all that a few pieces may write, and in a vocabulary of words."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

import kerasptb
from kerasptb.data import Vocabulary
from kerasptb.data.lexicon import Lexicon
from kerasptb.keyboard import Errors, Keyboard, Memory
from kerasptb.keyboard.channel import Taps
from kerasptb.keyboard.tapped import Readings, search_taps, trie_of
from kerasptb.keyboard.writer import Writer
from kerasptb.native import core
from kerasptb.reading import Context, run_search
from kerasptb.reading.pieces import pieces_of

CHANCES = {" ca": 0.2, " c": 0.15, " b": 0.1, "a": 0.12, "t": 0.18, "at": 0.1, ".": 0.1, "\n": 0.05}
CAREFUL = Errors(0.0, *[0.0] * 8, plain=0.0, unshifted=0.0, shifted=0.0)


class Pieces:
    """A tokenizer of some pieces, which cuts a word into the longest that come first."""

    kind, unnamed, unk_id, spells = "subwords", frozenset(), None, True

    def __init__(self, pieces=CHANCES):
        self.tokens = self.written = tuple(pieces)
        self.pieces = tuple(piece.encode() for piece in pieces)

    def encode_further(self, text, before="a"):
        ids, left = [], text if before == "(" else f" {text}"
        while left:
            piece = max((piece for piece in self.tokens if left.startswith(piece)), key=len, default=".")
            ids.append(self.tokens.index(piece))
            left = left[len(piece) :]
        return np.array(ids, "int32")


TOKENIZER = Pieces()
CONTEXT = Context(np.zeros(0), np.log(np.array(list(CHANCES.values()), "float32")))


def find(text, k=8, whole=True, errors=None, tokenizer=TOKENIZER, context=CONTEXT, points=None, **settings):
    keyboard = Keyboard(errors=errors or Errors(wrong=0.2))
    search = search_taps(pieces_of(tokenizer), context, Taps(text, points), keyboard, k, whole=whole, **settings)
    return run_search(search, lambda beginnings: [context] * len(beginnings))


def aligned(text, errors, whole, *words):
    """The probability of what is typed for words."""
    trie = trie_of(pieces_of(TOKENIZER))
    hits = Keyboard(errors=errors).hits(trie, Taps(text), whole)
    return core.Texts(words).align(core.Model(trie.fields), hits)


def _of_all_pieces(text, errors, whole):
    """The words of up to five pieces, with the probability that they come and are typed so, the likeliest first."""
    ended, spaced = sum(CHANCES[each] for each in (" ca", " c", " b", ".", "\n")), 0.45
    found = {}
    letters = {piece: chance for piece, chance in CHANCES.items() if piece.strip().isalpha()}
    for number in range(1, 6):
        for pieces in itertools.product(letters, repeat=number):
            written = "".join(pieces)
            if written[0] == " " and " " not in written[1:]:
                (typed,) = aligned(text, errors, whole, written[1:])
                value = math.prod(map(CHANCES.get, pieces)) / spaced * ended * typed
                found[written[1:]] = found.get(written[1:], 0.0) + value
    return sorted(found.items(), key=lambda pair: -pair[1])


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("text", ["cat", "vat", "ca", "cta", "catt", "b"])
def test_words_have_the_probability_that_they_come_and_are_typed_so(text, whole):
    errors = Errors(wrong=0.2, unspaced=0.0)
    expected = _of_all_pieces(text, errors, whole)
    found = find(text, errors=errors, whole=whole)
    likely = [(word, value) for word, value in expected if value > expected[0][1] / 5]
    assert [word for word, _ in found.words[: len(likely)]] == [word for word, _ in likely]
    for (_, probability), (_, value) in zip(found.words, likely, strict=False):
        assert probability == pytest.approx(value, rel=0.07)  # some ways to write a word are not read


@pytest.mark.parametrize("text", ["cat", "vat", "ca", "cta", "c", "b"])
def test_the_total_is_that_of_all_words_that_begin_so(text):
    errors = Errors(wrong=0.2, unspaced=0.0)
    expected, found = dict(_of_all_pieces(text, errors, whole=False)), find(text, k=1, errors=errors, whole=False)
    expected.setdefault(text, found.literal_probability)  # which no piece may write
    assert 1 <= found.total / sum(expected.values()) < 1.08  # words of more than five pieces are a few percent


def test_who_never_errs_types_what_is_written():
    found = find("cat", errors=CAREFUL)
    by_pieces = 0.2 * 0.18 + 0.15 * 0.12 * 0.18 + 0.15 * 0.1
    assert found.words[0][0] == "cat"
    assert sum(value for _, value in found.words[1:]) < 1e-3 * found.words[0][1]  # the finger may be anywhere
    assert found.words[0][1] == pytest.approx(by_pieces / 0.45 * 0.6, rel=1e-3)
    assert found.corrected() == found.literal == "cat"


def test_what_is_typed_has_its_own_probability_however_unlikely():
    found = find("bat", k=1)
    cut = CHANCES[" b"] * CHANCES["at"] / 0.45 * 0.6
    assert found.literal_probability >= cut * (1 - Errors().omitted - Errors().exchanged) ** 3 * (1 - 1e-6)
    assert found.literal == "bat"


def test_a_missed_space_parts_two_words():
    found = dict(find("cab", errors=Errors(wrong=0.01, unspaced=0.05)).words)
    assert found["ca b"] == pytest.approx(0.2 / 0.45 * 0.05 * 0.1 * 0.6, rel=0.1)
    assert "ca b" not in dict(find("cab", errors=Errors(wrong=0.01, unspaced=0.0)).words)


def test_a_space_too_many_is_left_out():
    found = find("c at", errors=Errors(wrong=0.01, spaced=0.05))
    assert dict(found.words)["cat"] > found.literal_probability / 100


def test_words_that_are_not_known_are_less_likely():
    for lexicon, share in ((["cat"], 1.0), (["bat"], Errors().unknown)):
        with_lexicon = find("cat", lexicon=Lexicon(lexicon))
        without = find("cat")
        assert with_lexicon.literal_probability == pytest.approx(share * without.literal_probability, rel=1e-3)
    assert find("car", lexicon=Lexicon(["cat"])).corrected(0.5) == "cat"
    assert find("car").corrected(0.5) == "car"


def test_words_typed_before_are_likelier_those_that_no_piece_writes_too():
    memory = Memory(["zebra", "cat"] * 5)
    found = dict(find("zevra", memory=memory).words)
    of_model, shares = memory.shares
    assert "zebra" not in found  # whose letters no piece has
    known = dict(find("cst", memory=memory).words)["cat"]
    alone = dict(find("cst").words)["cat"]
    (typed,) = aligned("cst", Errors(wrong=0.2), True, "cat")
    assert known == pytest.approx(of_model * alone + shares[memory.lexicon.index("cat")] * typed, rel=1e-3)


@pytest.mark.parametrize(("typed", "whole"), [("\u00e7a", True), ("Fran", False), ("Fran\u00e7", False)])
def test_words_typed_before_with_letters_that_the_model_lacks_are_found_as_they_are_typed(typed, whole):
    memory = Memory(["\u00e7a", "Fran\u00e7ois", "Fran\u00e7oise"] * 5)
    found = dict(find(typed, memory=memory, whole=whole).words)
    of_model, shares = memory.shares
    literal = of_model * find(typed, whole=whole).literal_probability
    for word, share in zip(memory.lexicon, shares, strict=True):
        if word.startswith(typed):
            mine = share * Errors(wrong=0.2).hit ** len(typed)
            assert found[word] == pytest.approx(mine + (word == typed) * literal)
        else:
            assert word not in found


def test_excluded_words_are_not_found():
    assert "cat" not in dict(find("cat", exclude={"cat"}, k=3).words) or find("cat", exclude={"cat"}).literal == "cat"
    assert "cat" not in dict(find("vat", exclude={"cat"}).words)


def test_too_many_taps_stay_as_they_are():
    found = find("c" * (core.MOST_TAPS + 1))
    assert (found.words, found.corrected()) == ([], "c" * (core.MOST_TAPS + 1))
    assert find("c" * 10_000).corrected() == "c" * 10_000


def test_a_word_without_a_space_before_it_begins_at_once():
    found = find("at", begins=True, errors=CAREFUL)
    assert dict(found.words)["at"] == pytest.approx((CHANCES["at"] + CHANCES["a"] * CHANCES["t"]) * 0.6, rel=1e-3)


def test_in_a_vocabulary_of_words_nothing_is_read():
    vocabulary = Vocabulary(["<eos>", "<unk>", "the", "then", "cat", "u.s."])
    chances = np.log(np.array([0.1, 0.1, 0.4, 0.2, 0.1, 0.1], "float32"))
    search = search_taps(
        pieces_of(vocabulary),
        Context(np.zeros(0), chances),
        Taps("tge"),
        Keyboard(errors=Errors(unspaced=0.0)),
        3,
        whole=True,
    )
    with pytest.raises(StopIteration) as end:
        next(search)
    readings = end.value.value
    assert readings.corrected() == "the"
    assert readings.words[0][0] == "the"
    # A word that it lacks has the letters of its own, after <unk>.
    assert readings.literal_probability < 0.1 * 20.0**-3


@pytest.mark.parametrize("layout", ["qwerty", "qwertz"])
def test_a_letter_that_the_model_lacks_is_no_slip(layout):
    run = kerasptb.load_run("english")
    for typed in ("München", "Łódź", "Øystein", "Привет"):
        writer, context = Writer(run.reader.tokenizer), run.reader.read_typed("She lives in")
        search = writer.readings(context, Taps(typed), Keyboard(layout), 3, whole=True, lexicon=run.reader.lexicon)
        assert run_search(search, run.reader.after).corrected() == typed


def test_words_with_letters_that_the_model_lacks_are_completed_as_they_stand(spelled):
    model, text = spelled.model, "the caf\u00e9"
    exact, found = (kerasptb.suggest(model, text, 3, complete=True, typos=typos) for typos in (None, "qwerty"))
    assert [each.word for each in found] == [each.word for each in exact]
    assert len(found) == 3


@pytest.mark.parametrize("whole", [True, False])
def test_nothing_depends_on_how_many_words_are_asked_for(whole):
    found = {k: find("ca", k, whole=whole) for k in (1, 2, 3, 8)}
    for k, readings in found.items():
        assert readings.words[:3] == found[8].words[: min(k, 3)]
        assert readings.total == found[8].total >= sum(value for _, value in readings.words[:3])
        assert readings.literal_probability == found[8].literal_probability
    assert len(found[8].words) == 8


def test_what_is_typed_may_be_left_out():
    assert "ca" in dict(find("ca").words)
    without = find("ca", exclude=["ca"])
    assert "ca" not in dict(without.words)
    assert without.literal_probability == find("ca").literal_probability


@pytest.mark.parametrize(("margin", "word"), [(0.0, "the"), (2.0, "the"), (2.5, "tge")])
def test_what_is_typed_stays_unless_another_word_is_likelier_by_a_margin(margin, word):
    readings = Readings([("the", 1e-3), ("tge", 1e-4), ("toe", 1e-5)], "tge", 1e-4, 1.0)
    assert readings.corrected(margin) == word
    assert readings.log_odds("the") == pytest.approx(math.log(10))
    assert dataclasses.replace(readings, words=readings.words[1:]).corrected(margin) == "tge"


TYPED = """
She lives in a smsll|The report was publisged|I would like to thsnk|He wss|We went to the bank of teh|It is a well-kn|
They have nefer|A letter from the govern|The ansers|In the begining|Once upon a tme|He looked at the clpck|
"""


@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False])
def test_no_word_of_english_is_missed_that_is_likelier_than_the_last(whole, k=3):
    """Against all 57,000 words that it knows, in small letters, as the tokenizer cuts them.

    The search expects a letter to come with 0.12 for each tap that is left, so that it may miss a word that is a
    hundredth as likely as the first.
    """
    run = kerasptb.load_run("english")
    reader, writer, channel = run.reader, Writer(run.reader.tokenizer), Keyboard()
    words = sorted(set(map(str.lower, reader.lexicon.words)))
    texts, model = core.Texts(words), core.Model(trie_of(writer.pieces).fields)
    for text in TYPED.replace("\n", "").strip("|").split("|"):
        typed = writer.split(text)
        context, taps = reader.read_typed(typed.whole), Taps(typed.prefix.strip())
        how = {"lexicon": reader.lexicon, "least_odds": 5.0 if whole else 1e-4}
        found = run_search(writer.readings(context, taps, channel, k, whole, **how), reader.after)
        shown = dict(found.words)
        first, last = max(shown.values()), min(shown.values()) if len(shown) == k else 0.0
        least = max(first, found.literal_probability * 5.0) if whole else max(last, first / 100)
        aligned = texts.align(model, channel.hits(trie_of(writer.pieces), taps, whole))
        for place in np.flatnonzero(aligned > least).tolist():
            if words[place] not in shown:
                value = probability(reader, context, writer.pieces, words[place], least / aligned[place])
                assert value * aligned[place] <= least * 1.001, (text, words[place], found.words)


def probability(reader, context, pieces, word, least):
    """That a word comes and ends, by its own tokens; at most the least where it is less after some of them."""
    value = -pieces.log_given(context.known(), " ")
    for token in reader.tokenizer.encode_further(word).tolist():
        value += float(context.known()[token])
        if math.exp(value) <= least:
            return least
        (context,) = reader.extend([context], [token])
    return math.exp(value) * pieces.end_probability(context.known())
