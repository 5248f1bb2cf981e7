import functools
import itertools
import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from kerasptb.data import EOS, Subwords, Vocabulary
from kerasptb.data.tokenizers.written_text import comes_unspaced, is_of_word, split_typed
from kerasptb.native.core import Texts
from kerasptb.reading import Context, run_search
from kerasptb.reading.pieces import pieces_of
from kerasptb.reading.words import search_words

# What a small model may write, and how likely, whatever came before.
CHANCES = {" ca": 0.2, " c": 0.15, " ": 0.1, "c": 0.02, "ca": 0.03, "a": 0.1, "t": 0.15, ",": 0.15, "\n": 0.1}


class Pieces:
    """A tokenizer of some pieces; in two of those above the same can be written."""

    unnamed, unk_id = frozenset(), None

    def __init__(self, pieces=CHANCES):
        self.tokens = tuple(pieces)
        self.pieces = tuple(piece.encode(errors="surrogateescape") for piece in pieces)
        self.written = self.tokens

    def __len__(self):
        return len(self.tokens)


def found(tokenizer, prefix, k, chances, **settings):
    with np.errstate(divide="ignore"):
        values = np.log(np.array(chances))
    context = Context(np.zeros(0), values)
    search = search_words(pieces_of(tokenizer), context, prefix, k, **settings)
    return run_search(search, lambda beginnings: [context] * len(beginnings))


def searched(tokenizer, first, values, what, prefix, k, **settings):
    """The result of a search whose log probabilities are a function of `what` of the pieces read, `first` at first."""

    def after(beginning):
        read = (*beginning.context.state, beginning.piece)
        return Context(read, values(what("".join(tokenizer.written[piece] for piece in read), read)))

    search = search_words(pieces_of(tokenizer), Context((), values(first)), prefix, k, **settings)
    return run_search(search, lambda beginnings: list(map(after, beginnings)))


def last(written, pieces):
    return written[-1]


def whole(written, pieces):
    return written


def piece(written, pieces):
    return pieces[-1]


@functools.cache
def written():
    """Returns all texts of five pieces, more than what is looked for here needs, with their probabilities."""
    texts = itertools.product(CHANCES, repeat=5)
    return [("".join(pieces), math.prod(map(CHANCES.get, pieces))) for pieces in texts]


@pytest.mark.parametrize("prefix", [" c", " ca", " cat", " "])
def test_a_word_has_the_probability_of_all_that_writes_it_and_then_ends(prefix):
    result = found(Pieces(), prefix, 50, list(CHANCES.values()))  # so many that nothing likely is left out
    ended = sum(chance for piece, chance in CHANCES.items() if piece[0] == " ")  # the space is typed
    begun = sum(chance for text, chance in written() if text.startswith(prefix))
    assert result.prefix_probability == pytest.approx(begun / ended, rel=0.02)
    for word, probability in result.words[:3]:
        whole = f" {word}"
        expected = sum(p for text, p in written() if text.startswith((f"{whole} ", f"{whole},", f"{whole}\n")))
        assert probability == pytest.approx(expected / ended, rel=0.02), word
    assert result.words[0][0] == {" c": "ca", " ca": "ca", " cat": "cat", " ": "ca"}[prefix]


def test_after_a_whole_word_anything_may_come_that_does_not_go_on_with_it():
    result = found(Pieces(), "", 50, list(CHANCES.values()))
    ends = sum(chance for piece, chance in CHANCES.items() if piece[0] in " ,\n")
    assert dict(result.words)[","] == pytest.approx((0.15 + 0.1 * 0.15) / ends)  # with a space before it, and without
    assert [word for word, _ in result.words][:4] == [",", "ca", "c", "<eos>"]
    assert result.prefix_probability == pytest.approx(1.0)


def test_characters_find_words_after_a_space_and_where_a_paragraph_begins():
    characters = Subwords.characters()
    after = {" ": "t", "\n": "t", "t": "h", "h": "e", "e": " "}

    def values(last):
        chances = np.full(256, 1e-4)
        chances[characters.encode(after.get(last, "t"))] = 1.0
        return np.log(chances / chances.sum())

    def best(text, prefix):
        begins = comes_unspaced(text, characters.first)
        ((word, _),) = searched(characters, text[-1:], values, last, prefix, 1, begins=begins).words
        return word

    assert (best("the", ""), best("the", " "), best("the\n", ""), best("the", " t")) == ("the",) * 4
    assert not comes_unspaced("the", characters.first)
    assert not comes_unspaced("", Vocabulary(["the"]).first)


