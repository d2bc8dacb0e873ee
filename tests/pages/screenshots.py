"""Makes the pictures of docs/images anew: `python -m tests.pages.screenshots`, on a broker and a worker of its own."""

from __future__ import annotations

import argparse
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from streams.console.pages import LIVE, LOOK_UP
from streams.dev_broker import DevBroker
from tests.deployment import Deployment
from tests.pages.browser import ENTER, chromium
from tests.pages.reading import told_stopped
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parents[2] / "docs" / "images"
DESK, PHONE = 900, 360
# Enough for the figures of the live page to move, and little enough for any machine.
REQUESTS_PER_SECOND = 150
TOKEN = "an-example-of-a-token-of-36-letters."  # noqa: S105  (of the pictures alone)


def pictures(folder: Path, scratch: Path, bootstrap: str) -> None:
    """Let a customer press and ask, look them up, and write what is seen."""
    gate = Deployment(bootstrap, "pictures", scratch, 6, {"GATE_CONSOLE": "1"})
    gate.create_topics()
    token = scratch / "token"
    token.write_text(TOKEN)
    worker = gate.worker().wait_ready()
    try:
        with _customers(gate), chromium(scratch / "profile") as browser:
            here = f"http://127.0.0.1:{worker.port}"
            wait_for(lambda: told_stopped(worker, "acc-42").startswith("3,"), "stopped requests to be counted")
            for name, account_id, width, dark in (
                ("console-frozen", "acc-42", DESK, False),
                ("console-frozen-phone", "acc-42", PHONE, True),
                ("console-not-frozen", "acc-7", DESK, False),
            ):
                browser.look(width=width, height=640, dark=dark)
                browser.go(here + LOOK_UP)
                wait_for(lambda: browser.focused() == "account", "the form")
                browser.keys(account_id, ENTER)
                wait_for(lambda: browser.focused() == "verdict", "the answer")
                browser.picture(folder / f"{name}.png")
            for name, width, dark in (("console-live", DESK, True), ("console-live-phone", PHONE, False)):
                browser.look(width=width, height=640, dark=dark)
                browser.go(here + LIVE)
                wait_for(lambda: browser.text("#rate") not in {"-", "0"}, "a rate")
                browser.picture(folder / f"{name}.png")
            guarded = gate.worker(GATE_CONSOLE_TOKEN_FILE=str(token)).wait_ready()
            browser.look(width=DESK, height=640, dark=False)
            browser.go(f"http://127.0.0.1:{guarded.port}{LOOK_UP}")
            browser.picture(folder / "console-sign-in.png")
    finally:
        gate.stop()


@contextmanager
def _customers(gate: Deployment) -> Iterator[None]:
    """Keep withdrawals coming; one customer has pressed, and somebody asks in their name."""
    done = threading.Event()

    def ask() -> None:
        with gate.publisher() as client:
            client.press("acc-42", 259_200, press_id="app-2f7c1b")
            for number in range(12):
                client.press(f"acc-{100 + number}", 86_400)
            for _ in range(3):
                client.request("acc-42")
            number = 0
            while not done.wait(1 / REQUESTS_PER_SECOND):
                number += 1
                client.request(f"acc-{1_000 + number % 500}")

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        done.set()
        asking.join()


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to, docs/images by default")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, DevBroker(Path(scratch) / "kafka") as broker:
        (Path(scratch) / "gate").mkdir()
        pictures(folder, Path(scratch) / "gate", broker.bootstrap)


if __name__ == "__main__":
    main()
