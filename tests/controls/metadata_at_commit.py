"""Commits in the name of the assignment that it has at the commit, not of the one under which it fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.cli import main
from streams.exactly_once import ExactlyOnce
from tests.controls.lost_session import commit, lose_once

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.exactly_once import Batch
    from streams.lane import LaneWork


def _commit_as_of_now(self: ExactlyOnce, batch: Batch, work: Mapping[int, LaneWork]) -> set[int]:
    lose_once(self)
    batch.epoch = self.epoch
    self._group_metadata = self.consumer.consumer_group_metadata()
    return commit(self, batch, work)


ExactlyOnce.commit = _commit_as_of_now  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
