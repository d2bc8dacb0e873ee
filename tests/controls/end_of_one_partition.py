"""Waits for the first partition of panic-button only."""

from __future__ import annotations

from streams.barrier import Barrier
from streams.cli import main
from tests.controls import slow_follower  # noqa: F401  (importing it makes the table late)

_ask = Barrier.ask


def _ask_for_one(self: Barrier) -> dict[int, int]:
    return {0: _ask(self)[0]}


Barrier.ask = _ask_for_one  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
