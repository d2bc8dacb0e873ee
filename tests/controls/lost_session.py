"""No safeguard is left out here: the gate that loses its place in the group between its first fetch and that commit.

It joins again at once, is given its partitions again, and reads on before the commit goes on.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from streams import gate
from streams.cli import main
from streams.exactly_once import ExactlyOnce

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.exactly_once import Batch
    from streams.lane import LaneWork

PATIENCE_SECONDS = 60
# The next batch is fetched beside every commit, so that the group can change its mind meanwhile.
gate.COMMIT_ASIDE_FROM = 1
commit = ExactlyOnce.commit
_fetch = ExactlyOnce.fetch
_lost, _back = threading.Event(), threading.Event()


def lose_once(self: ExactlyOnce) -> None:
    """Leave the group and join it again, the first time; return when the lanes are open again."""
    if self.topic.endswith("withdrawal-request") and not _lost.is_set():
        self._rejoin = True
        _lost.set()
        _back.wait(PATIENCE_SECONDS)


def _commit_late(self: ExactlyOnce, batch: Batch, work: Mapping[int, LaneWork]) -> set[int]:
    lose_once(self)
    return commit(self, batch, work)


def _fetch_until_back(self: ExactlyOnce, most: int, seconds: float) -> Batch:
    batch = _fetch(self, most, seconds)
    while self.topic.endswith("withdrawal-request") and _lost.is_set() and not _back.is_set():
        batch = _fetch(self, most, seconds)
        if not self._rejoin and self.lanes:
            _back.set()
    return batch


ExactlyOnce.commit = _commit_late  # type: ignore[method-assign]
ExactlyOnce.fetch = _fetch_until_back  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
