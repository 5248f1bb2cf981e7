"""From a run folder to a running server."""

import contextlib
import socket
import tempfile
from pathlib import Path

from kerasptb.serving.errors import ServingError


def load_predictor(folder):
    """Returns the `Predictor` of a run or of an exported model.

    Args:
        folder: a run folder, which is exported to a temporary folder, or a SavedModel that `kerasptb export` wrote.

    Raises:
        ServingError: if it is neither.
        RunError: if the run has no weights yet.
    """
    from kerasptb.export import export_saved_model  # noqa: PLC0415  (TensorFlow is slow to import)
    from kerasptb.serving.predictor import Predictor  # noqa: PLC0415

    folder = Path(folder)
    if (folder / "saved_model.pb").exists():
        return Predictor(folder)
    with tempfile.TemporaryDirectory() as temporary:
        return Predictor(export_saved_model(folder, Path(temporary, "model")))


def serve(folder, host="127.0.0.1", port=8000, rate=None):
    """Serves a model's keyboard page and API until it is interrupted.

    Args:
        folder: a run folder or a SavedModel that `kerasptb export` wrote.
        host: address or name to listen at. The default is reached from this machine alone.
        port: TCP port; 0 takes a free one.
        rate: requests a second that one address may make, 0 for any number; `None` for the default of 100.

    Raises:
        ServingError: if the extra `serve` is not installed, or the folder holds no model.
        OSError: if the address cannot be listened at.
    """
    try:
        import uvicorn  # noqa: PLC0415

        from kerasptb.serving.app import DEFAULT_RATE, create_app  # noqa: PLC0415
    except ModuleNotFoundError as error:
        packages = "fastapi uvicorn" if error.name in ("fastapi", "uvicorn") else error.name
        raise ServingError(f"Serving needs the package {error.name}. Install it with: pip install {packages}") from None
    # The port is opened before the model is loaded, so that a port in use is reported at once.
    with _listen(host, port) as listening:
        rate = DEFAULT_RATE if rate is None else rate or None
        app = create_app(load_predictor(folder), rate)
        config = uvicorn.Config(
            app, http=_protocol(), log_level="warning", access_log=False, timeout_graceful_shutdown=5
        )
        _allow_many_connections()
        address = f"[{host}]" if ":" in host else host
        print(f"Serving {folder} at http://{address}:{listening.getsockname()[1]}/  (Ctrl-C stops)", flush=True)
        try:
            _make_server(config, app.state.engine).run(sockets=[listening])
        except KeyboardInterrupt:
            # Ctrl-C is how the server is stopped; uvicorn raises this again after closing everything.
            print("Stopped.")


# Seconds for which a client may leave answers unread while the connection's buffer is full.
_UNREAD_LIMIT = 10


def _protocol():
    """Returns uvicorn's protocol, changed to close connections without a request or with unread answers.

    uvicorn's own time limit begins only with the first answer. Clients that never send a request would keep their
    connections open, until the process may open no more.
    """
    import h11  # noqa: PLC0415  (of uvicorn)
    from uvicorn.protocols.http.h11_impl import H11Protocol  # noqa: PLC0415  (of the extra `serve`)

    class Protocol(H11Protocol):
        def connection_made(self, transport):
            super().connection_made(transport)
            self._expect_request()

        def data_received(self, data):
            # uvicorn would cancel the time limit at the first byte. Here it applies until all headers have come.
            limit, self.timeout_keep_alive_task = self.timeout_keep_alive_task, None
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE or self.timeout_keep_alive_task is not None:
                if limit is not None:
                    limit.cancel()
            elif limit is not None:
                self.timeout_keep_alive_task = limit
            else:
                self._expect_request()

        def pause_writing(self):
            super().pause_writing()
            self._unread = self.loop.call_later(_UNREAD_LIMIT, self.transport.abort)

        def resume_writing(self):
            super().resume_writing()
            self._unread.cancel()

        def _expect_request(self):
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    return Protocol


def _allow_many_connections():
    """Raises the process' limit of open files, often 1,024, to the highest value that is allowed."""
    try:
        import resource  # noqa: PLC0415  (Windows has none)
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _make_server(config, engine):
    """Returns a uvicorn server that, when it is told to stop, refuses the requests waiting for the model at once."""
    import uvicorn  # noqa: PLC0415  (of the extra `serve`)

    class Server(uvicorn.Server):
        async def shutdown(self, sockets=None):
            engine.stop()
            await super().shutdown(sockets)

    return Server(config)


def _listen(host, port):
    """Returns a listening TCP socket."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        # Without the protocol's number asyncio would leave on Nagle's algorithm, which delays many answers by 40 ms.
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(2048)
        except BaseException:
            listening.close()
            raise
        return listening
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"Cannot listen at {host}, port {port}: {reason}") from None
