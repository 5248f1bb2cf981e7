import asyncio
import dataclasses
import itertools
import threading

import numpy as np
import pytest

from kerasptb.data.word_cache import WINDOW
from kerasptb.serving.engine import SuggestionEngine
from kerasptb.serving.errors import BusyError
from kerasptb.serving.memory import key_of

TOLERANCE = 1e-6


class CountingPredictor:
    """Passes all on to a predictor and notes the calls that run the model, with the texts they read, as they decode."""

    def __init__(self, predictor):
        self._predictor = predictor
        self.calls = []

    def __getattr__(self, name):
        return getattr(self._predictor, name)

    def extend(self, jobs):
        self.calls.append(("extend", [self.tokenizer.decode(ids) for _, ids in jobs]))
        return self._predictor.extend(jobs)

    def extend_long(self, context, ids):
        self.calls.append(("extend_long", self.tokenizer.decode(ids)))
        return self._predictor.extend_long(context, ids)

    def score(self, ids):
        self.calls.append(("score", self.tokenizer.decode(ids)))
        return self._predictor.score(ids)


@pytest.fixture
def counting(predictor):
    return CountingPredictor(predictor)


def with_engine(predictor, use, **settings):
    async def run():
        engine = SuggestionEngine(predictor, **settings)
        try:
            return await use(engine)
        finally:
            engine.close()

    return asyncio.run(run())


def expected(predictor, text):
    return predictor.extend([(predictor.initial, predictor.encode(text))])[0]


def same(context, other):
    np.testing.assert_allclose(
        context.next_log_probabilities, other.next_log_probabilities, rtol=0, atol=10 * TOLERANCE
    )


def long_text(words, count):
    """Words in an order that repeats nowhere within the count."""
    random = np.random.default_rng(0)
    return " ".join(random.choice([word for word in words if word != "<unk>"], count)) + " "


def test_the_context_of_any_text_is_the_models(predictor, texts):
    async def use(engine):
        return [await engine.context(text) for text in texts]

    for text, context in zip(texts, with_engine(predictor, use), strict=True):
        same(context, expected(predictor, text))


def test_keystrokes_within_a_word_cost_nothing_and_a_new_word_one_step(counting):
    async def use(engine):
        for typed in ("the cat ", "the cat s", "the cat sa", "the cat sat", "the cat sat ", "the cat sat o"):
            await engine.context((await engine.split(typed, complete=True, learn=False))[0])

    with_engine(counting, use)
    assert counting.calls == [("extend", ["the cat"]), ("extend", ["sat"])]


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
    short = [jobs for kind, jobs in counting.calls if kind == "extend"]
    long = [text for kind, text in counting.calls if kind == "extend_long"]
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
    read = sum(len(call[1].split() if call[0] == "extend_long" else call[1][0].split()) for call in after)
    assert 0 < read < 64 + 2


def test_a_word_typed_while_a_long_text_is_being_read_waits_for_it(counting):
    text = long_text(counting.tokenizer.tokens, 400)

    async def use(engine):
        return await asyncio.gather(engine.context(text), engine.context(text + "cat "), engine.context(text + "dog "))

    _, cat, dog = with_engine(counting, use)
    words = [call for kind, call in counting.calls if kind == "extend_long"]
    assert sum(len(piece.split()) for piece in words) == 400
    same(cat, expected(counting, text + "cat "))
    same(dog, expected(counting, text + "dog "))


def test_scores_equal_the_models_whatever_was_typed_before(predictor):
    long = long_text(predictor.tokenizer.tokens, 100)

    async def use(engine):
        results = []
        for text in ("", "The cat", "The cat sat.\n", long, long + "The dog's ", "Don't — "):
            results.append((text, *await engine.score(text)))
        return results

    for text, units, values in with_engine(predictor, use):
        np.testing.assert_allclose(values, predictor.score(predictor.encode(text)), rtol=1e-5, atol=1e-5)
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

    assert with_engine(counting, use) == [("extend", ["cat"])]


def held_back(counting):
    """Makes the reading of long texts wait; returns the events that it has begun and that it may go on."""
    begun, go_on = threading.Event(), threading.Event()
    extend_long = counting.extend_long

    def slow(context, piece):
        begun.set()
        assert go_on.wait(10)
        return extend_long(context, piece)

    counting.extend_long = slow
    return begun, go_on


def test_a_text_is_read_no_further_when_nobody_waits_for_it(counting):
    text = long_text(counting.tokenizer.tokens, 500)  # eight pieces
    begun, go_on = held_back(counting)

    async def use(engine):
        one, other, of_more = (asyncio.create_task(engine.context(each)) for each in (text, text, text + "cat "))
        await asyncio.to_thread(begun.wait, 10)
        while len(engine._pending) < 2:
            await asyncio.sleep(0.001)  # the third, which waits for the same, is cut into words in a thread
        one.cancel()
        other.cancel()
        await asyncio.sleep(0)
        assert len(engine._pending) == 2
        of_more.cancel()
        await asyncio.wait([one, other, of_more])
        assert not engine._pending
        go_on.set()
        again = await engine.context(text)
        return len([call for call in counting.calls if call[0] == "extend_long"]), again

    calls, context = with_engine(counting, use)
    assert calls in (8, 9)  # only the piece that was being read may be read twice
    same(context, expected(counting._predictor, text))


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


