"""The reference engine, should it ever read what a shadow decided: on the wrong topic, or copied to its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from schemas.topics import WITHDRAWAL_DECISION_SHADOW
from tests.connect.engines import ROOT, EngineProcess
from tests.connect.rail import open_rail
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment


def test_an_engine_that_reads_an_approval_of_a_shadow_pays_nothing(deploy: Callable[..., Deployment]) -> None:
    """A shadow's approval lies on the engine's topic, then a live one: the first is refused, the second is paid."""
    gate = deploy(partitions=1)
    gate.create_topics(WITHDRAWAL_DECISION_SHADOW)
    gate.worker(GATE_SHADOW="1").wait_ready()
    with open_rail() as rail, gate.publisher() as client:
        client.request("acc-1", "w-shadow")
        client.flush()
        (approval,) = wait_for(lambda: gate.read("withdrawal-decision-shadow"), "the shadow's decision")
        assert b'"decision":"approved"' in approval.value()
        client.raw("withdrawal-decision", approval.key(), approval.value())
        # The live gate goes on behind the source of that record, as behind any decision.
        gate.worker().wait_ready()
        client.request("acc-1", "w-live")
        program = str(ROOT / "docs" / "examples" / "engine.py")
        paying = [sys.executable, program, str(gate.folder / "ledger.sqlite"), rail.url]
        engine = EngineProcess(gate, paying, gate.folder / "engine.log")
        try:
            wait_for(lambda: rail.payments, "a payment")
            assert engine.stop() == 0
        finally:
            engine.kill()
        assert [payment.withdrawal_id for payment in rail.payments] == ["w-live"]
    said = "refused, it is of the shadow mode and decides nothing"
    assert engine.log.read_text().count(said) == 1
