import hashlib
import http.server
import io
import socket
import tarfile
import threading

import pytest

from kerasptb.data.sources.download import DownloadError, download_ptb, has_digests

FILES = {f"ptb.{split}.txt": f"{split} text\n".encode() * 5000 for split in ("train", "valid", "test")}
DIGESTS = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}


def archive(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"./simple-examples/data/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers /good/NAME, and ways to be wrong in place of "good"."""

    def do_GET(self):
        self.server.requests.append(self.path)
        kind, name = self.path.strip("/").split("/")
        files = {**FILES, "ptb.test.txt": FILES["ptb.test.txt"][:-1] + b"!"} if kind == "wrong" else FILES
        data = archive(files) if name == "simple-examples.tgz" else files[name]
        if kind == "missing":
            self.send_error(404)
            return
        if kind == "garbled":
            self.wfile.write(b"no HTTP\r\n\r\n")
            return
        if kind == "silent":
            self.server.stop.wait(10)
            return
        self.send_response(200)
        if kind != "unsized":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if kind in ("truncated", "dripping"):
            data = data[: len(data) // 2]
        self.wfile.write(data)
        if kind == "dripping":
            # For 4 seconds: a client that waits for the end has missed its time limit.
            for _ in range(80):
                if self.server.stop.wait(0.05):
                    break
                self.wfile.write(b".")

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests = []
    server.stop = threading.Event()
    # Its threads are waited for in server_close: none may outlive the test.
    server.daemon_threads = False
    server.handle_error = lambda *arguments: None
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.stop.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def download(server, tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def download(*kinds, **arguments):
        addresses = [f"{server.url}/{kind}" for kind in kinds]
        arguments = {"answer_timeout": 5, "total_timeout": 10, "progress": lambda *arguments: None, **arguments}
        download_ptb(tmp_path / "cache" / "ptb", addresses=addresses, digests=DIGESTS, **arguments)

    return download


def assert_complete(cache):
    assert [entry.name for entry in cache.iterdir()] == ["ptb"]
    assert {entry.name: entry.read_bytes() for entry in (cache / "ptb").iterdir()} == FILES


@pytest.mark.parametrize("address", ["good/", "unsized/", "good/simple-examples.tgz"])
def test_download(address, download, tmp_path):
    download(address)
    assert_complete(tmp_path / "cache")
    assert has_digests(tmp_path / "cache" / "ptb", DIGESTS)


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("missing/", "HTTP 404 Not Found"),
        ("wrong/", r"ptb\.test\.txt \(50,000 bytes\) is not the published file"),
        ("truncated/", "broken off after 27,500 of 55,000 bytes"),
        ("truncated/simple-examples.tgz", "broken off after"),
        ("garbled/", "no HTTP"),
        ("silent/", "no answer in 0 s|timed out"),
        ("dripping/", "the time for the download is over"),
    ],
)
def test_wrong_answers_leave_nothing_behind_and_the_next_address_is_tried(kind, answer, download, server, tmp_path):
    limits = {"answer_timeout": 0.3, "total_timeout": 0.6}
    with pytest.raises(DownloadError, match=answer) as error:
        download(kind, **limits)
    assert f"{server.url}/{kind}" in str(error.value)
    assert "KERASPTB_DATA" in str(error.value)
    assert list((tmp_path / "cache").iterdir()) == []
    if kind != "dripping/":
        download(kind, "good/", **{**limits, "total_timeout": 10})
        assert_complete(tmp_path / "cache")


def test_every_answer_is_listed(download, server):
    kinds = ("missing/", "wrong/simple-examples.tgz", "truncated/", "missing/simple-examples.tgz")
    with pytest.raises(DownloadError) as error:
        download(*kinds)
    message = str(error.value)
    assert all(f"{server.url}/{kind}: " in message for kind in kinds)
    assert message.count("\n") == 1


def test_refused_connection(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        with pytest.raises(DownloadError, match="Connection refused"):
            download_ptb(tmp_path / "ptb", addresses=[address], digests=DIGESTS)


def test_time_limit_holds_while_a_name_is_looked_up(tmp_path, monkeypatch):
    release = threading.Event()

    def stuck(*arguments, **keywords):
        release.wait(10)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", stuck)
    with pytest.raises(DownloadError, match=r"no answer in"):  # not what the look-up comes to in the end
        download_ptb(tmp_path / "ptb", addresses=["http://nowhere.invalid/"], digests=DIGESTS, answer_timeout=0.2)
    release.set()
    for thread in threading.enumerate():
        if thread.name == "kerasptb-download":
            thread.join()


def test_damaged_cache_is_replaced(download, tmp_path):
    folder = tmp_path / "cache" / "ptb"
    folder.mkdir(parents=True)
    (folder / "ptb.train.txt").write_text("half")
    (folder / "left over").write_text("old")
    assert not has_digests(folder, DIGESTS)
    download("good/")
    assert_complete(tmp_path / "cache")


def test_addresses_after_the_good_one_are_not_asked(download, server):
    download("good/", "missing/")
    assert server.requests == [f"/good/{name}" for name in FILES]


def test_unwritable_cache_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="XDG_CACHE_HOME") as error:
        download_ptb(tmp_path / "file" / "ptb", addresses=[], digests=DIGESTS)
    assert str(tmp_path / "file" / "ptb") in str(error.value)


def test_progress_reaches_the_end(download):
    seen = []
    download("good/", progress=lambda url, done, total: seen.append((url.rsplit("/", 1)[1], done, total)))
    for name, data in FILES.items():
        steps = [(done, total) for file, done, total in seen if file == name]
        assert steps[-1] == (len(data), len(data))
        assert steps == sorted(steps)


def test_what_is_too_large_is_given_up(download, monkeypatch):
    monkeypatch.setattr("kerasptb.data.sources.download.MAX_DOWNLOAD_BYTES", 50_000)
    with pytest.raises(DownloadError, match="more than 50,000 bytes"):
        download("good/")  # of 55,000 bytes each


def test_no_answer_is_waited_for_beyond_the_time_limit(tmp_path, monkeypatch):
    waits = []

    def refuse(url, timeout):
        waits.append(timeout)
        raise OSError("refused")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(DownloadError):
        download_ptb(tmp_path / "ptb", addresses=["http://a/", "http://b/"], answer_timeout=20, total_timeout=5)
    assert len(waits) == 2
    assert max(waits) <= 5


def test_the_files_of_a_process_that_was_faster_stay(download, tmp_path):
    folder = tmp_path / "cache" / "ptb"

    def overtake(*_):
        if not folder.exists():
            folder.mkdir()
            for name, data in FILES.items():
                (folder / name).write_bytes(data)
            (folder / "of the other").touch()

    download("good/", progress=overtake)
    assert (folder / "of the other").exists()
