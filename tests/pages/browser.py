"""A headless Chromium that is driven as a person would: keys, a window of some size, light or dark (W3C WebDriver)."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from base64 import b64decode
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.processes import free_port, wait_for
from tests.tools import tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANSWER_SECONDS = 60
# Keys that are no characters, as WebDriver numbers them.
TAB, ENTER, SHIFT = "\ue004", "\ue007", "\ue008"


class Browser:
    """A window."""

    def __init__(self, address: str, folder: Path) -> None:
        """Open it through a chromedriver that listens at `address`; its profile lies in `folder`."""
        self._address = address
        options = {
            "binary": tool("chromium"),
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--lang=en", f"--user-data-dir={folder}"],
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        opened = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{opened['sessionId']}"
        self.look(width=1280, height=900, dark=False)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401  (any JSON)
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._address + path, data, headers, method=method)  # noqa: S310  (loopback)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310  (loopback)
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from None

    def _developer(self, command: str, **parameters: Any) -> Any:  # noqa: ANN401  (any JSON)
        return self._call("POST", self._session + "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def close(self) -> None:
        """End the browser."""
        self._call("DELETE", self._session)

    def go(self, url: str) -> None:
        """Open a page and wait until it has loaded."""
        self._call("POST", self._session + "/url", {"url": url})

    def run(self, script: str) -> Any:  # noqa: ANN401  (any JSON)
        """Evaluate JavaScript in the page and return its value; the page's own policy does not bind it."""
        return self._call("POST", self._session + "/execute/sync", {"script": f"return {script}", "args": []})

    def text(self, selector: str = "body") -> str:
        """Return what can be read there, empty when there is no such element."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def wait_text(self, part: str, selector: str = "body") -> str:
        """Wait until that can be read there, and return all that can."""
        wait_for(lambda: part in self.text(selector), f"{part!r} on the page")
        return self.text(selector)

    def focused(self) -> str:
        """Return what a person would call the element that has the focus: its id, or its text."""
        return str(self.run("document.activeElement.id || document.activeElement.textContent.trim()"))

    def keys(self, *strokes: str) -> None:
        """Press keys one after the other; whatever has the focus gets them. Text is typed, a tuple would be held."""
        actions = [
            {"type": kind, "value": character}
            for stroke in strokes
            for character in stroke
            for kind in ("keyDown", "keyUp")
        ]
        keyboard = {"type": "key", "id": "keyboard", "actions": actions}
        self._call("POST", self._session + "/actions", {"actions": [keyboard]})

    def look(self, *, width: int, height: int, dark: bool) -> None:
        """Take on a size and a scheme."""
        self._developer(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._developer("Emulation.setEmulatedMedia", features=[scheme])
        self._size = width, dark

    def picture(self, path: Path) -> None:
        """Write the whole page as a PNG, however long it is."""
        self._developer("Emulation.setScrollbarsHidden", hidden=True)
        width, dark = self._size
        self.look(width=width, height=1, dark=dark)
        self.look(width=width, height=int(self.run("document.documentElement.scrollHeight")), dark=dark)
        path.write_bytes(b64decode(self._call("GET", self._session + "/screenshot")))

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return int(self.run("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def complaints(self) -> list[str]:
        """Return what the console has said since the last call: what the policy refused, and what went wrong."""
        said = self._call("POST", self._session + "/se/log", {"type": "browser"})
        return [entry["message"] for entry in said if entry["level"] in {"WARNING", "SEVERE"}]


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Open a browser, and close it."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    driver = subprocess.Popen(
        [tool("chromedriver"), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: _answers(address), "chromedriver to answer")
        browser = Browser(address, folder)
        try:
            yield browser
        finally:
            browser.close()
    finally:
        driver.terminate()
        driver.wait(10)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address + "/status", timeout=5) as answer:  # noqa: S310  (loopback)
            return bool(json.load(answer)["value"]["ready"])
    except OSError:
        return False
