"""A short rehearsal in every test run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.rehearsals.__main__ import rehearse
from tests.rehearsals.stage import Stage, Version

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment


def test_a_rolling_upgrade_under_traffic_breaks_no_promise(deploy: Callable[..., Deployment]) -> None:
    """As the runbook has it, one worker after another: judge and audit acquit, every request has an outcome."""
    with Stage(deploy(), workers=2) as stage:
        result = rehearse("rolling-upgrade", stage, Version(), Version())
    assert result["findings"] == []
    assert result["without_outcome"] == 0
    assert result["requests"] > 100
