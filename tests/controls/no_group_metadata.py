"""Commits offsets in nobody's name, which the group's coordinator does not check at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import Consumer

from streams.cli import main
from streams.exactly_once import ExactlyOnce
from tests.controls import paused  # noqa: F401  (importing it lets the gate be stopped)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.exactly_once import Batch
    from streams.lane import LaneWork

_commit = ExactlyOnce.commit


def _commit_for_nobody(self: ExactlyOnce, batch: Batch, work: Mapping[int, LaneWork]) -> set[int]:
    # Knows the group's name, but never joined it: no member id, no generation.
    stranger = Consumer({"bootstrap.servers": self._settings.kafka_bootstrap, "group.id": self._group})
    batch.epoch = self.epoch
    self._group_metadata = stranger.consumer_group_metadata()
    done = _commit(self, batch, work)
    stranger.close()
    return done


ExactlyOnce.commit = _commit_for_nobody  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