def test_a_sign_of_several_bytes_is_no_part_of_the_word_before_it():
    characters = Subwords.characters()
    ids = {byte: characters.pieces.index(bytes([byte])) for byte in " the\u201d\u00e9".encode()}
    following = {None: " ", " ": "t", "t": "h", "h": "e\u00e9", "e": " \u201d", "\udca9": " \u201d"}
    within = ((0xE2, 0x80), (0x80, 0x9D), (0x9D, 0x20), (0xC3, 0xA9))
    inside = {chr(0xDC00 + byte): after for byte, after in within}  # a lone byte is a surrogate

    def values(last):
        chances = np.full(256, 1e-9)
        firsts = [inside[last]] if last in inside else [each.encode()[0] for each in following[last]]
        for byte in firsts:
            chances[ids[byte]] = 1 / len(firsts)
        return np.log(chances)

    found = searched(characters, None, values, last, " t", 4).words
    assert [word for word, probability in found if probability > 0.01] == ["the", "th\u00e9"]
    # Without a letter before them they are a sign.
    following[" "] = "\u201d"
    ((word, _),) = searched(characters, None, values, last, " ", 1).words
    assert word == "\u201d"


def test_characters_find_words_that_begin_with_letters_of_several_bytes():
    characters, texts = Subwords.characters(), [" été ", " école ", " дом-don't ", " İzmir ", " 日-a "]

    def values(written):
        before = written.encode(errors="surrogateescape")
        following = {text.encode()[len(before)] for text in texts if text.encode().startswith(before)} or {32}
        chances = np.full(256, 1e-9)
        chances[[characters.pieces.index(bytes([byte])) for byte in following]] = 1 / len(following)
        return np.log(chances / chances.sum())

    def likely(prefix):
        found = searched(characters, "", values, whole, prefix, 3)
        words = {word: round(probability, 3) for word, probability in found.words if probability > 0.01}
        return words, round(found.prefix_probability, 3)

    # The bytes after the space begin é twice, д, İ and 日: four, as likely as each other.
    assert likely(" é") == ({"été": 0.125, "école": 0.125}, 0.25)
    assert likely(" ét") == likely(" ÉT") == ({"été": 0.125}, 0.125)
    assert likely(" д") == likely(" дом-") == likely(" Дом-Don’") == ({"дом-don't": 0.25}, 0.25)
    assert likely(" 日-A") == ({"日-a": 0.25}, 0.25)
    assert likely(" э") == likely(" і") == ({}, 0.0)  # the first has another first byte, the second another second


def test_words_that_are_all_but_impossible_cost_no_further_round():
    rounds = []
    context = Context(np.zeros(0), np.log(np.array([*CHANCES.values()]) ** 9))
    search = search_words(pieces_of(Pieces()), context, " cat", 5)
    run_search(search, lambda beginnings: rounds.append(len(beginnings)) or [context] * len(beginnings))
    assert len(rounds) <= 3


def test_a_long_beginning_costs_some_rows_for_each_character_and_a_very_long_one_nothing():
    rows = []

    def search(prefix):
        rows.clear()
        context = Context(np.zeros(0), np.full(256, np.log(1 / 256)))
        searching = search_words(pieces_of(Subwords.characters()), context, prefix, 3)
        return run_search(searching, lambda beginnings: rows.append(len(beginnings)) or [context] * len(beginnings))

    found = search(" " + "x" * 39)
    assert found.prefix_probability > 0
    assert found.words[0][0].lower() == "x" * 39
    assert sum(rows) <= 64 + 16 * 3 + 4 * 40
    assert search(" " + "x" * 159).words == []
    assert rows == []


@pytest.mark.parametrize(
    ("text", "whole", "prefix"),
    [
        ("the ca", "the", " ca"),
        ("the ", "the", " "),
        ("the (ca", "the (", "ca"),
        ("a\nca", "a\n", "_ca"),
        ("", "", "_"),
        ("don't", "", "_don't"),
        ("the,", "the,", ""),
    ],
)
def test_where_the_word_begins(text, whole, prefix):
    assert split_typed(text, "_") == (whole, prefix)


