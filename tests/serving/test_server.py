import asyncio
import contextlib
import http.client
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from kerasptb.cli import main
from kerasptb.data import Vocabulary
from kerasptb.models.weights import save_weights
from kerasptb.native import loader
from kerasptb.serving import ServingError, serve
from kerasptb.serving.server import _allow_many_connections, _listen, open_served
from kerasptb.utils.extras import install_command

GUIDE = Path(__file__).parents[2] / "docs" / "serving.md"


def ask(url, path, body=None, headers=()):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json", **dict(headers)})
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def test_the_command_serves_a_saved_model_until_it_is_interrupted(saved_model, reader, tmp_path):
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    folder = Path(shutil.copytree(saved_model, tmp_path / "model"))
    command = [sys.executable, "-m", "kerasptb", "serve", str(folder), "--port", "0", "--rate", "3"]
    # The variable would bring TensorFlow's notices back.
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    environment |= {"PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, env=environment) as process:
        # A server that says nothing must not hold the tests.
        timer = threading.Timer(120, process.kill)
        timer.start()
        try:
            line = process.stdout.readline()
            url = re.search(r"http://127\.0\.0\.1:\d+/", line).group()
            assert str(folder) in line
            assert ask(url, "health") == {"status": "ok"}
            assert len(ask(url, "v1/suggest", {"text": "the c", "k": 2})["suggestions"]) == 2
            with pytest.raises(urllib.error.HTTPError, match="429") as refused:
                for i in range(20):
                    ask(url, "v1/suggest", {"text": "the c"}, {"X-Forwarded-For": f"10.0.0.{i}"})
            assert int(refused.value.headers["Retry-After"]) >= 1
            refused.value.close()
            # Another model in the folder is served at a signal, and one that is broken is not.
            assert ask(url, "version")["model"] == reader.fingerprint
            vocabulary = folder / "assets" / "vocabulary.txt"
            Vocabulary(reader.tokenizer.tokens[::-1]).save(vocabulary)
            process.send_signal(signal.SIGHUP)
            assert process.stdout.readline() == f"Serving {folder} as it is now\n"
            other = ask(url, "version")["model"]
            assert other != reader.fingerprint
            vocabulary.unlink()
            process.send_signal(signal.SIGHUP)
            assert process.stderr.readline().startswith(
                f"{folder} cannot be served; the model loaded before still is. "
            )
            assert ask(url, "version")["model"] == other
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
            assert process.stdout.read() == "Stopped.\n"
        finally:
            timer.cancel()
            process.kill()


@pytest.mark.slow
def test_who_waits_when_the_server_stops_is_told_so(saved_model):
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    command = [sys.executable, "-m", "kerasptb", "serve", str(saved_model), "--port", "0", "--rate", "0"]
    # The variable would bring TensorFlow's notices back.
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    environment |= {"PYTHONUNBUFFERED": "1"}
    answers, first_asked = [], threading.Event()

    def work(i):
        try:
            first_asked.set()
            answers.append((200, ask(url, "v1/score", {"text": f"{i} " + "a b " * 4_990})))
        except urllib.error.HTTPError as error:
            with error:
                answers.append((error.code, json.load(error)))

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, env=environment) as process:
        timer = threading.Timer(120, process.kill)
        timer.start()
        try:
            url = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline()).group()
            ask(url, "v1/score", {"text": "a b"})
            threads = [threading.Thread(target=work, args=[i]) for i in range(16)]
            for thread in threads:
                thread.start()
            first_asked.wait()
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            for thread in threads:
                thread.join()
            assert process.wait(60) == 0
            assert process.stderr.read() == ""
        finally:
            timer.cancel()
            process.kill()
    assert {status for status, _ in answers} <= {200, 503}
    refused = [answer for status, answer in answers if status == 503]
    assert refused
    assert all("stopping" in answer["error"] for answer in refused)


@contextlib.contextmanager
def listening_with(app, seconds=1):
    """Serves an app by our protocol, which waits so long for headers; gives the address."""
    uvicorn = pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    from kerasptb.serving.protocol import BoundedProtocol

    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            app, http=BoundedProtocol, log_level="warning", timeout_keep_alive=seconds, lifespan="off"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.slow
