"""Writes the offset of a press before its fold, and dies between the two the first time."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from streams.cli import main
from streams.freeze_table import FreezeTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streams.freeze_table import AppliedPress

DIED = Path(os.environ.get("GATE_DATA_DIR", ".")) / "died"
_apply = FreezeTable.apply


def _apply_in_two(self: FreezeTable, presses: Sequence[AppliedPress], positions: Mapping[int, int]) -> None:
    _apply(self, [], positions)
    if presses and not DIED.exists():
        DIED.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    _apply(self, presses, positions)


FreezeTable.apply = _apply_in_two  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
