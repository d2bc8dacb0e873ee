"""Takes a partition over without reading back which ids were decided there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.cli import main
from streams.decided_ids import DecidedIds

if TYPE_CHECKING:
    from collections.abc import Iterable

_restore = DecidedIds.restore


def _forget(
    self: DecidedIds,
    partition: int,
    decided: Iterable[tuple[str, int]],  # noqa: ARG001  (what it replaces)
    next_offset: int,
    decisions_end: int,
) -> None:
    _restore(self, partition, (), next_offset, decisions_end)


DecidedIds.restore = _forget  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
