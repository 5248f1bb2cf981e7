"""The three text files of a corpus, read from a folder or straight out of an archive.

An archive is never extracted: the members are read into memory, so no name, link or mode in it can touch the disk.
"""

import contextlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from kerasptb.data.errors import DataError

SPLITS = ("train", "valid", "test")

# File names, the published ones first.
PATTERNS = ("ptb.{}.txt", "{}.txt")

# Places inside a folder, the nearest first.
PLACES = ("", "data/", "simple-examples/data/")

# A guard against archives made to fill the memory. It is four times the size of WikiText-103, the largest text in
# common use for word-level models.
MAX_ARCHIVE_BYTES = 2 << 30

# Split name -> (contents, place for messages).
SplitFiles = dict[str, tuple[bytes, str]]


def read_files(path: Path) -> SplitFiles:
    """Reads the three text files of a folder or an archive.

    Args:
        path: a folder, or a tar (of any compression) or zip file. The files are `ptb.train.txt`, `ptb.valid.txt` and
            `ptb.test.txt`, or `train.txt`, `valid.txt` and `test.txt`; in a folder they may lie in `data` or
            `simple-examples/data`, in an archive in any folder.

    Returns:
        Mapping from "train", "valid" and "test" to the file's bytes and its place, for messages.

    Raises:
        DataError: the file is not an archive, is damaged, or unpacks to more than `MAX_ARCHIVE_BYTES`.
        FileNotFoundError: `path` does not exist, or holds fewer than the three files.
    """
    if path.is_dir():
        names = [f"{place}{pattern.format(split)}" for place in PLACES for pattern in PATTERNS for split in SPLITS]
        chosen = choose_names([name for name in names if (path / name).is_file()], str(path))
        return {split: ((path / name).read_bytes(), str(path / name)) for split, name in chosen.items()}
    if not path.exists():
        raise FileNotFoundError(f"Expected a folder or an archive. Received: {path}, which does not exist.")
    with _archive_errors(path):
        # tar is tried first: a tar that holds a zip can look like a zip, but a zip never looks like a tar.
        if tarfile.is_tarfile(path):
            return _read_tar(path)
        if zipfile.is_zipfile(path):
            return _read_zip(path)
    raise DataError(
        f"Expected a folder, a tar or a zip file. Received: {path}, which is none of them. Of a single text make three "
        "files, train.txt, valid.txt and test.txt, in a folder of their own."
    )


def choose_names(names: Collection[str], where: str) -> dict[str, str]:
    """Chooses the three files of a corpus among the names of a folder or an archive.

    Args:
        names: paths with forward slashes.
        where: the folder or archive, for messages.

    Returns:
        Mapping from "train", "valid" and "test" to a name, all three in one folder. The published names are preferred
        to the plain ones, then folders called `data` to others, then folders nearer the top.

    Raises:
        FileNotFoundError: no folder holds all three.
    """
    # An archive may spell a name "./data/x": names are looked up as paths, and returned as they are spelt.
    found = {PurePosixPath(name): name for name in names}
    partial = []
    for pattern in PATTERNS:
        wanted = {split: pattern.format(split) for split in SPLITS}
        folders = {path.parent for path in found if path.name in wanted.values()}
        for folder in sorted(folders, key=lambda folder: (folder.name not in ("", "data"), len(folder.parts), folder)):
            chosen = {split: found.get(folder / name) for split, name in wanted.items()}
            if None not in chosen.values():
                return chosen
            missing = [wanted[split] for split in SPLITS if chosen[split] is None]
            partial.append(
                f"{' and '.join(missing)} missing in {where}{'' if folder == PurePosixPath() else f'/{folder}'}"
            )
    raise FileNotFoundError(
        "Expected ptb.train.txt, ptb.valid.txt and ptb.test.txt, or train.txt, valid.txt and test.txt. "
        f"Received: {partial[0] if partial else f'{where}, which holds none of them'}."
    )


@contextlib.contextmanager
def _archive_errors(path: Path) -> Iterator[None]:
    """Turns the many errors of damaged, encrypted or exotic archives into one."""
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
        raise DataError(f"Expected a readable archive. {path} is not: {error}") from None
    except OSError as error:
        # bz2 and gzip report damage as an OSError without a number; errors of the disk have one.
        if error.errno is not None or isinstance(error, FileNotFoundError):
            raise
        raise DataError(f"Expected a readable archive. {path} is not: {error}") from None


def _is_corpus_name(name: str) -> bool:
    """Returns whether an archive's member has the name of a corpus file and lies inside the archive's own tree."""
    path = PurePosixPath(name)
    wanted = {pattern.format(split) for pattern in PATTERNS for split in SPLITS}
    return path.name in wanted and not path.is_absolute() and ".." not in path.parts


def _check_size(path: Path, num_bytes: int) -> None:
    if num_bytes > MAX_ARCHIVE_BYTES:
        raise DataError(
            f"{path} unpacks to {num_bytes:,} bytes or more, above the limit of {MAX_ARCHIVE_BYTES:,} for archives. "
            "Unpack it and name the folder."
        )


def _read_tar(path: Path) -> SplitFiles:
    members = {}
    total = 0
    with tarfile.open(path) as archive:
        for member in archive:
            # Checked before the member is skipped, because skipping decompresses it.
            total += member.size
            _check_size(path, total)
            # Only plain files: a link could name a file outside the archive.
            if member.isreg() and _is_corpus_name(member.name):
                members[member.name] = member
        chosen = choose_names(members, str(path))
        # Files are read in the archive's order: a compressed archive is then rewound once, not for every file.
        names = sorted(chosen.values(), key=lambda name: members[name].offset)
        contents = {name: archive.extractfile(members[name]).read() for name in names}
    return {split: (contents[name], f"{path}/{name}") for split, name in chosen.items()}


def _read_zip(path: Path) -> SplitFiles:
    with zipfile.ZipFile(path) as archive:
        # Member names are matched unchanged. A folder's name ends in a slash and so never matches.
        members = {info.filename: info for info in archive.infolist() if _is_corpus_name(info.filename)}
        chosen = choose_names(members, str(path))
        # zipfile reads no more than the size stated in the archive's directory, so checking the stated sizes is enough.
        _check_size(path, sum(members[name].file_size for name in chosen.values()))
        return {split: (archive.read(members[name]), f"{path}/{name}") for split, name in chosen.items()}