def test_words_begin_with_what_was_typed_whatever_the_case():
    vocabulary = Vocabulary(["the", "<eos>", "<unk>", "cat", "The", "N"])
    chances = [0.1, 0.2, 0.3, 0.2, 0.1, 0.1]
    for prefix, begun in (
        ("", ["<unk>", "<eos>", "cat", "the", "The", "N"]),
        (" t", ["the", "The"]),
        (" T", ["the", "The"]),
        (" n", []),  # "N" stands for a number, and cannot be typed
    ):
        result = found(vocabulary, prefix, 9, chances)
        assert [word for word, _ in result.words] == begun
        expected = [chances[vocabulary.word_to_id[word]] for word in begun]
        assert [value for _, value in result.words] == pytest.approx(expected)


def test_words_that_are_left_out_leave_the_others():
    first, *others = found(Pieces(), "", 4, list(CHANCES.values())).words
    assert found(Pieces(), "", 3, list(CHANCES.values()), exclude={first[0]}).words == others


def test_words_beside_do_not_count():
    everything = found(Pieces(), "", 4, list(CHANCES.values())).words
    assert [word for word, _ in everything] == [",", "ca", "c", EOS]
    result = found(Pieces(), "", 2, list(CHANCES.values()), beside=Texts([",", "c"]).hashes)
    assert [word for word, _ in result.words] == [",", "ca", "c", EOS]
    assert dict(result.words) == pytest.approx(dict(everything), rel=0.11)  # a comma after a space may not count


def test_long_words_and_rare_letters_are_found():
    characters, text = Subwords.characters(), " Mozart-incomprehensibility "

    def values(written):
        following = text[len(written)] if text.startswith(written) else " "
        chances = np.full(256, 1e-9)
        chances[characters.encode(" z" if following == "z" else following)] = (1.0, 5e-4)[: 1 + (following == "z")]
        return np.log(chances / chances.sum())

    ((word, probability),) = searched(characters, "", values, whole, " Moz", 1).words
    assert (word, probability) == (text.strip(), pytest.approx(5e-4, rel=1e-3))


def test_a_space_of_two_bytes_is_no_word():
    characters = Subwords.characters()
    first, second = (characters.pieces.index(bytes([byte])) for byte in "\u00a0".encode())
    following = {None: first, first: second, second: characters.encode("a")[0]}

    def values(last):
        chances = np.full(256, 1e-6)
        chances[following.get(last, characters.encode(" ")[0])] = 1.0
        return np.log(chances / chances.sum())

    ((word, probability),) = searched(characters, None, values, piece, "", 1, begins=True).words
    assert (word, probability) == ("a", pytest.approx(1.0, rel=2e-3))


SUBWORDS = (" ", "\n", " a", " A", " ab", "a", "b", "ab", "aba", "ba", "'", ",", " ,", ".")
LETTERS = (" ", "\n", "a", "b", "A", "'", ",", ".")
BYTES = (" ", "\n", " \udcc3", "\udcc3", "\udca9", " é", "é", "É", "a", ",")  # those of é, and é in one piece
SHARE = 1e-3


def after(pieces, seed):
    """Returns log probabilities by the last piece."""

    @functools.cache
    def values(last):
        random = np.random.default_rng([seed, len(pieces) if last is None else last])
        return np.log(np.maximum(random.dirichlet(np.full(len(pieces), 0.4)), 1e-9))

    return values


def folded(text):
    return text.lower().encode(errors="surrogateescape")


def whole_characters(text):
    try:
        return text.encode(errors="surrogateescape").decode()
    except UnicodeDecodeError:
        return ""


def may_follow(written, piece, prefix, begins):
    """Returns whether a piece may follow what is written of a word, by the text alone."""
    before, text, prefix = map(folded, (written, written + piece, prefix))
    if len(before) < len(prefix):
        return text.startswith(prefix) or prefix.startswith(text)
    if written.strip():
        return is_of_word(piece[0])
    return not (is_of_word(piece[0]) if not written and not begins else piece[0].isspace())


