import contextlib
import socket
import threading
import time

import pytest
from small_readers import counted, japanese, model, saved_model, spelled, subworded, texts, vocabulary

__all__ = ["counted", "japanese", "model", "saved_model", "spelled", "subworded", "texts", "vocabulary"]


class Server:
    """The application on a port of its own, which can be stopped and started again at the same address."""

    def __init__(self, reader, **settings):
        self._reader, self._settings = reader, settings
        self._port = 0

    @property
    def address(self):
        return "127.0.0.1", self._port

    @property
    def url(self):
        return f"http://127.0.0.1:{self._port}/"

    def start(self):
        import uvicorn

        from kerasptb.serving.app import create_app
        from kerasptb.serving.running import config_of

        self._socket = socket.create_server(("127.0.0.1", self._port))
        self._port = self._socket.getsockname()[1]
        app = create_app(self._reader, **self._settings)
        self._server = uvicorn.Server(config_of(app))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self._server.started

    def stop(self):
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()
        assert not self._thread.is_alive()


@pytest.fixture(scope="session")
def reader(model):
    """What `load_saved_model` makes of its export, without writing and reading one: tests/reading compares the two."""
    from kerasptb.reading.reader import open_reader

    return open_reader(model)


@pytest.fixture
def serving(reader):
    """A context manager of a running `Server`, of another reader if one is given."""
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

    @contextlib.contextmanager
    def run(of=reader, **settings):
        server = Server(of, **settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()

    return run
