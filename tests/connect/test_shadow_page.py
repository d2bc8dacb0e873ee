"""docs/shadow.md, followed on a real broker: a trial, and going live without deciding what was decided elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.connect.page import Page

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment

# With the ports of its two workers.
PAGE = Page("shadow.md", ["8090", "8091"])


def test_a_team_tries_the_gate_and_goes_live_as_the_page_says(deploy: Callable[..., Deployment]) -> None:
    """Each line has its output and its exit code; no request of the trial is decided by the live gate."""
    gate = deploy()
    PAGE.follow(gate)
    assert len(gate.values("withdrawal-decision-shadow")) == 4
    assert {decision["reason"] for decision in gate.values("withdrawal-decision")} == {"account_frozen", None}
    assert len(gate.values("withdrawal-decision")) == 2
