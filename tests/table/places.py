"""What the tests of the tables share: an identity, presses at places, and damage to files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.freeze_table import AppliedPress, FreezeTable
from streams.rule import FreezePolicy, PolicyEntry, freeze_of_press

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IDENTITY = {"cluster": "cluster-1", "panic-button": "topic-1"}
# Windows of a second and more, so that times in tests stay readable.
POLICY = FreezePolicy((PolicyEntry(0, 1, 2, 1_000_000),))


def press(  # noqa: PLR0913  (a press's parts, most by name)
    account_id: str,
    offset: int,
    *,
    at_ms: int,
    seconds: int | None = None,
    partition: int = 0,
    press_id: str | None = None,
) -> AppliedPress:
    """Return a press at a place of `panic-button`."""
    freeze = freeze_of_press(POLICY, press_id or f"p-{partition}-{offset}", seconds, at_ms)
    return AppliedPress(account_id, partition, offset, freeze)


def apply_one(table: FreezeTable, one: AppliedPress) -> None:
    """Fold a press and move its partition's offset behind it."""
    table.apply([one], {one.partition: one.offset + 1})


def ends_of(table: FreezeTable, partition: int, after_ms: int = 0, until_ms: int = 10**12) -> list[tuple[str, int]]:
    """Return (account, end) of the freezes whose end lies in (after, until]."""
    return [(account_id, freeze.frozen_until_ms) for account_id, freeze in table.ends(partition, after_ms, until_ms)]


def files_of(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield a folder's files of that name; fail when there is none."""
    found = sorted(folder.glob(pattern))
    assert found, f"{folder} holds no {pattern}"
    yield from found


def truncate(path: Path, size: int) -> None:
    """Cut a file off."""
    path.write_bytes(path.read_bytes()[:size])


def invert(path: Path, start: int, size: int) -> None:
    """Invert every bit of a part of a file."""
    held = bytearray(path.read_bytes())
    held[start : start + size] = bytes(byte ^ 0xFF for byte in held[start : start + size])
    path.write_bytes(bytes(held))
