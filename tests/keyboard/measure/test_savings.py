import numpy as np
import pytest

import kerasptb
from kerasptb.data import DataError, Vocabulary
from kerasptb.evaluation import CacheSettings
from kerasptb.keyboard import Memory, Typist, Writer, evaluate_keyboard
from kerasptb.reading import Context, run_search

WORDS = ("the", "<eos>", "<unk>", "N", "then", "they", "a", "an", "and", "U.S.", "us")
VOCABULARY = Vocabulary(WORDS)


def typed(words, best, keys=3):
    """Types words with suggestions in the order of a string."""
    order = best.split() + [word for word in WORDS if word not in best.split()]
    scores = np.zeros((len(words), len(WORDS)), "float32")
    scores[:, [WORDS.index(word) for word in order]] = -np.arange(len(WORDS))
    typist = Typist(VOCABULARY, keys)
    typist.type(scores, np.array([WORDS.index(word) for word in words]))
    return typist.result()


@pytest.mark.parametrize(
    ("word", "best", "keys", "keystrokes"),
    [
        ("the", "the", 3, 1),
        ("the", "a an the", 3, 1),
        ("the", "a an and the", 3, 2),  # t, and its key
        ("they", "a the then they", 3, 2),
        ("they", "a the then they", 2, 5),  # the and then stand before it after every letter
        ("they", "a the then they", 1, 5),
        ("and", "the then they a an and", 2, 3),  # after `an` only one word is more probable
        ("us", "the then they U.S. us", 1, 3),  # case does not count: `u` shows U.S., then `us` is typed
        ("us", "the then they U.S. us", 2, 2),
        ("<unk>", "<unk>", 3, 6),
        ("N", "N", 3, 2),
    ],
)
def test_keystrokes_of_a_word(word, best, keys, keystrokes):
    result = typed([word], best, keys)
    assert (result.num_keystrokes, result.num_characters, result.num_words) == (keystrokes, len(word) + 1, 1)
    assert result.keystroke_savings == pytest.approx(1 - keystrokes / (len(word) + 1))


def test_shares_are_of_all_words_without_the_ends_of_lines():
    result = typed(["the", "a", "<unk>", "<eos>", "an", "N"], "<eos> <unk> the N a then an")
    # What no key shows stands before nothing: the, a, then are the three keys.
    assert (result.top1, result.top3, result.num_words) == (1 / 5, 2 / 5, 5)
    assert result.num_characters == 4 + 2 + 6 + 3 + 2
    assert result.num_keystrokes == 1 + 1 + 6 + 2 + 2
    assert result.savings_ceiling == pytest.approx(1 - (1 + 1 + 6 + 1 + 2) / 17)


def test_of_equal_scores_the_more_frequent_word_is_shown():
    typist = Typist(VOCABULARY, keys=1)
    typist.type(np.zeros((2, len(WORDS))), np.array([WORDS.index("the"), WORDS.index("a")]))
    assert typist.result().top1 == 0.5


def test_against_typing_letter_by_letter(native_library):
    """A model of random weights, and its own suggestions."""
    model = kerasptb.LanguageModel(len(WORDS), 8, 8, batch_size=2, num_steps=3, seed=1, tokenizer=VOCABULARY)
    ids = np.random.default_rng(0).integers(0, len(WORDS), 60)
    keystrokes, shown_first = 0, 0
    for t in range(1, len(ids)):
        word = WORDS[ids[t]]
        if word == "<eos>":
            continue
        probabilities = model.next_word_probabilities(ids[:t][np.newaxis].astype("int32"))[0]
        order = [WORDS[i] for i in np.argsort(-probabilities) if WORDS[i] not in ("<unk>", "<eos>", "N")]
        shown_first += word in order[:2]
        for letters in range(len(word)):
            if word in [each for each in order if each.lower().startswith(word[:letters].lower())][:2]:
                keystrokes += letters + 1
                break
        else:
            keystrokes += len(word) + 1
    result = evaluate_keyboard(model, ids, keys=2)
    assert result.num_keystrokes == keystrokes
    assert result.num_words == sum(ids[1:] != 1)
    assert shown_first / result.num_words <= result.top3  # of three


def test_with_a_cache_of_the_words_typed_before(native_library):
    model = kerasptb.LanguageModel(len(WORDS), 8, 8, batch_size=2, num_steps=3, seed=1, tokenizer=VOCABULARY)
    ids = np.random.default_rng(0).choice(len(WORDS), 50, p=np.arange(1, 12) / 66)
    scores = []
    for t in range(1, len(ids)):
        own = model.next_word_probabilities(ids[:t][np.newaxis].astype("int32"))[0]
        before = ids[1:t][-9:]  # the words that followed the states before this one
        counts = np.bincount(before, minlength=len(WORDS)) / max(len(before), 1)
        scores.append(0.4 * own + 0.6 * counts)
    typist = Typist(VOCABULARY)
    typist.type(np.array(scores), ids[1:])
    result = evaluate_keyboard(model, ids, cache=CacheSettings(theta=0.0, weight=0.6, window=9))
    assert result == typist.result()
    assert result != evaluate_keyboard(model, ids)


def test_a_word_that_is_never_shown_is_typed_in_full():
    typist = Typist(VOCABULARY)
    scores = np.zeros((1, len(WORDS)))
    scores[0, WORDS.index("they")] = -np.inf
    typist.type(scores, np.array([WORDS.index("they")]))
    assert typist.result().num_keystrokes == 5
    assert typist.result().savings_ceiling == 0


TEXT = "The zebra and us.\nThey then, a Zebra and 1989 a zebra\nzeta zebra and the U.S. zeta an zebra and"


