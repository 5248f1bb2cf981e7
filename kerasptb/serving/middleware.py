"""ASGI middleware: limits on body size and request rate, cancellation when the client has gone, and headers."""

import asyncio
import collections
import ipaddress
import json
import math
import re
import time

# The page loads nothing from other servers, has no inline script or style, and may not be framed.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # The browser asks each time whether a file has changed, so that page and server have the same version.
    "Cache-Control": "no-cache",
}


class SecurityHeaders:
    """ASGI middleware that adds headers to every answer."""

    def __init__(self, app):
        self._app = app
        self._headers = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]

    async def __call__(self, scope, receive, send):
        """Answers a request."""

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *self._headers]}
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


# An IPv6 address without brackets has no port.
_HOST = re.compile(r"\[([0-9a-f:.]*)\](?::[0-9]*)?|([^:\[\]]*?)\.?(?::[0-9]*)?|([0-9a-f:.]*)")


def _name(host):
    """Returns the name or address of a host that may have a port; "" for what is no host."""
    found = _HOST.fullmatch(host.lower())
    return found[found.lastindex] if found else ""


class AllowedHosts:
    """ASGI middleware that refuses requests that ask for the server by another name, with 421.

    A page of another site can make its own name lead to this machine ("DNS rebinding"). The browser then takes this
    server for that site, and lets the page read its answers. The header Host still has the site's name. "localhost" and
    loopback addresses are always allowed: Starlette's `TrustedHostMiddleware` has a list of names, but not of these.
    """

    def __init__(self, app, hosts=()):
        self._app = app
        self._hosts = {"localhost", *map(_name, hosts)} - {""}

    async def __call__(self, scope, receive, send):
        """Answers a request."""
        host = dict(scope.get("headers", ())).get(b"host")
        if host is not None and not self._allows(host.decode("latin-1")):
            await send_problem(send, 421, "This server is not asked for by that name; see --allow-host.")
            return
        await self._app(scope, receive, send)

    def _allows(self, host):
        name = _name(host)
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

    Bodies that never end would keep their connections open, until the process may open no more. What is within has the
    whole body of a request that it refuses, so that the next one on the connection can be read.
    """

    def __init__(self, app, max_bytes, max_seconds=30.0):
        self._app = app
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds

    async def __call__(self, scope, receive, send):
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # The body is read before the application is called, so that a refusal is the only answer.
        messages, size, more = [], 0, True
        limit = self._max_bytes()
        announced = _content_length(scope)
        end = asyncio.get_running_loop().time() + self._max_seconds
        while more and max(size, announced) <= limit:
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError:
                reason = f"Expected the whole body within {self._max_seconds:g} seconds."
                await send_problem(send, 408, reason, _CLOSE)
                return
            except asyncio.CancelledError:  # the server stops before the whole body has arrived
                await send_problem(send, 503, "The server is stopping. Try again later.", _CLOSE)
                return
            if message["type"] == "http.disconnect":
                return
            messages.append(message)
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        if max(size, announced) > limit:
            reason = f"Expected a body of at most {limit:,} bytes. Received more."
            await send_problem(send, 413, reason, _CLOSE)
            return
        messages = iter(messages)

        async def receive_again():
            message = next(messages, None)
            return await receive() if message is None else message

        await self._app(scope, receive_again, send)


class CancelOnDisconnect:
    """ASGI middleware that cancels the work for a request when its client has gone."""

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        messages = asyncio.Queue()

        async def pass_on():
            # Only a pending `receive` reports that the client has gone.
            try:
                while (message := await receive())["type"] != "http.disconnect":
                    messages.put_nowait(message)
                messages.put_nowait(message)
            finally:
                work.cancel()

        work = asyncio.create_task(self._app(scope, messages.get, send))
        passing_on = asyncio.create_task(pass_on())
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            if not passing_on.done():  # the client is still there: the server cancels this task
                work.cancel()
                raise
        finally:
            passing_on.cancel()


class RateLimit:
    """ASGI middleware that limits the API requests a second from each client address; it refuses others with 429.

    A client that was quiet may make twice as many at once (a token bucket). Of the addresses that are remembered the
    one that was quiet longest is forgotten first.
    """

    def __init__(self, app, rate, path="/v1/", max_clients=10_000, clock=time.monotonic):
        self._app = app
        self._rate = rate
        self._burst = max(2 * rate, 1)
        self._path = path
        self._max_clients = max_clients
        self._clock = clock
        self._clients = collections.OrderedDict()

    async def __call__(self, scope, receive, send):
        """Answers a request."""
        if scope["type"] == "http" and scope["path"].startswith(self._path):
            wait = self._take_token((scope.get("client") or ("",))[0])
            if wait > 0:
                reason = f"More than {self._rate:g} requests a second came from this address. Wait {wait:.1f} s."
                await send_problem(send, 429, reason, {"Retry-After": str(math.ceil(wait))})
                return
        await self._app(scope, receive, send)

    def _take_token(self, client):
        """Counts a request; returns 0, or the seconds until the client may make one."""
        now = self._clock()
        left, last = self._clients.pop(client, (self._burst, now))
        left = min(left + (now - last) * self._rate, self._burst)
        allowed = left >= 1
        self._clients[client] = (left - allowed, now)
        if len(self._clients) > self._max_clients:
            self._clients.popitem(last=False)
        return 0 if allowed else (1 - left) / self._rate


async def send_problem(send, status, reason, headers=None):
    """Sends a complete error answer, with a sentence that says what was wrong."""
    body = json.dumps({"error": reason}).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


def _content_length(scope):
    size = dict(scope["headers"]).get(b"content-length", b"0")
    return int(size) if size.isdigit() else 0
