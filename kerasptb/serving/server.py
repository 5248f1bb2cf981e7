"""From a run folder to a running server."""

import contextlib
import functools
import ipaddress
import os
import signal
import socket
from collections.abc import Collection, Iterator
from pathlib import Path

from kerasptb.native import loader
from kerasptb.reading import Reader
from kerasptb.runs.damage import RunError
from kerasptb.runs.files import ENGLISH
from kerasptb.runs.folder import is_in_the_package
from kerasptb.runs.reader import load_reader
from kerasptb.serving.errors import ServingError
from kerasptb.utils.errors import ExportError
from kerasptb.utils.extras import install_command
from kerasptb.utils.files import readable
from kerasptb.utils.status_line import Watching, at_work


def open_served(folder: str | os.PathLike[str], counts: bool = True) -> Reader:
    """Returns the `Reader` of a run folder, "english", a `.keras` file or a SavedModel; ServingError for others.

    With `counts` that of a run has the counts of its training text, if there are some. Raises NativeUnavailableError
    where there is no library to find words.
    """
    loader.core()
    try:
        # In float32, whatever the training ran in: few rows are read at a time, for which that takes no longer.
        return load_reader(folder, counts, precision="float32")
    except (ExportError, RunError) as error:
        raise ServingError(str(error)) from None


def serve(
    folder: str | os.PathLike[str],
    host: str = "127.0.0.1",
    port: int = 8000,
    rate: float | None = None,
    allowed_hosts: Collection[str] = (),
    proxies: Collection[str] = (),
    counts: bool = True,
    allowed_origins: Collection[str] = (),
) -> None:
    """Serves a model's keyboard page and API until it is interrupted.

    At the signal SIGHUP it loads the folder anew. Requests that have begun are answered by the model before, and if the
    folder cannot be loaded, so are all further ones.

    Args:
        folder: a run folder, "english", or a SavedModel that `kerasptb export` wrote.
        host: address or name to listen at. The default is reached from this machine alone.
        port: TCP port; 0 takes a free one.
        rate: requests a second that one address may make, 0 for any number; `None` for the default of 100.
        allowed_hosts: names by which requests may ask for the server, besides this machine's own ("localhost"). At
            this machine's own address no others are allowed, so that no page of another site reaches the server by a
            name that it has made lead here; elsewhere any name is, unless there are some here.
        proxies: addresses of proxies, or networks ("10.0.0.0/8"). For what comes from there the client counts whom
            `X-Forwarded-For` names; any other client could name whom it likes.
        counts: whether the counts of a run's training text refine what the network says.
        allowed_origins: sites whose pages may ask the server, such as "https://example.org"; browsers let no others
            read its answers, but for its own page.

    Raises:
        ServingError: if the extra `serve` is not installed, the folder holds no model, or a proxy is no address.
        NativeUnavailableError: without the native library.
        OSError: if the address cannot be listened at.
    """
    try:
        import threadpoolctl  # noqa: PLC0415

        from kerasptb.serving.app import DEFAULT_RATE, create_app  # noqa: PLC0415
        from kerasptb.serving.protocol import BoundedProtocol  # noqa: PLC0415
        from kerasptb.serving.running import ReloadingServer, config_of  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ServingError(f"Serving needs the extra serve ({error.name}): {install_command('serve')}") from None
    # NumPy's threads wait for each other in loops: beside other work a product of a few rows takes ten times as long.
    threadpoolctl.threadpool_limits(1, user_api="blas")
    trusted = [_network(proxy) for proxy in proxies]
    open_folder = functools.partial(open_served, folder, counts)
    # The port is opened before the model is loaded, so that a port in use is reported at once.
    with _listen(host, port) as listening, _hangups() as hangups:
        rate = DEFAULT_RATE if rate is None else rate or None
        is_own = ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback
        name = ENGLISH if is_in_the_package(folder) else readable(Path(folder).resolve().name)
        with Watching(), at_work(f"Loading {folder}"):
            model = open_folder()
        app = create_app(model, name, rate, allowed_hosts if is_own or allowed_hosts else None, allowed_origins)
        server = ReloadingServer(config_of(app, trusted), app, str(folder), open_folder, hangups)
        BoundedProtocol.max_connections = _allow_many_connections()
        address = f"[{host}]" if ":" in host else host
        print(f"Serving {folder} at http://{address}:{listening.getsockname()[1]}/  (Ctrl-C stops)", flush=True)
        try:
            server.run(sockets=[listening])
        except KeyboardInterrupt:
            # Ctrl-C is how the server is stopped; uvicorn raises this again after closing everything.
            print("Stopped.")


def _network(proxy: str) -> str:
    """Returns the network of a proxy's address as uvicorn takes it, which says nothing of one that it cannot read."""
    try:
        return str(ipaddress.ip_network(proxy, strict=False))
    except ValueError:
        raise ServingError(
            f"Expected a proxy's IP address, or a network such as 10.0.0.0/8. Received: {proxy}"
        ) from None


def _allow_many_connections() -> int:
    """Raises the process' limit of open files, often 1,024, as far as is allowed.

    Returns how many connections one address may have: a quarter of the files, and as many as a proxy needs at most.
    """
    most = 1024
    try:
        import resource  # noqa: PLC0415  (Windows has none)
    except ImportError:
        return most
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return most if files == resource.RLIM_INFINITY else max(min(files // 4, most), 8)


@contextlib.contextmanager
def _hangups() -> Iterator[list[bool]]:
    """Gives a list to which each SIGHUP adds an item, while the body runs."""
    hangups: list[bool] = []
    try:
        before = signal.signal(signal.SIGHUP, lambda *_: hangups.append(True))
    except (AttributeError, ValueError):  # on Windows, which has none, or in a thread
        yield hangups
        return
    try:
        yield hangups
    finally:
        signal.signal(signal.SIGHUP, before)


def _listen(host: str, port: int) -> socket.socket:
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
