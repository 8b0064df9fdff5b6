"""Headless Chromium for tests, spoken to over its debugging protocol; on this machine only."""

from __future__ import annotations

import base64
import importlib.util
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

needs_browser = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("websockets") is None,
    reason="needs Chromium (Debian: apt-get install chromium) and the package websockets",
)
_START_S, _ANSWER_S = 60, 60


class Page:
    """One tab."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._number = 0
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=_ANSWER_S))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait("document.readyState == 'complete'")

    def js(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = 60) -> Any:
        """Polls until an expression is true and returns its value."""
        end = time.monotonic() + seconds
        while not (value := self.js(expression)):
            assert time.monotonic() < end, f"still not true: {expression}"
            time.sleep(0.2)
        return value

    def point_at(self, selector: str) -> None:
        self.js(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        x, y = self._middle(selector)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str) -> None:
        self.point_at(selector)
        x, y = self._middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def _middle(self, selector: str) -> list[float]:
        return self.js(
            f"(() => {{const r = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]})()"
        )

    def screenshot(self, path: Path) -> None:
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def complaints(self) -> list[str]:
        """Errors that the page logged or threw so far."""
        self.js("0")
        kinds = {"Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"}
        found = [e["params"] for e in self.events if e.get("method") in kinds]
        bad = [p for p in found if "exceptionDetails" in p or p.get("entry", p).get("level", p.get("type")) == "error"]
        return [json.dumps(p)[:500] for p in bad]

    def requests(self) -> list[str]:
        """Addresses that the page asked for so far."""
        return [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]


@contextmanager
def browser(width: int = 1280, height: int = 900) -> Iterator[Page]:
    """A fresh Chromium with one tab, ended afterwards."""
    from websockets.sync.client import connect

    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--remote-debugging-port=0", "--no-first-run"]
        command += [f"--user-data-dir={profile}", f"--window-size={width},{height}", "--hide-scrollbars"]
        command += ["--enable-unsafe-swiftshader", "--use-angle=swiftshader", "--disable-dev-shm-usage", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = _port(Path(profile) / "DevToolsActivePort", process)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=_ANSWER_S) as answer:
                target = next(t for t in json.load(answer) if t["type"] == "page")
            with connect(target["webSocketDebuggerUrl"], max_size=None) as connection:
                yield Page(connection)
        finally:
            process.terminate()
            process.wait()


def _port(path: Path, process: subprocess.Popen[bytes]) -> int:
    end = time.monotonic() + _START_S
    while time.monotonic() < end and process.poll() is None:
        if path.exists() and (text := path.read_text()):
            return int(text.split()[0])
        time.sleep(0.1)
    raise AssertionError("Chromium did not start")
