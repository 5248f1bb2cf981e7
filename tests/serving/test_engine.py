import asyncio
import dataclasses
import itertools
import threading

import numpy as np
import pytest

from kerasptb.keyboard.memory import WINDOW
from kerasptb.reading.search import NextWords
from kerasptb.reading.typed import Typed
from kerasptb.serving.engine import SuggestionEngine
from kerasptb.serving.errors import BusyError
from kerasptb.serving.memory import key_of

TOLERANCE = 1e-6


class CountingReader:
    """Passes all on to a reader and notes the calls that run the model, with the texts they read, as they decode."""

    def __init__(self, reader):
        self._reader = reader
        self.calls = []

    def __getattr__(self, name):
        return getattr(self._reader, name)

    def read_together(self, texts):
        self.calls.append(("read_together", [self.tokenizer.decode(ids) for _, ids in texts]))
        return self._reader.read_together(texts)

    def read(self, context, ids):
        self.calls.append(("read", self.tokenizer.decode(ids)))
        return self._reader.read(context, ids)

    def score_in_pieces(self, context, ids):
        for piece in self._reader.score_in_pieces(context, ids):
            self.calls.append(("score", self.tokenizer.decode(ids[:3]), len(piece)))
            yield piece


@pytest.fixture
def counting(reader):
    return CountingReader(reader)


def with_engine(reader, use):
    async def run():
        engine = SuggestionEngine(reader)
        try:
            return await use(engine)
        finally:
            engine.close()

    return asyncio.run(run())


def expected(reader, text):
    return reader.read_typed(text)


def same(context, other):
    np.testing.assert_allclose(context.log_probabilities, other.log_probabilities, rtol=0, atol=10 * TOLERANCE)


def long_text(words, count):
    """Words in an order that repeats nowhere within the count."""
    random = np.random.default_rng(0)
    return " ".join(random.choice([word for word in words if word != "<unk>"], count)) + " "


def test_the_context_of_any_text_is_the_models(reader, texts):
    async def use(engine):
        return [await engine.context(text) for text in texts]

    for text, context in zip(texts, with_engine(reader, use), strict=True):
        same(context, expected(reader, text))


def test_keystrokes_within_a_word_cost_nothing_and_a_new_word_one_step(counting):
    async def use(engine):
        for typed in ("the cat ", "the cat s", "the cat sa", "the cat sat", "the cat sat ", "the cat sat o"):
            await engine.context((await engine.split(typed, complete=True, learn=False))[0].whole)

    with_engine(counting, use)
    assert counting.calls == [("read_together", ["the cat"]), ("read_together", ["sat"])]


def test_going_back_costs_nothing(counting):
    async def use(engine):
        for typed in ("the ", "the cat ", "the ", "the dog ", "the cat "):
            await engine.context(typed)

    with_engine(counting, use)
    assert [texts for _, texts in counting.calls] == [["the"], ["cat"], ["dog"]]


def test_concurrent_requests_share_calls_and_are_answered_as_alone(counting, texts):
    async def use(engine):
        together = await asyncio.gather(*(engine.context(text) for text in texts for _ in range(3)))
        return together[::3]

    results = with_engine(counting, use)
    short = [jobs for kind, jobs in counting.calls if kind == "read_together"]
    long = [text for kind, text in counting.calls if kind == "read"]
    assert len(short) <= 2
    # Equal texts are read once, what begins like another goes on from there, and nothing is read for an empty one.
    assert sorted(itertools.chain(*short)) == ["a <unk> <unk> the <eos> cat <eos>", "sat on the mat", "the cat"]
    assert len(long) == 2
    for text, context in zip(texts, results, strict=True):
        same(context, expected(counting, text))


