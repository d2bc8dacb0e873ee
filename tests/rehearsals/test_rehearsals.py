"""A short rehearsal in every test run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.rehearsals.__main__ import rehearse
from tests.rehearsals.stage import Stage, Version

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment


def test_workers_that_lose_their_disks_one_after_another_break_no_promise(deploy: Callable[..., Deployment]) -> None:
    """The runbook's disk loss under traffic: judge and audit acquit, and no request stays without an outcome."""
    with Stage(deploy(), workers=2) as stage:
        result = rehearse("disk-loss", stage, Version(), Version())
    assert result["findings"] == []
    assert result["without_outcome"] == 0
    assert result["requests"] > 100
