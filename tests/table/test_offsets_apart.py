"""A control of the table: folds and offsets in two writes, with a crash between them. Only one batch is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schemas.freeze_status import Status
from streams.freeze_table import FreezeTable
from tests.table.places import IDENTITY, press

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from streams.freeze_table import AppliedPress

    Write = Callable[[FreezeTable, Sequence[AppliedPress], Mapping[int, int]], None]


def fold_then_crash(table: FreezeTable, presses: Sequence[AppliedPress], positions: Mapping[int, int]) -> None:
    """Write the folds only: the process ends before the offsets, `positions`, are written."""
    assert positions
    table.apply(presses, {})


def offset_then_crash(table: FreezeTable, presses: Sequence[AppliedPress], positions: Mapping[int, int]) -> None:
    """Write the offsets only: the process ends before the folds of `presses` are written."""
    assert presses
    table.apply([], positions)


@pytest.mark.parametrize(
    ("write", "frozen", "announced"),
    [
        pytest.param(FreezeTable.apply, True, Status.FROZEN, id="one batch"),
        pytest.param(fold_then_crash, True, Status.UNCHANGED, id="fold first: nobody is told of the freeze"),
        pytest.param(offset_then_crash, False, None, id="offset first: the freeze is lost"),
    ],
)
def test_only_one_batch_for_fold_and_offset_survives_a_crash_whole(
    tmp_path: Path,
    write: Write,
    frozen: bool,  # noqa: FBT001  (a table's column)
    announced: Status | None,
) -> None:
    """After the crash the topic is read from the table's offset on: what is frozen then, and what will be announced."""
    topic = [press("acc", 0, at_ms=1_000, seconds=9)]
    table = FreezeTable(tmp_path / "freezes", IDENTITY)
    write(table, topic, {0: 1})
    table.close()
    table = FreezeTable(tmp_path / "freezes", IDENTITY)
    unread = topic[table.applied.get(0, 0) :]
    if unread:
        table.apply(unread, {0: 1})
    outcome = table.outcome(0, 0)
    assert (table.get("acc") is not None) is frozen
    assert (None if outcome is None else outcome.status) is announced
    table.close()
