"""Lets the last press of an account decide, whatever the ones before had promised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.freeze_status import Status
from streams import freeze_table
from streams.cli import main

if TYPE_CHECKING:
    from streams.rule import Freeze


def _last(current: Freeze | None, pressed: Freeze) -> tuple[Freeze, Status]:
    return pressed, Status.FROZEN if current is None else Status.EXTENDED


vars(freeze_table)["fold"] = _last

if __name__ == "__main__":
    main()