def exhaustive(pieces, values, prefix, begins):
    """Returns of each word the probabilities of all ways to write it, and the probability of the prefix."""
    ending = [i for i, piece in enumerate(pieces) if not is_of_word(piece[0])]
    first = np.exp(values(None))
    spaced = [i for i, piece in enumerate(pieces) if piece[0] == " "]
    ended = 1.0 if begins or prefix[:1] not in ("", " ") else first[spaced if prefix else ending].sum()
    ways, total, waiting = {}, 0.0, [("", 1.0 / ended, first)]
    while waiting:
        written, probability, following = waiting.pop()
        for i, piece in enumerate(pieces):
            chance, text = probability * following[i], written + piece
            if chance < 1e-6 or not may_follow(written, piece, prefix, begins):
                continue
            whole = len(folded(text)) >= len(folded(prefix))
            total += chance if whole and (not written or len(folded(written)) < len(folded(prefix))) else 0.0
            word = EOS if text == "\n" else whole_characters(text.strip())
            if whole and word and not is_of_word(piece[-1]):
                ways.setdefault(word, []).append(chance)
                continue
            after_it = np.exp(values(i))
            if whole and word:
                ways.setdefault(word, []).append(chance * after_it[ending].sum())
            waiting.append((text, chance, after_it))
    return ways, total


@hypothesis.given(
    seed=st.integers(0, 10**6),
    pieces=st.sampled_from([LETTERS, SUBWORDS, BYTES]),
    prefix=st.sampled_from(["", " ", " a", " b", " ab", "a", "ab", " a'", " é", "é", " aé"]),
    begins=st.booleans(),
    k=st.integers(1, 6),
    places=st.tuples(st.integers(0, 5), st.sets(st.integers(0, 9), max_size=4)),
)
@hypothesis.example(seed=253, pieces=LETTERS, prefix=" b", begins=False, k=5, places=(0, set()))  # a tie
@hypothesis.settings(max_examples=100)
def test_against_an_exhaustive_search(seed, pieces, prefix, begins, k, places):
    tokenizer, values = Pieces(pieces), after(pieces, seed)
    ways, total = exhaustive(pieces, values, prefix, begins)
    hypothesis.assume(total > 2e-3)
    ranked = sorted(ways, key=lambda word: -sum(ways[word]))
    exclude, beside = ranked[places[0] : places[0] + 1], {ranked[i] for i in places[1] if i < len(ranked)}
    how = {"exclude": exclude, "begins": begins, "beside": Texts(beside).hashes}
    result = searched(tokenizer, None, values, piece, prefix, k, least_share=SHARE, most_rows=10**5, **how)
    found_words = dict(result.words)
    others = [word for word in found_words if word not in beside]
    assert not set(exclude) & set(found_words)
    assert len(others) <= k
    # A way counts that has 0.7 of the k-th word's probability, or all of it where there is but one way.
    least = found_words[others[-1]] if len(others) == k else 0.0
    counts = max(least * (1.0 if pieces == LETTERS else 0.7), SHARE * total) * (1 + 1e-6)
    for word, chances in ways.items():
        likely = sum(chance for chance in chances if chance > counts)
        if word in found_words:
            # The least likely ways are not among those here.
            assert likely * (1 - 1e-6) <= found_words[word] <= sum(chances) * (1 + 1e-6) + 1e-5
        elif word not in exclude:
            assert likely <= (0.0 if word in beside else least * (1 + 1e-6))
    if pieces == LETTERS and (prefix or begins):  # else a sign may come with a space before it, and without
        kept = [word for word in ranked if word not in {*exclude, *beside} and sum(ways[word]) > SHARE * total * 1.01]
        found, likeliest = ([sum(ways[word]) for word in each[: len(kept[:k])]] for each in (others, kept))
        assert found == pytest.approx(likeliest, rel=1e-6)  # words of one probability come in any order


@pytest.mark.parametrize("k", [3, 10])
@pytest.mark.parametrize("prefix", ["", " ", " a"])
@pytest.mark.parametrize("pieces", [LETTERS, SUBWORDS, [f"{space}{chr(97 + i)}" for i in range(26) for space in " a"]])
def test_the_number_of_rows_is_bounded_where_everything_is_as_likely(pieces, prefix, k):
    context, rows = Context(np.zeros(0), np.full(len(pieces), -math.log(len(pieces)))), []
    search = search_words(pieces_of(Pieces(pieces)), context, prefix, k)
    result = run_search(search, lambda all_: rows.append(len(all_)) or [context] * len(all_))
    assert sum(rows) <= 64 + 16 * k + 4 * len(prefix)
    assert len(result.words) == k