def test_a_long_text_is_read_in_pieces_that_are_found_again(counting):
    text = long_text(counting.tokenizer.tokens, 300)
    half = text[: text.index(" ", len(text) // 2) + 1]

    async def use(engine):
        whole = await engine.context(text)
        before = len(counting.calls)
        await engine.context(half + "the cat ")
        return whole, counting.calls[before:]

    whole, after = with_engine(counting, use)
    same(whole, expected(counting, text))
    read = sum(len(call[1].split() if call[0] == "read" else call[1][0].split()) for call in after)
    assert 0 < read < 64 + 2


def test_a_word_typed_while_a_long_text_is_being_read_waits_for_it(counting):
    text = long_text(counting.tokenizer.tokens, 400)

    async def use(engine):
        return await asyncio.gather(engine.context(text), engine.context(text + "cat "), engine.context(text + "dog "))

    _, cat, dog = with_engine(counting, use)
    words = [call for kind, call in counting.calls if kind == "read"]
    assert sum(len(piece.split()) for piece in words) == 400
    same(cat, expected(counting, text + "cat "))
    same(dog, expected(counting, text + "dog "))


def test_scores_equal_the_models_whatever_was_typed_before(reader):
    long = long_text(reader.tokenizer.tokens, 100)

    async def use(engine):
        results = []
        for text in ("", "The cat", "The cat sat.\n", long, long + "The dog's ", "Don't — "):
            results.append((text, *await engine.score(text)))
        return results

    for text, units, values in with_engine(reader, use):
        np.testing.assert_allclose(
            values, reader.score(reader.begin(), reader.tokenizer.encode_typed(text)[1:]), rtol=1e-5, atol=1e-5
        )
        assert sum(len(unit.tokens) for unit in units) == len(values)


def test_a_new_word_is_scored_without_reading_the_text_again(counting):
    text = long_text(counting.tokenizer.tokens, 100)

    async def use(engine):
        await engine.context(text)
        await engine.score(text)
        before = len(counting.calls)
        await engine.context(text + "cat ")
        await engine.score(text + "cat ")
        return counting.calls[before:]

    assert with_engine(counting, use) == [("read_together", ["cat"])]


def test_scores_of_several_users_take_turns(counting):
    words = counting.tokenizer.tokens
    long, other = f"the cat sat {long_text(words, 1200)}", f"a dog sat {long_text(words, 600)}"

    go_on, in_pieces = threading.Event(), counting.score_in_pieces

    def slow(context, ids):
        assert go_on.wait(10)
        yield from in_pieces(context, ids)

    counting.score_in_pieces = slow

    async def use(engine):
        tasks = [asyncio.create_task(engine.score(text)) for text in (long, other, "on the mat")]
        while len(engine._reader._scores._waiting) < 2:
            await asyncio.sleep(0.001)
        go_on.set()
        return await asyncio.gather(*tasks)

    assert [len(values) for _, values in with_engine(counting, use)] == [1203, 603, 3]
    # A short text waits for one piece of each of the others, not for all of them.
    assert [(text, size) for _, text, size in counting.calls] == [
        *(("the cat sat", 1), ("a dog sat", 1), ("on the mat", 1)),
        *(("the cat sat", 512), ("a dog sat", 512), ("on the mat", 2)),
        *(("the cat sat", 512), ("a dog sat", 90), ("the cat sat", 178)),
    ]


def test_no_more_is_scored_for_who_has_gone(counting):
    begun, go_on, score = threading.Event(), threading.Event(), counting.score_in_pieces

    def slow(context, ids):
        for piece in score(context, ids):
            if len(piece) > 1:
                begun.set()
                assert go_on.wait(10)
            yield piece

    counting.score_in_pieces = slow

    async def use(engine):
        task = asyncio.create_task(engine.score(f"the cat sat {long_text(counting.tokenizer.tokens, 1200)}"))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        go_on.set()
        await asyncio.wait([task])
        await engine.score("on the mat")

    with_engine(counting, use)
    assert sum(size for _, text, size in counting.calls if text == "the cat sat") < 1203


def held_back(counting):
    """Makes the reading of long texts wait; returns the events that it has begun and that it may go on."""
    begun, go_on = threading.Event(), threading.Event()
    read_long = counting.read

    def slow(context, piece):
        begun.set()
        assert go_on.wait(10)
        return read_long(context, piece)

    counting.read = slow
    return begun, go_on


def test_a_text_is_read_no_further_when_nobody_waits_for_it(counting):
    text = long_text(counting.tokenizer.tokens, 500)  # eight pieces
    begun, go_on = held_back(counting)

    async def use(engine):
        one, other, of_more = (asyncio.create_task(engine.context(each)) for each in (text, text, text + "cat "))
        await asyncio.to_thread(begun.wait, 10)
        while len(engine._remembering._pending) < 2:
            await asyncio.sleep(0.001)  # the third, which waits for the same, is cut into words in a thread
        one.cancel()
        other.cancel()
        await asyncio.sleep(0)
        assert len(engine._remembering._pending) == 2
        of_more.cancel()
        await asyncio.wait([one, other, of_more])
        assert not engine._remembering._pending
        go_on.set()
        again = await engine.context(text)
        return len([call for call in counting.calls if call[0] == "read"]), again

    calls, context = with_engine(counting, use)
    assert calls in (8, 9)  # only the piece that was being read may be read twice
    same(context, expected(counting._reader, text))


def test_few_long_texts_may_wait(counting):
    words = counting.tokenizer.tokens
    texts = [f"{words[i]} {long_text(words, 40)}" for i in range(40)]
    begun, go_on = held_back(counting)

    async def use(engine):
        first = asyncio.create_task(engine.context(texts[0]))
        await asyncio.to_thread(begun.wait, 10)
        others = [asyncio.create_task(engine.context(text)) for text in texts[1:]]
        await asyncio.sleep(0.01)
        go_on.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    refused = [isinstance(result, BusyError) for result in with_engine(counting, use)]
    assert refused == [False] * 33 + [True] * 7  # one is being read, and 32 wait


def test_memory_is_bounded(reader, monkeypatch):
    for name in ("_MIN_CONTEXTS", "_MAX_CONTEXTS"):
        monkeypatch.setattr(f"kerasptb.serving.shared_reader.{name}", 8)
    texts = [f"the {word} cat" for word in reader.tokenizer.tokens[4:38]]

    async def use(engine):
        for text in texts[:-1]:
            await engine.context(text)
        await engine.context(texts[-6])  # the one that was used last stays longest
        await engine.context(texts[-1])
        kept = [
            i
            for i, text in enumerate(texts)
            if engine._remembering._contexts.get(key_of(reader.tokenizer.encode_typed(text)[1:])) is not None
        ]
        return len(engine._remembering._contexts), len(engine._remembering._pending), kept

    # A text of three words is remembered whole.
    assert with_engine(reader, use) == (8, 0, list(range(26, 34)))


@pytest.mark.parametrize(("num_words", "expected"), [(10_000, 512), (100_000, 167), (10_000_000, 64)])
def test_fewer_contexts_are_remembered_of_large_vocabularies(reader, num_words, expected, monkeypatch):
    monkeypatch.setattr(type(reader.tokenizer), "__len__", lambda _: num_words)
    engine = SuggestionEngine(reader)
    engine.close()
    assert engine._remembering._contexts.size == expected


def test_the_best_are_ranked_and_their_total_known(reader):
    async def use(engine):
        context = await engine.context("the ")
        asked = ((" C", 2), ("", 1000), (" zz", 3))
        return context, [await engine.keys(context, Typed("the ", prefix, False), k) for prefix, k in asked]

    context, (two, every, nothing) = with_engine(reader, use)
    words = reader.tokenizer.tokens
    probabilities = dict(zip(words, np.exp(context.log_probabilities).tolist(), strict=True))
    with_c = sorted((probabilities[word], word) for word in ("ca", "company", "compare", "café", "cat"))
    assert [word for word, _ in two.words] == [word for _, word in with_c[:-3:-1]]
    assert abs(two.prefix_probability - sum(value for value, _ in with_c)) < TOLERANCE
    untyped = ("<unk>", "<eos>", "N")
    assert {word for word, _ in every.words} == set(words) - set(untyped)
    assert abs(every.prefix_probability - (1 - sum(probabilities[word] for word in untyped))) < 1e-5
    assert all(a >= b for (_, a), (_, b) in itertools.pairwise(every.words))
    assert nothing == NextWords([], 0.0)


def test_the_memory_is_that_of_the_last_words_whatever_was_cut(reader):
    async def remember(*texts):
        engine, memory = SuggestionEngine(reader), None
        try:
            for text in texts:
                memory = await engine.remember(text, memory)
        finally:
            engine.close()
        return memory

    text = "the cat and Kowalski sat on a zebra's mat. " * 300
    cut, whole = asyncio.run(remember(text)), asyncio.run(remember(text[:4300], text[4300:]))
    assert cut.words == whole.words
    assert {"Kowalski", "zebra"} < set(whole.words)
    edge = asyncio.run(remember("the Kowalski " + "mat " * (WINDOW - 1)))
    assert edge.words == ["Kowalski"] + ["mat"] * (WINDOW - 1)
    assert asyncio.run(remember("")).words == ["<eos>"]


def test_streamed_words_equal_the_whole_text(reader):
    async def use(engine):
        context = reader.begin()
        for word in ("the", "cat", "do", "n't", "sat", "on"):
            context = await engine.extend(context.state, word)
        return context

    same(with_engine(reader, use), expected(reader, "the cat don't sat on"))


def test_equally_likely_words_come_in_the_order_of_their_ids(reader):
    values = np.where(np.arange(len(reader.tokenizer)) % 3, -3.0, -2.0).astype("float32")
    typed = Typed("the ", "", False)

    async def use(engine):
        context = dataclasses.replace(await engine.context("the "), log_probabilities=values)
        return [[word for word, _ in (await engine.keys(context, typed, k)).words] for k in range(1, len(values) - 2)]

    words = reader.tokenizer.tokens
    ranked = [words[i] for i in sorted(range(len(words)), key=lambda i: (-values[i], i))]
    ranked = [word for word in ranked if word not in ("<unk>", "<eos>", "N")]
    assert with_engine(reader, use) == [ranked[:k] for k in range(1, len(values) - 2)]


def test_the_total_of_rounded_probabilities_is_one_at_most(reader):
    values = np.full(len(reader.tokenizer), np.log(1.001 / (len(reader.tokenizer) - 3)), "float32")
    context = dataclasses.replace(reader.begin(), log_probabilities=values)
    assert with_engine(reader, lambda engine: engine.keys(context, Typed("", "", False), 3)).prefix_probability == 1.0


def test_without_eos_nothing_is_known_of_the_first_word():
    from kerasptb.data import Vocabulary
    from kerasptb.models import LanguageModel
    from kerasptb.reading.reader import open_reader

    words = Vocabulary(["one", "two", "three"])
    model = LanguageModel(3, 4, 5, batch_size=1, num_steps=4, init_scale=1.0, seed=1, tokenizer=words)
    reader = open_reader(model)

    async def use(engine):
        return await engine.score("one two three")

    _, (first, *others) = with_engine(reader, use)
    assert first is None
    np.testing.assert_allclose(others, reader.score(reader.begin(), words.encode("one two three"))[1:], rtol=1e-5)
