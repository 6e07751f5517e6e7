"""A page in a real browser, driven over its DevTools protocol: real pointer and key events."""

import base64
import contextlib
import json
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from dino_assets_tests.worlds.servers import HOST, free_port, running

KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Escape": 27}


class BrowserPage:
    """An open page."""

    def __init__(self, line: ClientConnection) -> None:
        self._line = line
        self._number = 0
        self.complaints: list[str] = []  # errors of its scripts
        for domain in ("Page", "Runtime", "Log"):
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

    def press(self, key: str) -> None:
        """Press and lift a key."""
        for kind in ("keyDown", "keyUp"):
            code = KEYS[key]
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)
        self.wait_for_frame()

    def wait_for_frame(self) -> None:
        """Wait until the page has drawn twice."""
        self.ask("new Promise(go => requestAnimationFrame(() => requestAnimationFrame(go)))")

    def photograph(self) -> bytes:
        """A PNG of what is seen."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])


@contextlib.contextmanager
def browsing(folder: Path, *, size: tuple[int, int] = (1000, 700)) -> Iterator[BrowserPage]:
    """A headless Chromium with one empty page; its profile and log are in the folder."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("no browser is installed: chromium is not on the PATH")
    port = free_port()
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        f"--user-data-dir={folder / 'profile'}", f"--window-size={size[0]},{size[1]}",
        f"--remote-debugging-port={port}", "about:blank",
    ]  # fmt: skip
    url = f"http://{HOST}:{port}/json"
    with running(command, url=url, log=folder / "browser.log"):
        with urllib.request.urlopen(url, timeout=10) as answer:
            pages = [page for page in json.load(answer) if page["type"] == "page"]
        with connect(pages[0]["webSocketDebuggerUrl"], max_size=None) as line:
            yield BrowserPage(line)
