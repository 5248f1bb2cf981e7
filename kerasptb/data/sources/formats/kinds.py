"""What a file without a text is, by its first bytes, so that a refusal says it.

Python's `mimetypes` goes by names alone; python-magic and filetype would tell hundreds of kinds for the sake of a line.
"""

import re

# What begins a file of a kind.
_KINDS = {
    "but an image": rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP|BM|II\*\0|MM\0\*|....ftyp(?:avif|heic)",
    "but sound or a film": rb"ID3|OggS|fLaC|\xff[\xe2-\xfb]|RIFF....(?:WAVE|AVI )|\x1aE\xdf\xa3|....ftyp(?!avif|heic)",
    "but a program": rb"\x7fELF|MZ|\xca\xfe\xba\xbe|[\xce\xcf]\xfa\xed\xfe|\0asm",
    "but a database": rb"SQLite format 3\0",
    "but an archive: name it itself": rb"PK\x03\x04",
    "but compressed: let its name end in .gz, .xz or .bz2": rb"\x1f\x8b|BZh|\xfd7zXZ\0",
    "but an archive of a kind that is not read: unpack it": rb"7z\xbc\xaf\x27\x1c|Rar!|\x28\xb5\x2f\xfd",
    "but a document of an old office program: save it as DOCX, or as a text": rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
}


def kind_of(head: bytes) -> str | None:
    """Returns what a file without a text is that begins so, if that is known."""
    return next((kind for kind, begin in _KINDS.items() if re.match(begin, head, re.DOTALL)), None)
