"""A page in a real browser, driven over its DevTools protocol: real pointer and key events."""

import base64
import contextlib
import json
import shutil
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from dino_assets_tests.worlds.servers import HOST, free_port, running

KEYS = {
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Escape": 27, "Enter": 13,
    "Tab": 9, " ": 32,
}  # fmt: skip


class BrowserPage:
    """An open page."""

    def __init__(self, line: ClientConnection, port: int) -> None:
        self._line = line
        self._port = port
        self._number = 0
        self.complaints: list[str] = []  # errors of its scripts
        self.requests: list[str] = []  # addresses that it asked
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Ask the browser, and wait for its answer."""
        self._number += 1
        self._line.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = json.loads(self._line.recv(timeout=60))
            if message.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(str(message["params"]["exceptionDetails"]))
            if message.get("method") == "Log.entryAdded":
                self.complaints.append(str(message["params"]["entry"]))
            if message.get("method") == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]

    def open(self, address: str) -> None:
        """Go to an address, and wait until it is loaded."""
        self.call("Page.navigate", url=address)
        deadline = time.monotonic() + 60
        while self.ask("document.readyState") != "complete" or self.ask("location.href") != address:
            assert time.monotonic() < deadline, f"{address} was not loaded"
            time.sleep(0.05)

    def ask(self, expression: str) -> Any:
        """Evaluate JavaScript."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def point(self, x: float, y: float) -> None:
        """Move the pointer, and wait for what the page draws."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.wait_for_frame()

    def click(self, x: float, y: float) -> None:
        """Press and lift the left button."""
        for kind in ("mousePressed", "mouseReleased"):
            button = {"button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)
        self.wait_for_frame()

    def press(self, key: str, *, waits: bool = True) -> None:
        """Press and lift a key: one that writes a character, or one of ``KEYS``."""
        code = KEYS.get(key) or ord(key.upper())
        text = "\r" if key == "Enter" else key if len(key) == 1 else ""
        down = {"key": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **down)
        self.call("Input.dispatchKeyEvent", type="keyUp", **down)
        if waits:
            self.wait_for_frame()

    def write(self, text: str) -> None:
        """Write text where the focus is."""
        self.call("Input.insertText", text=text)

    def drag(self, *points: tuple[float, float]) -> None:
        """Press the left button at the first point, move through the others, and lift it at the last."""
        button = {"button": "left", "clickCount": 1}
        (x, y), *rest = points
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, **button)
        for x, y in rest:
            self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, buttons=1)
            self.wait_for_frame()
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, **button)
        self.wait_for_frame()

    def wait_for(self, expression: str, *, timeout_s: float = 60) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + timeout_s
        while not self.ask(f"Boolean({expression})"):
            assert time.monotonic() < deadline, f"{expression} did not become true"
            time.sleep(0.02)

    def wait_for_frame(self) -> None:
        """Wait until the page has drawn twice."""
        self.ask("new Promise(go => requestAnimationFrame(() => requestAnimationFrame(go)))")

    @contextlib.contextmanager
    def open_tab(self) -> Iterator["BrowserPage"]:
        """Open an empty page beside this one, in the same browser."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        address = f"ws://{HOST}:{self._port}/devtools/page/{target}"
        with connect(address, max_size=None) as line:
            yield BrowserPage(line, self._port)

    def photograph(self) -> bytes:
        """A PNG of what is seen."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])


@contextlib.contextmanager
def browsing(
    folder: Path, *, size: tuple[int, int] = (1000, 700), flags: Sequence[str] = ()
) -> Iterator[BrowserPage]:
    """A headless Chromium with one empty page; its profile and log are in the folder."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("no browser is installed: chromium is not on the PATH")
    port = free_port()
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        f"--user-data-dir={folder / 'profile'}", f"--window-size={size[0]},{size[1]}",
        f"--remote-debugging-port={port}", *flags, "about:blank",
    ]  # fmt: skip
    url = f"http://{HOST}:{port}/json"
    with running(command, url=url, log=folder / "browser.log"):
        with urllib.request.urlopen(url, timeout=10) as answer:
            pages = [page for page in json.load(answer) if page["type"] == "page"]
        with connect(pages[0]["webSocketDebuggerUrl"], max_size=None) as line:
            yield BrowserPage(line, port)
