"""No safeguard is left out here: the gate whose lifeline waits for an answer until a file appears.

A question put through a consumer waits behind its fetch, for half a second where nothing comes; here it waits as long
as a test wants, and the worker has as long to end.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from streams import app, runtime
from streams.cli import main
from streams.lifeline import Lifeline

ANSWERED = Path(os.environ.get("GATE_DATA_DIR", ".")) / "answered"
LOOK_SECONDS = 0.05
runtime.DRAIN_SECONDS = app.EXIT_SECONDS = 120.0


def _wait(self: Lifeline) -> None:  # noqa: ARG001  (in the place of a method)
    pause = threading.Event()
    while not ANSWERED.exists():
        pause.wait(LOOK_SECONDS)


Lifeline.look = _wait  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
