"""uvicorn as it runs the application: its settings, and what it does when it is told to stop or to load anew."""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from socket import socket

import uvicorn
from fastapi import FastAPI

from kerasptb.reading import Reader
from kerasptb.serving.app import replace_model
from kerasptb.serving.protocol import BoundedProtocol

logger = logging.getLogger(__name__)

# The page loads nothing from other servers, has no inline script or style, and may not be framed.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # The browser asks each time whether a file has changed, so that page and server have the same version.
    "Cache-Control": "no-cache",
}


def config_of(app: FastAPI, proxies: Sequence[str] = ()) -> uvicorn.Config:
    """Returns uvicorn's settings for an application, with the networks of proxies whose word on the client is taken."""
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",  # what speaks it would take connections from those that are counted
        headers=list(SECURITY_HEADERS.items()),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=5,
        proxy_headers=bool(proxies),  # uvicorn trusts this machine's own by default
        forwarded_allow_ips=list(proxies),
    )


class ReloadingServer(uvicorn.Server):
    """A uvicorn server of a folder's model.

    When it is told to stop, it refuses the requests waiting for the model at once. After a hang-up, an item of
    `hangups`, it opens the folder anew, or stops if its terminal is gone.
    """

    def __init__(
        self, config: uvicorn.Config, app: FastAPI, folder: str, open_folder: Callable[[], Reader], hangups: list[bool]
    ) -> None:
        super().__init__(config)
        self._app, self._folder, self._open_folder, self._hangups = app, folder, open_folder, hangups
        self._has_terminal = os.isatty(0)
        self._loading: asyncio.Task[None] | None = None

    async def on_tick(self, counter: int) -> bool:
        """Looks for a hang-up, and does what uvicorn does ten times a second."""
        if self._hangups and self._has_terminal and not os.isatty(0):
            self.should_exit = True
        elif self._hangups and (self._loading is None or self._loading.done()):
            self._hangups.clear()
            self._loading = asyncio.create_task(self._load_anew())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Ends the server."""
        self._app.state.engine.stop()
        await super().shutdown(sockets)

    async def _load_anew(self) -> None:
        """Has further requests answered by the model that is in the folder now, if that can be opened."""
        try:
            reader = await asyncio.to_thread(self._open_folder)
        except Exception as error:
            logger.warning("%s cannot be served; the model loaded before still is. %s", self._folder, error)
        else:
            replace_model(self._app, reader)
            print(f"Serving {self._folder} as it is now", flush=True)
