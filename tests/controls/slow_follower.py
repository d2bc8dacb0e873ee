"""No safeguard is left out here: the gate whose table is always some seconds late, which the barrier is there for."""

from __future__ import annotations

import threading

from streams.cli import main
from streams.follow import Follow, FollowBatch

# Much longer than a decision takes: without the barrier the table can't be current, however fast or slow the machine.
LATE_SECONDS = 3.0
_apply = Follow.apply
_never = threading.Event()


def _apply_late(self: Follow, batch: FollowBatch) -> None:
    if batch.presses:
        _never.wait(LATE_SECONDS)
    _apply(self, batch)


Follow.apply = _apply_late  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