def test_connections_without_a_request_are_closed():
    with listening_with(echo) as address:
        for begun in (b"", b"POST / HTTP/1.1\r\nHost: a\r\n"):
            with socket.create_connection(address, timeout=20) as connection:
                connection.sendall(begun)
                assert connection.recv(100) == b""
        # A request whose body takes longer to come is none of these, nor is a second one on a connection.
        with socket.create_connection(address, timeout=20) as connection:
            for _ in range(2):
                connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
                time.sleep(1.5)
                connection.sendall(b"b")
                assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            assert connection.recv(1000) == b""


def test_headers_that_drip_are_waited_for_no_longer():
    with listening_with(echo, 0.4) as address, socket.create_connection(address, timeout=0.1) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        for _ in range(200):  # 20 seconds
            try:
                connection.sendall(b"y")
                if connection.recv(100) == b"":
                    return
            except TimeoutError:
                continue
            except ConnectionError:
                return
    raise AssertionError("it stays open")


@pytest.mark.parametrize("headers", [[], [(b"connection", b"close")]], ids=["kept", "closed"])
def test_a_body_that_goes_on_after_its_refusal_keeps_no_connection(monkeypatch, headers):
    async def refuse(scope, receive, send):
        """Reads no body."""
        await send({"type": "http.response.start", "status": 429, "headers": [(b"content-length", b"0"), *headers]})
        await send({"type": "http.response.body", "body": b""})

    monkeypatch.setattr("kerasptb.serving.protocol.LINGER_LIMIT", 0.5)
    with listening_with(refuse) as address, socket.create_connection(address, timeout=20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\na")
        assert b"".join(iter(lambda: connection.recv(1000), b"")).startswith(b"HTTP/1.1 429")
        for _ in range(3):  # who is still sending can do so, and then read the answer
            connection.sendall(b"y")
            time.sleep(0.02)
        with pytest.raises(ConnectionError):
            for _ in range(1000):  # 20 seconds
                connection.sendall(b"y")
                time.sleep(0.02)


def test_a_body_with_two_lengths_is_refused_and_what_lies_behind_it_is_no_request(monkeypatch):
    monkeypatch.setattr("kerasptb.serving.protocol.LINGER_LIMIT", 0.5)
    paths = []

    async def note(scope, receive, send):
        paths.append(scope["path"])
        await echo(scope, receive, send)

    middleware = pytest.importorskip("kerasptb.serving.middleware", reason="the extra `serve` is not installed")
    app = middleware.BodyLimit(note, lambda: 1000)
    with listening_with(app) as address, socket.create_connection(address, timeout=20) as connection:
        connection.sendall(
            b"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        answer = b"".join(iter(lambda: connection.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.1 400") and answer.count(b"HTTP/1.1") == 1
    assert b"Received both" in answer and paths == []


def test_a_connection_goes_on_after_a_refusal(reader):
    app = pytest.importorskip("kerasptb.serving.app", reason="the extra `serve` is not installed")
    app = app.create_app(reader, rate=0.25, allowed_hosts=())
    body, headers = b'{"text": ""}', {"Content-Type": "application/json"}
    with listening_with(app) as address, contextlib.closing(http.client.HTTPConnection(*address, 20)) as client:
        connections = []
        for foreign in ({}, {}, {}, {"Host": "attacker.example"}, {"Host": "attacker.example"}):
            # Headers and body are sent one after the other, and the refusal comes between them.
            client.request("POST", "/v1/suggest", body, headers | foreign)
            connections.append(client.sock)
            answer = client.getresponse()
            assert answer.status == (421 if foreign else 200 if len(connections) == 1 else 429)
            answer.read()
        assert len(set(connections)) == 1
        for _ in range(2):
            client.request("POST", "/v1/suggest", b" " * 2_000_000, headers)
            answer = client.getresponse()
            assert (answer.status, answer.getheader("Connection")) == (413, "close")
            answer.read()
        client.request("GET", "/health")
        assert client.getresponse().status == 200
    app.state.engine.close()


def test_a_client_that_has_closed_its_side_gets_its_answer():
    async def slow(scope, receive, send):
        await asyncio.sleep(0.2)
        await echo(scope, receive, send)

    with listening_with(slow) as address:
        for request in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"):
            with socket.create_connection(address, timeout=20) as connection:
                connection.sendall(request * 2)
                connection.shutdown(socket.SHUT_WR)
                answers = b"".join(iter(lambda: connection.recv(1000), b""))
            assert answers.count(b"HTTP/1.1 200") == (2 if b"1.1" in request else 1)
        with socket.create_connection(address, timeout=20) as connection:  # half a request has no answer
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1000) == b""


