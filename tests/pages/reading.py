"""Reads a page as a browser's parser does, and as a browser does."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from streams.console.pages import LOOK_UP
from tests.tools import tool

if TYPE_CHECKING:
    from pathlib import Path

    from tests.processes import Worker

# All that a page consists of; nothing here loads, runs, links or sends anything.
TAGS = set(re.findall(r"\w+", """
    html head meta title style body main h1 h2 h3 p ul ol li dl dt dd div table caption thead tbody tr th td code mark
    article figure figcaption svg rect line text
"""))  # fmt: skip
ATTRIBUTES = set(re.findall(r"[\w-]+", """
    lang charset http-equiv content name class scope role aria-label aria-hidden viewbox x y x1 x2 y1 y2 width height
"""))  # fmt: skip
BROWSER_SECONDS = 60
# Turns a line's direction, hides what follows, or stands for nothing that can be seen.
UNSEEN = ("\u202e", "\u2066", "\u200b", "\x00", "\x1b")


class Page(HTMLParser):
    """What a page shows: its text and tags."""

    def __init__(self, html: str) -> None:
        """Parse it."""
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag and its attributes."""
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        """Note text, outside and inside of markup."""
        self.text += data


def harmless_page(html: str) -> Page:
    """Return the page, after seeing that it holds nothing but known tags and attributes, and no unseen character."""
    page = Page(html)
    assert (set(page.tags) - TAGS, page.attributes - ATTRIBUTES) == (set(), set())
    assert not [f"U+{ord(character):04X}" for character in UNSEEN if character in html]
    return page


def complaints(path: Path, folder: Path) -> list[str]:
    """Open a page in Chromium and return what its console says: what the policy refused, and what went wrong."""
    done = subprocess.run(
        [tool("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         f"--user-data-dir={folder}", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=BROWSER_SECONDS, check=True,
    )  # fmt: skip
    assert "<main>" in done.stdout
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def told_stopped(worker: Worker, account_id: str) -> str:
    """Return what the console of a worker tells of the requests of a frozen account that were stopped, "" of others."""
    form = urlencode({"account_id": account_id}).encode()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}{LOOK_UP}", form, timeout=5) as answer:
            text = Page(answer.read().decode()).text
    except OSError:  # not there yet, or 503
        return ""
    return text.partition("Requests stopped")[2].partition("Reminder")[0]
