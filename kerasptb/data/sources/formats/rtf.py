"""Documents in RTF, by the library striprtf: of those for it the one that is kept, a file without dependencies."""

import re
from collections.abc import Iterator

from kerasptb.data.errors import UnreadError
from kerasptb.data.sources.source import Source
from kerasptb.data.sources.text_file import TextFile
from kerasptb.utils.extras import install_command

_CONTROL = re.compile(r"\\(?:\\|f(?=\d)|fldinst|fcharset\d+)")


def recognises(file: TextFile) -> bool:
    """Returns whether a file begins as RTF does."""
    return file.head(5) == b"{\\rtf"


def texts(file: TextFile, source: Source) -> Iterator[str]:
    """Yields the paragraphs of a document."""
    try:
        from striprtf.striprtf import rtf_to_text  # noqa: PLC0415  (an extra)
    except ImportError:
        raise UnreadError(file.path, f"a document in RTF: `{install_command('texts')}` lets it be read") from None
    content = b"".join(file.chunks()).decode(source.encoding or "cp1252", "replace")
    content = _CONTROL.sub(_tamed, content)
    try:
        read = rtf_to_text(content, source.encoding or "cp1252", errors="replace")
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise UnreadError(file.path, f"a damaged document in RTF ({error})") from None
    # Halves of a character are written apart.
    whole = read.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    for paragraph in whole.replace("\0", "").split("\n"):
        if text := paragraph.strip():
            yield f"{text}\n\n"


def _tamed(control: re.Match[str]) -> str:
    """Returns what means the same to the library, and lets it take time in proportion.

    It looks for the ends of links and of fonts in all that follows them. Instructions of fields have another name, so
    that they are left out, and no address is written; a font begins a line, and ends where its letters are told. A
    backslash is one by its number, and begins nothing.
    """
    if control[0] == "\\\\":
        return "\\'5c"
    if control[0] == "\\fldinst":
        return "\\fldtype"
    return f"\n{control[0]}" if control[0] == "\\f" else f"{control[0]} x;"
