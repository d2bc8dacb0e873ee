"""Leaves where reading starts to the client library, and two fences out that would make it good.

librdkafka asks for the committed offset itself. While an open transaction holds that back, as one does whose owner was
killed between sending its offset and its commit, and the assignment changes before the answer is there, as it does when
rebalances follow each other, `auto.offset.reset` acts: the partition is read from its beginning.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, TopicPartition

from streams import exactly_once, kafka
from streams.cli import main
from streams.exactly_once import ExactlyOnce
from streams.kafka import base_options, member
from tests.controls import dies_at_commit, no_tail, no_transactional_id  # noqa: F401  (importing each does it)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.lane import Lane
    from streams.settings import Settings

# Rebalances that follow each other, made sure of.
CHANGES, CHANGE_SECONDS = 30, 0.01
_ask_committed = ExactlyOnce._ask_committed


class _WhereverItLikes(Consumer):
    def assign(self, partitions: list[TopicPartition]) -> None:
        pause = threading.Event()
        for _ in range(CHANGES if partitions else 1):
            super().assign([TopicPartition(place.topic, place.partition) for place in partitions])
            pause.wait(CHANGE_SECONDS)


def _member(settings: Settings, group: str) -> Consumer:
    if group != settings.group:
        return member(settings, group)
    return _WhereverItLikes(
        {
            **base_options(settings),
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "session.timeout.ms": kafka.SESSION_TIMEOUT_MS,
        }
    )


def _ask_nobody(self: ExactlyOnce, lanes: Sequence[Lane]) -> dict[int, TopicPartition]:
    if self._group != self._settings.group:
        return _ask_committed(self, lanes)
    return {lane.partition: TopicPartition(self.topic, lane.partition) for lane in lanes}


vars(exactly_once)["member"] = _member
ExactlyOnce._ask_committed = _ask_nobody  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
