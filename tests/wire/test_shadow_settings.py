"""GATE_SHADOW: what a shadow is told, and what it may not be combined with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streams.errors import SettingsError
from streams.settings import Settings
from tests.wire.test_settings import write

if TYPE_CHECKING:
    from pathlib import Path


def test_a_shadow_has_no_name_for_what_the_live_gate_writes() -> None:
    """Its decisions, its group and its transactional ids are its own; what it reads is everybody's."""
    live, shadow = (Settings.from_environment({"GATE_TOPIC_PREFIX": "p.", "GATE_SHADOW": on}) for on in ("", "1"))
    assert live.topic("withdrawal-decision") == "p.withdrawal-decision"
    assert shadow.topic("withdrawal-decision") == "p.withdrawal-decision-shadow"
    assert (live.workers_group, shadow.workers_group) == ("withdrawal-gate", "withdrawal-gate-shadow")
    assert {shadow.topic(topic.name) for topic in shadow.topics} == {
        "p.panic-button", "p.withdrawal-request", "p.withdrawal-decision-shadow",
    }  # fmt: skip
    assert len(live.topics) == 5


@pytest.mark.parametrize("name", ["GATE_DECISION_KEY_FILE", "GATE_CONSOLE"])
def test_a_shadow_that_could_be_taken_for_a_live_gate_is_refused(tmp_path: Path, name: str) -> None:
    """A signed approval that decides nothing, or a console that tells support that withdrawals are stopped."""
    value = "1" if name == "GATE_CONSOLE" else write(tmp_path, "2026-11 " + "0a" * 32)
    Settings.from_environment({name: value, "GATE_SHADOW": "0"})
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({name: value, "GATE_SHADOW": "1"})
    assert str(refused.value).startswith(f"{name} is {value!r}; allowed is nothing with GATE_SHADOW=1: ")
