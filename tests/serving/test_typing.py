"""The server and the keyboard's evaluation show the same keys: docs/keyboard.md has one definition for both."""

import asyncio
import copy

import pytest

from kerasptb.data.signs import absent_signs
from kerasptb.data.text_format import TextFormat
from kerasptb.keyboard import Writer, evaluate_keyboard
from kerasptb.keyboard.measure import savings as keyboard
from kerasptb.serving.engine import SuggestionEngine

KEYS = 3
TEXTS = {
    "reader": 'The cat sat on the mat\nThe zebra in it, "the zebra" sat on a company\nthe (quick brown zebra they do',
    "subworded": 'The cat sat on the mat, the "zebra" sat.\n"A dog", ("the dog) ran to\u00a0the cat\nThe dog’s “zebra”',
    "japanese": "猫は庭で寝ています。犬 は猫を見ています。\n" * 8,
    "spelled": "The cat sat on the mat.\n“The cat, (the “dog”) sat",
}


def keys_of_evaluation(reader, text, learn, monkeypatch):
    """What is on the keys at each look of the evaluation: the word that is typed, and the words up to it."""
    monkeypatch.setattr(keyboard, "_SCORES", 1)  # one word after the other
    looks, typed, of_writer, of_word = [], [], Writer.keys, keyboard.find_shown

    def keys(self, context, prefix, *others):
        found = yield from of_writer(self, context, prefix, *others)
        looks.append((typed[-1], prefix, [word for word, _ in found.words]))
        return found

    def find(writer, word, *others):
        typed.append(word)
        return (yield from of_word(writer, word, *others))

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "keys", keys)
        patch.setattr(keyboard, "find_shown", find)
        result = evaluate_keyboard(reader, text, KEYS, learn=learn)
    return looks, result


async def keys_of_server(reader, texts, learn):
    engine = SuggestionEngine(reader)
    try:
        looks = []
        for text in texts:
            typed, memory = await engine.split(text, complete=True, learn=learn)
            found = await engine.keys(await engine.context(typed.whole), typed, KEYS, memory)
            looks.append((typed.prefix, [word for word, _ in found.words]))
        return looks
    finally:
        engine.close()


def starts_of(reader, text):
    """Where each word and sign of a text begins in it."""
    _, parts = reader.tokenizer.typed_parts(reader.text_format.signs.read(text), keep_lines=True)
    text, end = reader.text_format.signs.read(text), 0
    for word in (word for part in parts for word in part if word):
        start = text.index(word.text, end)
        yield word, start
        end = start + len(word.text)


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize("kind", TEXTS)
def test_every_key_is_the_same(kind, learn, request, monkeypatch):
    of_kind, text = request.getfixturevalue(kind), TEXTS[kind]
    reader = copy.copy(of_kind if kind == "reader" else of_kind.reader)
    reader.text_format = TextFormat(tokenizer=reader.tokenizer, keep_lines=True, absent_signs=absent_signs(["\"'“"]))
    looks, result = keys_of_evaluation(reader, text, learn, monkeypatch)
    starts = dict(starts_of(reader, text))
    texts = [text[: starts[word] + len(prefix.removeprefix(word.lead))] for word, prefix, _ in looks]
    shown = asyncio.run(keys_of_server(reader, texts, learn))
    assert len(looks) > 20
    for (word, prefix, words), (server_prefix, server_words), typed in zip(looks, shown, texts, strict=True):
        assert prefix.strip() == server_prefix.strip(), typed
        # The evaluation looks for no words that are less probable than the right one.
        forms = {word.text, word.text.lower(), word.word}
        found = next((i + 1 for i, each in enumerate(words) if each in forms), KEYS)
        assert words[: min(found, KEYS)] == server_words[: min(found, KEYS)], typed
    assert 0 <= result.keystroke_savings < 1
