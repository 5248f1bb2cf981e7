"""Pages of HTML: what is read of them, without navigation."""

from collections.abc import Callable, Iterator
from typing import Any

from kerasptb.data.errors import UnreadError
from kerasptb.data.sources.source import Source
from kerasptb.data.sources.text_file import TextFile
from kerasptb.utils.extras import install_command

_DEEPEST = 512  # tags in one another: browsers have no more, and the library takes time in the square of them


class DeepPageError(UnreadError):
    """A page has more tags in one another than any that is written to be read."""

    def __init__(self, path: str) -> None:
        super().__init__(path, f"a page of HTML with more than {_DEEPEST} tags in one another")


def recognises(file: TextFile) -> bool:
    """Returns whether a file is a page by its name, or by how it begins."""
    begins = file.head(256).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return file.suffix in (".html", ".htm", ".xhtml") or begins.startswith((b"<!doctype html", b"<html"))


def texts(file: TextFile, source: Source) -> Iterator[str]:
    """Yields the main text of a page; all of it, if none of it seems to be that."""
    page = b"".join(file.chunks())
    if b'class="from_name"' in page:
        raise UnreadError(file.path, "a chat of Telegram with names and times: export it as JSON")
    for is_main in (True, False):
        text = page_text(page, file.path, source.encoding, main_content=is_main)
        if text.strip():
            yield f"{text}\n\n"
            return


def page_text(
    page: bytes,
    path: str,
    encoding: str | None = None,
    *,
    main_content: bool,
    left_out: Callable[[Any], bool] | None = None,
) -> str:
    """Returns the text of a page, without the elements that `left_out` says.

    Its encoding is what is named, or what the page says, or what is found.

    Raises:
        DeepPageError: too many of its tags are in one another.
    """
    try:
        from resiliparse.extract.html2text import extract_plain_text  # noqa: PLC0415  (an extra)
        from resiliparse.parse.encoding import bytes_to_str, detect_encoding  # noqa: PLC0415
        from resiliparse.parse.html import HTMLTree, traverse_dom  # noqa: PLC0415
    except ImportError:
        raise UnreadError(path, f"a page of HTML: `{install_command('texts')}` lets it be read") from None
    text = bytes_to_str(page, encoding or detect_encoding(page, from_html_meta=True) or "utf-8")
    tree, found = HTMLTree.parse(text), []

    def enter(context: Any) -> None:
        if context.depth > _DEEPEST:
            raise DeepPageError(path)
        if left_out and left_out(context.node):
            found.append(context.node)

    if tree.body and (left_out or text.count("<") > _DEEPEST // 2):  # the parser adds tags, of tables
        # The library's own search for elements takes minutes where thousands are nested.
        traverse_dom(tree.body, enter, elements_only=True)
    for node in found:
        if node.parent:
            node.parent.remove_child(node)
    return str(extract_plain_text(tree, main_content=main_content, list_bullets=False, alt_texts=False))
