"""Decides with the table as it happens to be, without asking the brokers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.barrier import Barrier
from streams.cli import main
from tests.controls import slow_follower  # noqa: F401  (importing it makes the table late)

if TYPE_CHECKING:
    from collections.abc import Callable


def _wait(self: Barrier, give_up: Callable[[], bool]) -> int | None:
    return None if give_up() else self._clock.now_ms()


Barrier.wait = _wait  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