def test_memory_is_bounded(predictor):
    texts = [f"the {word} cat" for word in predictor.tokenizer.tokens[4:38]]

    async def use(engine):
        for text in texts[:-1]:
            await engine.context(text)
        await engine.context(texts[-6])  # the one that was used last stays longest
        await engine.context(texts[-1])
        kept = [i for i, text in enumerate(texts) if engine._contexts.get(key_of(predictor.encode(text))) is not None]
        return len(engine._contexts), len(engine._pending), kept

    # A text of three words is remembered whole.
    assert with_engine(predictor, use, max_contexts=8) == (8, 0, list(range(26, 34)))


@pytest.mark.parametrize(("num_words", "expected"), [(10_000, 512), (100_000, 167), (10_000_000, 64)])
def test_fewer_contexts_are_remembered_of_large_vocabularies(predictor, num_words, expected, monkeypatch):
    monkeypatch.setattr(type(predictor.tokenizer), "__len__", lambda _: num_words)
    engine = SuggestionEngine(predictor)
    engine.close()
    assert engine._contexts.size == expected


def test_the_best_are_ranked_and_their_total_known(predictor):
    async def use(engine):
        context = await engine.context("the ")
        ranked = [await engine.rank(context, prefix, k) for prefix, k in ((" C", 2), ("", 1000), (" zz", 3))]
        return context, *ranked[0], *ranked[1], ranked[2]

    context, two, total, every, nearly_one, nothing = with_engine(predictor, use)
    words = predictor.tokenizer.tokens
    probabilities = dict(zip(words, np.exp(context.next_log_probabilities).tolist(), strict=True))
    with_c = sorted((probabilities[word], word) for word in ("ca", "company", "compare", "café", "cat"))
    assert [suggestion.word for suggestion in two] == [word for _, word in with_c[:-3:-1]]
    assert abs(total - sum(value for value, _ in with_c)) < TOLERANCE
    assert len(every) == len(words) - 1
    assert abs(nearly_one - (1 - probabilities["<unk>"])) < 1e-5
    assert all(a.probability >= b.probability for a, b in itertools.pairwise(every))
    assert nothing == ([], 0.0)


def test_the_cache_is_that_of_the_last_words_whatever_was_cut(predictor):
    async def remember(*texts):
        engine, cache = SuggestionEngine(predictor), None
        try:
            for text in texts:
                cache = await engine.remember(text, cache)
        finally:
            engine.close()
        return cache

    text = "the cat and Kowalski sat on a zebra's mat. " * 300
    cut, whole = asyncio.run(remember(text)), asyncio.run(remember(text[:4300], text[4300:]))
    assert [cut.word(i) for i in cut.ids] == [whole.word(i) for i in whole.ids]
    assert set(cut.new_words) == set(whole.new_words) == {"Kowalski", "zebra"}
    edge = asyncio.run(remember("the Kowalski " + "mat " * (WINDOW - 1)))
    assert edge.new_words == ("Kowalski",)
    assert edge.ids[0] == len(predictor.tokenizer)
    assert asyncio.run(remember("")).ids.tolist() == [predictor.tokenizer.eos_id]


def test_streamed_words_equal_the_whole_text(predictor):
    async def use(engine):
        context = predictor.initial
        for word in ("the", "cat", "do", "n't", "sat", "on"):
            context = await engine.extend(context.state, word)
        return context

    same(with_engine(predictor, use), expected(predictor, "the cat don't sat on"))


def test_equally_likely_words_come_in_the_order_of_their_ids(predictor):
    values = np.where(np.arange(len(predictor.tokenizer)) % 3, -3.0, -2.0).astype("float32")

    async def use(engine):
        context = dataclasses.replace(await engine.context("the "), next_log_probabilities=values)
        return [[word.word for word in (await engine.rank(context, "", k))[0]] for k in range(1, len(values))]

    words = predictor.tokenizer.tokens
    ranked = [words[i] for i in sorted(range(len(words)), key=lambda i: (-values[i], i)) if words[i] != "<unk>"]
    assert with_engine(predictor, use) == [ranked[:k] for k in range(1, len(values))]


def test_the_total_of_rounded_probabilities_is_one_at_most(predictor):
    values = np.full(len(predictor.tokenizer), np.log(1.001 / (len(predictor.tokenizer) - 1)), "float32")
    context = dataclasses.replace(predictor.initial, next_log_probabilities=values)
    assert with_engine(predictor, lambda engine: engine.rank(context, "", 3))[1] == 1.0


def test_without_eos_nothing_is_known_of_the_first_word(tmp_path):
    from kerasptb.data import Vocabulary
    from kerasptb.export import export_saved_model
    from kerasptb.models import LanguageModel
    from kerasptb.serving.predictor import Predictor

    model = LanguageModel(3, 4, 5, batch_size=1, num_steps=4, init_scale=1.0, seed=1)
    predictor = Predictor.load(export_saved_model(model, tmp_path / "plain", Vocabulary(["one", "two", "three"])))

    async def use(engine):
        return await engine.score("one two three")

    _, (first, *others) = with_engine(predictor, use)
    assert first is None
    np.testing.assert_allclose(others, predictor.score(predictor.encode("one two three")), rtol=1e-5)