@pytest.mark.parametrize("learn", [False, True])
def test_a_text_of_ones_own(native_library, learn):
    """Typed letter by letter, and what was typed before read anew for each word."""
    model = kerasptb.LanguageModel(len(WORDS), 8, 8, batch_size=2, num_steps=3, seed=1, tokenizer=VOCABULARY)
    pairs = [("<eos>", "<eos>"), *VOCABULARY.read_typed(TEXT)]
    ids, keystrokes, best, characters, first = VOCABULARY.encode(word for word, _ in pairs), 0, 0, 0, 0
    before_sign = [pairs.index(("us", "us")), pairs.index(("then", "then"))]  # "us." and "then,"
    for t in range(1, len(pairs)):
        word, typed = pairs[t]
        if word == "<eos>":
            continue
        # A sign takes the place of a space that a suggestion wrote, and has a space after it.
        in_full, of_sign = (len(typed), 2) if t in before_sign else (len(typed) + 1, 0)
        memory = Memory(()).extended(word for word, _ in pairs[:t]) if learn else None
        p = np.log(model.next_word_probabilities(ids[:t][np.newaxis])[0])
        found = run_search(Writer(VOCABULARY).keys(Context(np.zeros(0), p), "", 99, memory=memory), None)
        order, forms = [each for each, _ in found.words], {typed, typed.lower(), word}  # no key makes a capital small
        begun = ([w for w in order if w.lower().startswith(typed[:n].lower())] for n in range(len(typed)))
        needed = [n + 1 for n, words in enumerate(begun) if forms & set(words[:3])]
        shown = bool(forms & set(order)) and word != "N"
        keystrokes += of_sign + (min([*needed, in_full]) if shown else in_full)
        best += of_sign + (1 if shown else in_full)
        characters += of_sign + in_full
        first += shown and order[0] in forms
    result = evaluate_keyboard(model, TEXT, learn=learn)
    assert (result.num_keystrokes, result.num_characters) == (keystrokes, characters)
    assert result.savings_ceiling == pytest.approx(1 - best / characters)
    assert result.top1 * result.num_words == pytest.approx(first)
    assert (characters, result.num_words) == (len(TEXT) + 1, len(TEXT.split()))


def test_a_clitic_is_typed_where_it_stands(native_library):
    vocabulary = Vocabulary(["<eos>", "<unk>", "do", "n't", "go"])
    model = kerasptb.LanguageModel(5, 8, 8, batch_size=2, num_steps=3, seed=1, tokenizer=vocabulary)
    result = evaluate_keyboard(model, '"don\u2019t go"', keys=4)
    # Every word of the vocabulary is on a key: `"`, do, n't, go, `"`, the space. The keys look for n't after n'.
    assert (result.num_words, result.num_characters, result.num_keystrokes) == (2, 11, 1 + 1 + 3 + 1 + 2)
    assert result.savings_ceiling == pytest.approx(1 - 7 / 11)
    assert result.top3 == 1  # a word is shown after an opening quotation mark, before its first letter


def test_learning_from_ids(native_library):
    model = kerasptb.LanguageModel(len(WORDS), 8, 8, batch_size=2, num_steps=3, seed=1, tokenizer=VOCABULARY)
    ids = np.random.default_rng(0).choice(len(WORDS), 50, p=np.arange(1, 12) / 66)
    keystrokes = 0
    for t in range(1, len(ids)):
        if (word := WORDS[ids[t]]) == "<eos>":
            continue
        memory = Memory().extended(WORDS[i] for i in ids[:t])
        p = np.log(model.next_word_probabilities(ids[:t][np.newaxis].astype("int32"))[0])
        found = run_search(Writer(VOCABULARY).keys(Context(np.zeros(0), p), "", 99, memory=memory), None)
        order = [each for each, _ in found.words]
        begun = ([w for w in order if w.lower().startswith(word[:n].lower())] for n in range(len(word)))
        keystrokes += min([n + 1 for n, words in enumerate(begun) if word in words[:3]], default=len(word) + 1)
    assert evaluate_keyboard(model, ids, learn=True).num_keystrokes == keystrokes


def test_what_cannot_be_typed():
    model = kerasptb.LanguageModel(len(WORDS), 8, 8, batch_size=2, num_steps=3, tokenizer=VOCABULARY)
    with pytest.raises(ValueError, match="knows its tokenizer"):
        evaluate_keyboard(kerasptb.LanguageModel(3, 8, 8, batch_size=2, num_steps=3), [0, 1, 2])
    with pytest.raises(DataError, match="at least two words"):
        evaluate_keyboard(model, [0])
    for text in ("  ", "\n\n"):
        with pytest.raises(DataError, match="at least one word to type"):
            evaluate_keyboard(model, text)
    cache = CacheSettings(0.1, 0.1)
    with pytest.raises(ValueError, match=r"Received: learn=True"):
        evaluate_keyboard(model, [0, 1], cache=cache, learn=True)
    with pytest.raises(ValueError, match=r"Received: a text to encode"):
        evaluate_keyboard(model, "a few words", cache=cache)
    with pytest.raises(ValueError, match="keys"):
        Typist(VOCABULARY, keys=0)


def test_what_need_not_be_looked_for_is_never_shown(monkeypatch):
    """Words after signs, dashes and quotes too: a search without a least probability finds no more."""
    run, text = kerasptb.load_run("english"), 'Read/write, and/or input/output -- "true/false"--he said (so/so).\n'
    result = run.evaluate_keyboard(text=text)
    monkeypatch.setattr("kerasptb.keyboard.measure.savings._Least.of", lambda *_: 0.0)
    assert run.evaluate_keyboard(text=text) == result
