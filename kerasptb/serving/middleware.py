"""ASGI middleware: limits on body size and request rate, and cancellation when the client has gone."""

import asyncio
import collections
import ipaddress
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# An IPv6 address without brackets has no port.
_HOST = re.compile(r"\[([0-9a-f:.]*)\](?::[0-9]*)?|([^:\[\]]*?)\.?(?::[0-9]*)?|([0-9a-f:.]*)")


def _name(host: str) -> str:
    """Returns the name or address of a host that may have a port; "" for what is no host."""
    found = _HOST.fullmatch(host.lower())
    return found[found.lastindex or 0] if found else ""


class AllowedHosts:
    """ASGI middleware that refuses requests that ask for the server by another name, with 421.

    A page of another site can make its own name lead to this machine ("DNS rebinding"). The browser then takes this
    server for that site, and lets the page read its answers. The header Host still has the site's name. "localhost" and
    loopback addresses are always allowed: Starlette's `TrustedHostMiddleware` has a list of names, but not of these.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = {"localhost", *map(_name, hosts)} - {""}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        host = dict(scope.get("headers", ())).get(b"host")
        refused = host is not None and not self._allows(_name(host.decode("latin-1")))
        app = problem(421, "This server is not asked for by that name; see --allow-host.") if refused else self._app
        await app(scope, receive, send)

    def _allows(self, name: str) -> bool:
        if name in self._hosts:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False


# The rest of the body still comes, and the next request would lie behind it.
_CLOSE = {"Connection": "close"}


class BodyLimit:
    """ASGI middleware that refuses too large bodies with 413, with or without a Content-Length, and slow ones with 408.

    A body with two lengths is refused with 400, and the connection closed: what takes the other for its end would see
    another request behind it (RFC 9112, 6.3). Bodies that never end would keep their connections open, until the
    process may open no more. What is within has the whole body of a request that it refuses, so that the next one on
    the connection can be read. uvicorn has no such limits, and Starlette's `RequestBodyLimitMiddleware` has none of
    time, nor a size that changes with the model.
    """

    def __init__(self, app: ASGIApp, max_bytes: Callable[[], int], max_seconds: float = 30.0) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}:
            refusal = problem(400, "Expected a Content-Length or a Transfer-Encoding. Received both.", _CLOSE)
            await refusal(scope, receive, send)
            return
        # The body is read before the application is called, so that a refusal is the only answer.
        app, limit = self._app, self._max_bytes()
        body, announced, more = bytearray(), _content_length(scope), True
        try:
            async with asyncio.timeout(self._max_seconds):
                while more and max(len(body), announced) <= limit:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
        except TimeoutError:
            app = problem(408, f"Expected the whole body within {self._max_seconds:g} seconds.", _CLOSE)
        except asyncio.CancelledError:  # the server stops before the whole body has arrived
            app = problem(503, "The server is stopping. Try again later.", _CLOSE)
        else:
            if max(len(body), announced) > limit:
                app = problem(413, f"Expected a body of at most {limit:,} bytes. Received more.", _CLOSE)
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def receive_again() -> Message:
            return whole.pop() if whole else await receive()

        await app(scope, receive_again, send)


class CancelOnDisconnect:
    """ASGI middleware that cancels the work for a request when its client has gone.

    uvicorn tells an application that waits for a message, but lets its work go on; Starlette ends answers in parts
    alone.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        messages: asyncio.Queue[Message] = asyncio.Queue()

        async def work() -> None:
            await self._app(scope, messages.get, send)

        async def pass_on() -> None:
            # Only a pending `receive` reports that the client has gone.
            try:
                while (message := await receive())["type"] != "http.disconnect":
                    messages.put_nowait(message)
                messages.put_nowait(message)
            finally:
                working.cancel()

        working, passing_on = asyncio.create_task(work()), asyncio.create_task(pass_on())
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            if not passing_on.done():  # the client is still there: the server cancels this task
                working.cancel()
                raise
        finally:
            passing_on.cancel()


class RateLimit:
    """ASGI middleware that limits the API requests a second from each client address; it refuses others with 429.

    A client that was quiet may make twice as many at once (a token bucket). Of the addresses that are remembered the
    one that was quiet longest is forgotten first. uvicorn's `limit_concurrency` counts all clients together, and
    Starlette none.
    """

    def __init__(
        self, app: ASGIApp, rate: float, max_clients: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._rate = rate
        self._burst = max(2 * rate, 1)
        self._max_clients = max_clients
        self._clock = clock
        # Of each address the requests that it may make, and when that was counted.
        self._clients: collections.OrderedDict[str, tuple[float, float]] = collections.OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        app = self._app
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            wait = self._take_token((scope.get("client") or ("",))[0])
            if wait > 0:
                reason = f"More than {self._rate:g} requests a second came from this address. Wait {wait:.1f} s."
                app = problem(429, reason, {"Retry-After": str(math.ceil(wait))})
        await app(scope, receive, send)

    def _take_token(self, client: str) -> float:
        """Counts a request; returns 0, or the seconds until the client may make one."""
        now = self._clock()
        left, last = self._clients.pop(client, (self._burst, now))
        left = min(left + (now - last) * self._rate, self._burst)
        allowed = left >= 1
        self._clients[client] = (left - allowed, now)
        if len(self._clients) > self._max_clients:
            self._clients.popitem(last=False)
        return 0 if allowed else (1 - left) / self._rate


def problem(status: int, reason: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Returns a complete error answer, with a sentence that says what was wrong."""
    # The name of an unknown field may contain lone surrogates, which UTF-8 cannot encode.
    return JSONResponse({"error": reason.encode("utf-8", "replace").decode()}, status, headers)


def _content_length(scope: Scope) -> int:
    size = dict(scope["headers"]).get(b"content-length", b"0")
    return int(size) if size.isdigit() else 0
