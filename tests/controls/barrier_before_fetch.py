"""Asks the brokers for the end of panic-button first and fetches requests then, however long that takes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from streams.barrier import Barrier
from streams.cli import main
from streams.exactly_once import ExactlyOnce
from tests.controls import slow_follower  # noqa: F401  (importing it makes the table late)

if TYPE_CHECKING:
    from streams.exactly_once import Batch

_ask, _fetch = Barrier.ask, ExactlyOnce.fetch
_barriers: list[Barrier] = []
# The answer that the next batch will be decided by; a fetch that brings nothing is the beginning of a longer one.
_answers: list[dict[int, int]] = []


def _ask_or_remember(self: Barrier) -> dict[int, int]:
    _barriers[:] = [self]
    deciding = threading.current_thread().name.startswith("gate_")
    return _answers.pop() if deciding and _answers else _ask(self)


def _fetch_after_asking(self: ExactlyOnce, most: int, seconds: float) -> Batch:
    if self.topic.endswith("withdrawal-request") and not _answers:
        _answers.append(_ask(_barriers[0]))
    return _fetch(self, most, seconds)


Barrier.ask = _ask_or_remember  # type: ignore[method-assign]
ExactlyOnce.fetch = _fetch_after_asking  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
