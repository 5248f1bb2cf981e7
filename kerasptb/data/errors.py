"""The errors that reading text and making batches raise."""

_SHOWN = 60  # characters of a word in a message
_LONGEST = 1_000  # characters of a message


def shortened(text: str, longest: int) -> str:
    """Returns a text, of a long one its beginning and its end: names in others' files have any length."""
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"


class DataError(ValueError):
    """The data cannot be used as asked; the message is one line that says why and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(shortened(message, _LONGEST))


def check_text(text: object) -> str:
    """Returns a text; raises a DataError for what is none, or has half a character."""
    if not isinstance(text, str):
        hint = ": decode bytes first, such as with .decode()" if isinstance(text, bytes) else ""
        raise DataError(f"Expected a text, a str. Received: {type(text).__name__}{hint}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            "Expected whole characters, such as those of bytes in UTF-8. "
            f"Received: {text[error.start]!r}, at place {error.start} of the text"
        ) from None
    return text


class UnreadError(DataError):
    """A file is not read, for a reason, the attribute `reason`, that stands beside its name where others were read."""

    def __init__(self, path: str, reason: str) -> None:
        self.reason = shortened(reason, _LONGEST // 2)
        super().__init__(f"Expected a text. Received: {path}, which is {reason}")


class UnknownWordError(DataError):
    """A word, the attribute `word`, is outside the vocabulary, and the vocabulary has no `<unk>` to replace it."""

    def __init__(self, word: str, where: str = "") -> None:
        self.word = word
        place = f" ({where})" if where else ""
        shown = word if len(word) <= _SHOWN else f"{word[:_SHOWN]}…"
        super().__init__(
            f"The word {shown!r}{place} is not in the vocabulary, and the vocabulary has no '<unk>' to stand for it: "
            "replace the word by a known one, put '<unk>' into the training text, or train with a "
            "vocabulary_size (--vocabulary-size N), by which rare words become '<unk>'."
        )
