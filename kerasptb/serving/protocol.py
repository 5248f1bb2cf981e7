"""uvicorn's HTTP protocol, in which no client keeps a connection that it does not use, or more than its share of them.

uvicorn's only time limit begins with an answer and ends with the next byte. A client that sends no whole request, reads
no answer, or goes on with a body that was refused would keep its connection open, until the process may open no more.
Its `limit_concurrency` counts the connections of all clients together, and only once they have sent a request.
"""

import asyncio
import collections
import socket
from typing import Any, ClassVar, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# Seconds for which a client may leave an answer unread while the connection's buffer is full, or is being closed.
UNREAD_LIMIT = 10
# Seconds for which the rest of a body is thrown away that was refused.
LINGER_LIMIT = 2
# Bytes that the system may hold of answers on their way. Linux would let it grow to megabytes: a client that sends
# requests and reads nothing would have thousands of them computed.
SEND_BUFFER = 2**16

_TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n"


class BoundedProtocol(H11Protocol):
    """The protocol of one connection; an address may have `max_connections`, further ones are refused with 503."""

    max_connections = 1024
    _open: ClassVar[collections.Counter[str]] = collections.Counter()  # connections by address

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Starts the time for a request, or refuses the connection."""
        super().connection_made(transport)
        self.transport = cast(asyncio.Transport, _Transport(transport, self))  # which uvicorn closes
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._is_half_closed = False
        self._unread: asyncio.TimerHandle | None = None
        self._address = (self.client or ("",))[0]
        self._open[self._address] += 1
        self._expect_request()
        if self._open[self._address] > self.max_connections:
            transport.write(_TOO_MANY)
            self.transport.close()
            self._wait_for_reader(True)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._open[self._address] -= 1
        if not self._open[self._address]:
            del self._open[self._address]
        self._wait_for_reader(False)
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes what the client sends; the time for a request goes on until all headers have come."""
        if self.transport.is_closing():
            return
        # uvicorn would cancel the time limit at the first byte.
        limit, self.timeout_keep_alive_task = self.timeout_keep_alive_task, None
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE or self.timeout_keep_alive_task is not None:
            if limit is not None:
                limit.cancel()
        elif limit is not None:
            self.timeout_keep_alive_task = limit
        else:
            self._expect_request()

    def eof_received(self) -> bool:  # type: ignore[override]  # of asyncio, which closes a connection for False
        """Keeps the connection of a client that has sent its whole request, until it has its answer."""
        self._is_half_closed = True
        is_waiting = self.cycle is not None and not self.cycle.response_complete
        return is_waiting and self.conn.their_state in (h11.DONE, h11.MUST_CLOSE)

    def on_response_complete(self) -> None:
        """Ends the connection if its client sends nothing more, or more of what is not wanted."""
        super().on_response_complete()
        # If it is not complete any more, there was a further request in the pipeline.
        is_last = self.cycle.response_complete and (self._is_half_closed or self.is_unread)
        if is_last and not self.transport.is_closing():
            self.transport.close()
        if self.transport.is_closing():
            self._wait_for_reader(True)

    @property
    def is_unread(self) -> bool:
        """Whether the client has not sent its whole request, as far as it was read."""
        return self.conn.their_state is h11.SEND_BODY

    def timeout_keep_alive_handler(self) -> None:
        """Closes a connection without a request."""
        super().timeout_keep_alive_handler()
        self._wait_for_reader(True)

    def pause_writing(self) -> None:
        """Begins to wait for a client that does not read."""
        super().pause_writing()
        self._wait_for_reader(True)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._wait_for_reader(self.transport.is_closing())

    def _wait_for_reader(self, waits: bool) -> None:
        if self._unread is not None:
            self._unread.cancel()
        self._unread = self.loop.call_later(UNREAD_LIMIT, self.transport.abort) if waits else None

    def _expect_request(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)


class _Transport:
    """A connection's transport. While the client sends a body that was refused, closing it waits.

    If the connection were closed at once, the client's system might throw away the answer.
    """

    def __init__(self, transport: asyncio.Transport, protocol: BoundedProtocol) -> None:
        self._transport, self._protocol = transport, protocol
        self._lingers = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Returns whether nothing more is to be read or written."""
        return self._lingers or self._transport.is_closing()

    def close(self) -> None:
        """Ends the answers at once, and the connection once the client has had time to see it, or if asked again."""
        if self._lingers or not self._protocol.is_unread:
            self._transport.close()
        elif not self._transport.is_closing():
            self._lingers = True
            self._transport.write_eof()
            self._protocol.flow.resume_reading()
            self._protocol.loop.call_later(LINGER_LIMIT, self._transport.close)
