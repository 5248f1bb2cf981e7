"""Chats as Telegram exports them in JSON: the messages, without times and names."""

import json
from collections.abc import Iterator
from typing import Any

from kerasptb.data.errors import DataError
from kerasptb.data.sources.formats.chat import messages_of, with_lines
from kerasptb.data.sources.source import Source
from kerasptb.data.sources.text_file import TextFile


def recognises(file: TextFile) -> bool:
    """Returns whether a file begins as an export does, of a chat or of all of them."""
    head = file.head()
    is_one, is_all = b'"messages"' in head and b'"date"' in head, b'"personal_information"' in head
    return file.suffix == ".json" and (is_one or is_all) and b"{" in head[:8]


def texts(file: TextFile, source: Source) -> Iterator[str]:
    """Yields the messages."""
    try:
        content = json.loads(b"".join(file.chunks()))
        chats = content["chats"]["list"] if "chats" in content else [content]
        messages = [(_author(each), _written(each.get("text", ""))) for chat in chats for each in chat["messages"]]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise DataError(f"Expected a chat as Telegram exports it. {file.path} is damaged.") from None
    return messages_of(with_lines(messages), file.path, source)


def _author(message: dict[str, Any]) -> str | None:
    """Returns who wrote a message: "" for a deleted account, `None` for the program."""
    return None if message.get("type") == "service" else str(message.get("from") or "")


def _written(text: str | list[Any]) -> str:
    """Returns a message's text: a string, or parts of which links and the like are objects."""
    return text if isinstance(text, str) else "".join(part if isinstance(part, str) else part["text"] for part in text)
