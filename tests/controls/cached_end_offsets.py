"""Asks the brokers for the end of panic-button twice a minute and not after each fetch."""

from __future__ import annotations

import time

from streams.barrier import Barrier
from streams.cli import main
from tests.controls import slow_follower  # noqa: F401  (importing it makes the table late)

_ask = Barrier.ask
_SELDOM_SECONDS = 30
_answers: list[tuple[float, dict[int, int]]] = []


def _ask_seldom(self: Barrier) -> dict[int, int]:
    if not _answers or time.monotonic() - _answers[-1][0] > _SELDOM_SECONDS:
        _answers.append((time.monotonic(), _ask(self)))
    return _answers[-1][1]


Barrier.ask = _ask_seldom  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
