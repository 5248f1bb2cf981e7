"""Firefox without a driver: the few commands of WebDriver BiDi (https://w3c.github.io/webdriver-bidi/) that we need."""

import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")


class Firefox:
    """A window of Firefox, without a screen, in which functions are called.

    Attributes:
        pid: of its first process.
    """

    def __init__(self, socket, pid):
        self._socket, self._numbers, self.pid = socket, itertools.count(1), pid
        self._send("session.new", capabilities={})
        self._context = self._send("browsingContext.getTree")["contexts"][0]["context"]

    def before_each_page(self, function):
        """Has a function, JavaScript, called before the scripts of each page."""
        self._send("script.addPreloadScript", functionDeclaration=function)

    def get(self, url):
        """Opens a page."""
        self._send("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def resize(self, width, height):
        """Makes the window so large."""
        self._send("browsingContext.setViewport", context=self._context, viewport={"width": width, "height": height})

    def call(self, function, *arguments):
        """Returns what a function, JavaScript, returns or promises for arguments; both go through JSON."""
        given = [{"type": "string", "value": json.dumps(argument)} for argument in arguments]
        answer = self._send(
            "script.callFunction",
            functionDeclaration=f"async (...given) => JSON.stringify(await ({function})(...given.map(JSON.parse)))",
            arguments=given,
            awaitPromise=True,
            target={"context": self._context},
        )
        if answer["type"] == "exception":
            raise RuntimeError(answer["exceptionDetails"]["text"])
        return json.loads(answer["result"].get("value", "null"))

    def _send(self, method, **params):
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (answer := json.loads(self._socket.recv())).get("id") != number:
            pass
        if answer["type"] == "error":
            raise RuntimeError(answer["message"])
        return answer["result"]


@contextlib.contextmanager
def firefox():
    """Yields a `Firefox`, which is ended afterwards."""
    import websocket  # noqa: PLC0415  (selenium brings it)

    with tempfile.TemporaryDirectory() as profile:
        command = [FIREFOX, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"]
        with subprocess.Popen([*command, "about:blank"], stderr=subprocess.PIPE, text=True) as process:
            try:
                said = next(line for line in process.stderr if "WebDriver BiDi listening on " in line)
                url = f"{said.split()[-1]}/session"
                with contextlib.closing(websocket.create_connection(url, suppress_origin=True, timeout=120)) as socket:
                    yield Firefox(socket, process.pid)
            finally:
                process.terminate()
