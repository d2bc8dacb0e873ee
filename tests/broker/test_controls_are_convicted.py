"""A safety test counts once it has been seen to fail: the gate with one safeguard left out, and what is said of it.

The judge knows the clients' side, the audit has the topics alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streams.inspect.audit.findings import Kind
from streams.judge import Verdict, judge
from tests.broker.auditing import audited
from tests.broker.storm import press_and_ask_in_a_storm
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment


@pytest.mark.parametrize(
    "module",
    ["tests.controls.no_barrier", "tests.controls.barrier_before_fetch", "tests.controls.cached_end_offsets"],
)
def test_a_gate_that_does_not_ask_after_each_fetch_approves_what_it_must_not(
    deploy: Callable[..., Deployment], capsys: pytest.CaptureFixture[str], module: str
) -> None:
    """Accounts press among others, and ask upon the acknowledgement while the table is late: G1 is broken."""
    gate = deploy(partitions=4)
    assert "G1" in _judged_after_a_storm(gate, module).kinds()
    # Its views say honestly how little it had applied: the topics alone can't convict it.
    assert audited(gate, capsys).findings == []


def test_the_gate_itself_is_acquitted_with_a_table_as_late(deploy: Callable[..., Deployment]) -> None:
    """What convicts the two controls finds nothing with the barrier in its place."""
    assert _judged_after_a_storm(deploy(partitions=4), "tests.controls.slow_follower").findings == []


def test_a_table_where_the_last_press_wins_shortens_a_freeze(
    deploy: Callable[..., Deployment], capsys: pytest.CaptureFixture[str]
) -> None:
    """A press of a week, then one of a second: the first one's promise is broken, and judge and audit say so."""
    gate = deploy(partitions=2)
    gate.create_topics()
    gate.policy()
    gate.worker(module="tests.controls.last_write_wins").wait_ready()
    with gate.publisher() as client:
        client.press("acc", 604_800)
        second = client.press("acc", 1)

        def over() -> bool:
            probe = client.request("acc")
            client.flush()
            return probe.append_ms > second.append_ms + 1_000

        wait_for(over, "the shorter window to be over")
        client.request("acc")
        gate.wait_decided()
    assert {"G1", "rule"} <= judge(gate.history).kinds()
    wait_for(lambda: len(gate.read("freeze-status")) >= 2, "the statuses of both presses")
    assert {Kind.APPROVED_WHILE_FROZEN, Kind.FREEZE_MOVED_EARLIER} <= audited(gate, capsys).kinds


def test_offsets_committed_before_the_decisions_lose_requests(
    deploy: Callable[..., Deployment], capsys: pytest.CaptureFixture[str]
) -> None:
    """The control dies between its two commits; the gate that follows can't know, and requests stay undecided."""
    gate = deploy(partitions=2)
    gate.create_topics()
    worker = gate.worker("one", module="tests.controls.offsets_outside").wait_ready()
    with gate.publisher() as client:
        for number in range(100):
            client.request(f"acc-{number}")
        client.flush()
        wait_for(lambda: worker.process.poll() is not None, "the control to die")
        gate.worker("two").wait_ready()
        gate.history.requests, undecided = [], gate.history.requests
        for number in range(20):
            client.request(f"acc-after-{number}")
        gate.wait_decided()
        gate.history.requests += undecided
    assert "G4 never" in judge(gate.history).kinds()
    assert audited(gate, capsys).kinds == {Kind.REQUEST_WITHOUT_OUTCOME}


def _judged_after_a_storm(gate: Deployment, module: str) -> Verdict:
    gate.create_topics()
    gate.worker(module=module).wait_ready()
    press_and_ask_in_a_storm(gate, rounds=1, storm=1_000)
    return judge(gate.history)
