"""Keeps the producer after a commit that timed out, takes the batch for undone, and does it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.cli import main
from streams.exactly_once import ExactlyOnce
from tests.controls import lost_answer  # noqa: F401  (importing it loses an answer)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.exactly_once import Batch
    from streams.lane import LaneWork

_commit = ExactlyOnce.commit


def _commit_and_keep(self: ExactlyOnce, batch: Batch, work: Mapping[int, LaneWork]) -> set[int]:
    done = _commit(self, batch, work)
    self._to_open.clear()
    return done


ExactlyOnce.commit = _commit_and_keep  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