def test_an_address_has_so_many_connections(monkeypatch):
    monkeypatch.setattr("kerasptb.serving.protocol.BoundedProtocol.max_connections", 2)
    with listening_with(echo) as address, contextlib.ExitStack() as opened:
        connections = [opened.enter_context(socket.create_connection(address, timeout=20)) for _ in range(3)]
        assert connections[2].recv(1000).startswith(b"HTTP/1.1 503")
        assert connections[2].recv(1000) == b""
        connections[0].close()
        for _ in range(100):
            with contextlib.suppress(ConnectionError), socket.create_connection(address, timeout=20) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                if connection.recv(1000).startswith(b"HTTP/1.1 200"):
                    return
            time.sleep(0.05)
    raise AssertionError("a connection that was closed still counts")


def test_a_client_that_reads_no_answer_is_let_go(monkeypatch):
    monkeypatch.setattr("kerasptb.serving.protocol.UNREAD_LIMIT", 0.4)
    ended = threading.Event()

    async def large(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(300):
            await send({"type": "http.response.body", "body": bytes(2**20), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        ended.set()

    with listening_with(large) as address, socket.create_connection(address, timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        # The answer goes nowhere, and the app is free again.
        assert ended.wait(20)
        received = 0
        with contextlib.suppress(ConnectionError):
            while data := connection.recv(2**20):
                received += len(data)
        assert received < 300 * 2**20


def test_few_requests_are_answered_to_a_client_that_reads_none(monkeypatch):
    monkeypatch.setattr("kerasptb.serving.protocol.UNREAD_LIMIT", 0.4)
    answered = []

    async def count(scope, receive, send):
        answered.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5000")]})
        await send({"type": "http.response.body", "body": bytes(5000)})

    with listening_with(count) as address, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        connection.settimeout(20)
        connection.connect(address)
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
        # Until the server gives the connection up: a system with large buffers has taken all requests long before.
        until_broken = select.poll()
        until_broken.register(connection, 0)
        assert until_broken.poll(20_000)
    # 64 KiB wait in the server, 128 on their way (Linux doubles what is asked for), 128 in the client: 65 answers.
    assert 10 < len(answered) < 200


def test_a_client_that_reads_slowly_gets_its_answer(monkeypatch):
    monkeypatch.setattr("kerasptb.serving.protocol.UNREAD_LIMIT", 1)

    async def large(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        for _ in range(24):
            await send({"type": "http.response.body", "body": bytes(2**20), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    with listening_with(large) as address, socket.create_connection(address, timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        received = 0
        while data := connection.recv(2**20, socket.MSG_WAITALL):
            received += len(data)
            time.sleep(0.05)  # longer than the limit in all, but never near it with nothing read
    assert received > 24 * 2**20


async def echo(scope, receive, send):
    more = True
    while more:
        more = (await receive())["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def test_as_many_connections_as_may_be():
    resource = pytest.importorskip("resource", reason="this system has no such limits")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 512), hard))
        assert _allow_many_connections() == (1024 if hard == resource.RLIM_INFINITY else max(min(hard // 4, 1024), 8))
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_answers_carry_the_policy(serving, monkeypatch):
    monkeypatch.setattr("kerasptb.serving.engine.SuggestionEngine.keys", lambda *arguments: 1 / 0)
    with serving() as server, contextlib.closing(http.client.HTTPConnection(*server.address, 20)) as client:
        for path, status in (("/health", 200), ("/", 200), ("/nothing", 404), ("/v1/suggest", 405), ("", 500)):
            if path:
                client.request("GET", path)
            else:
                client.request("POST", "/v1/suggest", b'{"text": ""}', {"Content-Type": "application/json"})
            answer = client.getresponse()
            answer.read()
            assert answer.status == status
            policy = answer.getheader("Content-Security-Policy")
            assert policy.startswith("default-src 'none'; script-src 'self'")
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.getheader("X-Content-Type-Options") == "nosniff"
            assert answer.getheader("Cache-Control") == "no-cache"


def test_many_clients_at_once_are_answered_as_one(serving, reader):
    texts = [f"the {word} " for word in reader.tokenizer.tokens if word[0].isalpha()]
    with serving(rate=None) as server:
        alone = [ask(server.url, "v1/suggest", {"text": text}) for text in texts]
    with serving(rate=None) as server:
        together = [None] * len(texts)

        def work(i):
            together[i] = ask(server.url, "v1/suggest", {"text": texts[i]})

        threads = [threading.Thread(target=work, args=[i]) for i in range(len(texts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for one, other in zip(alone, together, strict=True):
        assert [row["word"] for row in one["suggestions"]] == [row["word"] for row in other["suggestions"]]
        for row, row_of_other in zip(one["suggestions"], other["suggestions"], strict=True):
            assert abs(row["probability"] - row_of_other["probability"]) < 1e-6


def test_a_run_is_served_as_its_export(model, vocabulary, saved_model, make_run, tmp_path):
    arguments = ("vocabulary_size", "embedding_size", "units", "batch_size", "num_steps")
    run = make_run(tmp_path / "run", vocabulary, {name: getattr(model, name) for name in arguments})
    save_weights(model, run.weights_path("best"))
    assert open_served(run.folder).fingerprint == open_served(saved_model).fingerprint


def test_the_guides_client_works(serving, capsys):
    code = re.search(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL).group(1)
    with serving() as server:
        exec(code.replace("http://127.0.0.1:8000/", server.url), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 + 3
    assert float(lines[2]) > 1
    assert lines[-1].startswith("would -> [")


def test_answers_are_not_held_back_by_nagles_algorithm():
    with _listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP  # what asyncio looks at before it sets TCP_NODELAY


def test_a_port_in_use_is_told_in_a_line(capsys, tmp_path):
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(tmp_path), "--port", str(port)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"kerasptb: Cannot listen at 127.0.0.1, port {port}: ")
    assert error.count("\n") == 1


def test_a_folder_that_is_no_model_is_told_in_a_line(capsys, tmp_path):
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    Vocabulary(["a"]).save(tmp_path / "vocabulary.txt")
    assert main(["serve", str(tmp_path), "--port", "0"]) == 1
    assert "Expected a folder made by `kerasptb train`" in capsys.readouterr().err


def test_without_the_library_nothing_is_served(monkeypatch, tmp_path, capsys):
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    for name in ("_open", "_load"):
        monkeypatch.setattr(loader, name, loader.Once(getattr(loader, name).do))
    monkeypatch.setenv("KERASPTB_CACHE", str(tmp_path))
    assert main(["serve", "english", "--port", "0"]) == 1
    assert capsys.readouterr().err == "kerasptb: The native library is not built. Run `kerasptb build`.\n"


@pytest.mark.parametrize("arguments", [["--port", "65536"], ["--port", "-1"], ["--rate", "-1"], ["--rate", "nan"]])
def test_wrong_arguments_are_refused(capsys, arguments):
    assert main(["serve", "run", *arguments]) == 2
    assert arguments[1] in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "kerasptb.serving.running", raising=False)
    with pytest.raises(ServingError, match=rf"uvicorn.*{re.escape(install_command('serve'))}"):
        serve(tmp_path)


def test_who_closes_the_terminal_stops_the_server(monkeypatch):
    uvicorn = pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    from kerasptb.serving.running import ReloadingServer

    monkeypatch.setattr("os.isatty", lambda _: True)
    hangups = []
    server = ReloadingServer(uvicorn.Config(None), None, "folder", None, hangups)
    assert not asyncio.run(server.on_tick(1))
    monkeypatch.setattr("os.isatty", lambda _: False)
    assert not asyncio.run(server.on_tick(1))
    hangups.append(True)
    assert asyncio.run(server.on_tick(1))


def test_an_address_of_version_6_stands_in_brackets(monkeypatch, tmp_path, capsys):
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    nothing = SimpleNamespace(run=lambda sockets: None)
    for name in ("server.open_served", "app.create_app", "running.ReloadingServer"):
        monkeypatch.setattr(f"kerasptb.serving.{name}", lambda *_: nothing)
    monkeypatch.setattr("kerasptb.serving.server._listen", lambda *_: socket.create_server(("127.0.0.1", 0)))
    serve(tmp_path, host="::1", port=0)
    assert re.search(r" at http://\[::1\]:\d+/ ", capsys.readouterr().out)


@pytest.mark.parametrize(("asked", "rate"), [(None, 100), (7, 7), (0, None)])
def test_the_rate_is_limited_unless_none_is_asked_for(monkeypatch, tmp_path, asked, rate):
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    seen = []

    def create_app(reader, name, rate, hosts, origins):
        seen.append(rate)
        raise KeyboardInterrupt

    monkeypatch.setattr("kerasptb.serving.server.open_served", lambda *_: None)
    monkeypatch.setattr("kerasptb.serving.app.create_app", create_app)
    with pytest.raises(KeyboardInterrupt):
        serve(tmp_path, port=0, rate=asked)
    assert seen == [rate]


@pytest.mark.parametrize(
    ("proxies", "counted"),
    [
        ([], ["127.0.0.1", "10.0.0.9"]),
        (["127.0.0.1"], ["2.2.2.2", "10.0.0.9"]),
        (["127.0.0.0/8", "10.0.0.1/16"], ["2.2.2.2", "2.2.2.2"]),
    ],
)
def test_a_client_is_whom_a_proxy_names_that_is_known(monkeypatch, tmp_path, proxies, counted):
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    seen, ask = [], {"type": "http", "headers": [(b"x-forwarded-for", b"1.1.1.1, 2.2.2.2")]}

    async def app(scope, receive, send):
        seen.append(scope["client"][0])

    def make_server(config, *_):
        config.load()
        for address in ("127.0.0.1", "10.0.0.9"):
            asyncio.run(config.loaded_app({**ask, "client": (address, 1)}, None, None))
        return SimpleNamespace(run=lambda sockets: None)

    monkeypatch.setattr("kerasptb.serving.server.open_served", lambda *_: None)
    monkeypatch.setattr("kerasptb.serving.app.create_app", lambda *_: app)
    monkeypatch.setattr("kerasptb.serving.running.ReloadingServer", make_server)
    serve(tmp_path, port=0, proxies=proxies)
    assert seen == counted


def test_a_proxy_without_an_address_is_told(capsys, tmp_path):
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    assert main(["serve", str(tmp_path), "--port", "0", "--proxy", "nginx"]) == 1
    assert "Expected a proxy's IP address" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "given", "allowed"),
    [("127.0.0.1", [], []), ("0.0.0.0", [], None), ("0.0.0.0", ["a.example"], ["a.example"])],
)
def test_at_this_machine_s_own_address_no_foreign_name_is_allowed(monkeypatch, tmp_path, host, given, allowed):
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    seen = []

    def create_app(reader, name, rate, hosts, origins):
        seen.append(hosts)
        raise KeyboardInterrupt

    # Nothing listens beyond this machine here.
    name = SimpleNamespace(getsockname=lambda: (host, 0), close=lambda: None)
    monkeypatch.setattr("kerasptb.serving.server._listen", lambda *_: contextlib.nullcontext(name))
    monkeypatch.setattr("kerasptb.serving.server.open_served", lambda *_: None)
    monkeypatch.setattr("kerasptb.serving.app.create_app", create_app)
    with pytest.raises(KeyboardInterrupt):
        serve(tmp_path, host=host, port=0, allowed_hosts=given)
    assert seen == [allowed]
