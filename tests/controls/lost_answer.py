"""No safeguard is left out here: the gate whose first commit happens, while its answer is lost: a time-out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError

from streams.cli import main
from streams.lane import Lane, LaneBroken, LaneWork

if TYPE_CHECKING:
    from streams.broker_clock import BrokerClock

_commit = Lane.commit
_lost: list[int] = []


def _commit_without_answer(self: Lane, work: LaneWork, group_metadata: Any, clock: BrokerClock) -> None:  # noqa: ANN401  (what it replaces)
    before = self.next_offset, self.note
    _commit(self, work, group_metadata, clock)
    if work.records and self.topic.endswith("withdrawal-request") and self.partition not in _lost:
        _lost.append(self.partition)
        self.next_offset, self.note = before
        raise LaneBroken(KafkaError(KafkaError._TIMED_OUT))


Lane.commit = _commit_without_answer  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
