"""Publishes the ends of freezes outside of the transaction that says so, and dies before it the first time."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from streams.cli import main
from streams.exactly_once import ExactlyOnce
from streams.kafka import publisher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.exactly_once import Batch
    from streams.lane import LaneWork

DIED = Path(os.environ.get("GATE_DATA_DIR", ".")) / "died"
PATIENCE_SECONDS = 10
_commit = ExactlyOnce.commit


def _commit_ends_apart(self: ExactlyOnce, batch: Batch, work: Mapping[int, LaneWork]) -> set[int]:
    ends = [record for lane in work.values() for record in lane.records if b'"ended"' in (record[3] or b"")]
    if ends:
        producer = publisher(self._settings)
        for topic, partition, key, value, _ in ends:
            producer.produce(topic, value, key, partition)
        producer.flush(PATIENCE_SECONDS)
        if not DIED.exists():
            DIED.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        for lane in work.values():
            lane.records = [record for record in lane.records if record not in ends]
    return _commit(self, batch, work)


ExactlyOnce.commit = _commit_ends_apart  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
