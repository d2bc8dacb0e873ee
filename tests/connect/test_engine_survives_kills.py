"""The reference engines under kill -9: what was approved leaves once or its lease expired, nothing else leaves."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import psutil

from schemas.wire import parse_rfc3339
from streams.judge import judge
from tests.connect.engines import engine_of, faults, outcomes_of, states_of, wait_settled
from tests.connect.rail import open_rail
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.connect.engines import EngineProcess
    from tests.connect.programs import EngineProgram
    from tests.deployment import Deployment, Publisher

SEED = 20261125
REQUESTS_A_LIFE = 24
# One in ten before, one in ten after the payment was taken.
RAIL_FAILS = 0.1


def send(client: Publisher, life: int, chance: random.Random) -> None:
    """Ask for withdrawals of many accounts; one of them presses in between."""
    accounts = [f"acc-{life}-{number}" for number in range(REQUESTS_A_LIFE // 2)]
    pressed = chance.choice(accounts)
    for number, account in enumerate(accounts):
        client.request(account, f"w-{life}-{number}-a")
    client.press(pressed)
    for number, account in enumerate(accounts):
        client.request(account, f"w-{life}-{number}-b")
    client.flush()


def settled(engine: EngineProcess, life: int) -> bool:
    """Tell whether the engine has said what became of everything that was asked in that life."""
    ended = {what for what, outcome in outcomes_of(engine) if outcome in {"released", "expired", "rejected"}}
    return sum(what.startswith(f"w-{life}-") for what in ended) == REQUESTS_A_LIFE


def test_the_engine_pays_once_when_it_is_killed_at_every_line(
    deploy: Callable[..., Deployment], engine_program: EngineProgram
) -> None:
    """It dies before lines between decision and outcome, in Python all of them; the rail fails at times; presses."""
    chance = random.Random(SEED)
    gate = deploy(GATE_APPROVAL_SECONDS=str(engine_program.lease_seconds))
    gate.create_topics()
    gate.worker().wait_ready()
    ledger = gate.folder / "ledger.sqlite"
    lines = chance.sample(engine_program.lines, engine_program.lives)
    missed = []
    with open_rail() as rail, gate.publisher() as client:
        rail.before = rail.after = lambda: chance.random() > RAIL_FAILS
        for life, line in enumerate(lines):
            dying = engine_program.signalled("SIGKILL", line)
            with engine_of(gate, *dying, str(ledger), rail.url) as engine:
                send(client, life, chance)
                # A line that is not reached is of a failure that did not occur, such as an answer that is no HTTP.
                wait_for(lambda: engine.ended() or settled(engine, life), "its end")  # noqa: B023  (called at once)
                if not engine.ended():
                    missed.append(line)
        gate.wait_decided()
        with engine_of(gate, *engine_program.command, str(ledger), rail.url) as engine:
            wait_settled(gate, ledger)
            assert engine.stop() == engine_program.terminated
        states = states_of(ledger)
    assert judge(gate.history).findings == []
    assert faults(gate, rail, states, engine_program.lease_seconds) == []
    assert len(missed) <= len(lines) // 5, f"not reached: {missed}"
    assert len(states) == len(lines) * REQUESTS_A_LIFE
    assert min(list(states.values()).count(state) for state in ("released", "rejected")) >= len(lines)


def test_an_engine_that_sleeps_past_the_lease_pays_nothing_when_it_wakes(
    deploy: Callable[..., Deployment], engine_program: EngineProgram
) -> None:
    """Stopped between the look at its clock and the payment, as by a suspended machine: the rail says too late."""
    gate = deploy(GATE_APPROVAL_SECONDS="2")
    gate.create_topics()
    gate.worker().wait_ready()
    ledger = gate.folder / "ledger.sqlite"
    with open_rail() as rail, gate.publisher() as client:
        stopping = engine_program.signalled("SIGSTOP", engine_program.paying_line)
        with engine_of(gate, *stopping, str(ledger), rail.url) as engine:
            client.press("acc-41")
            client.request("acc-41", "w-0")
            wait_for(lambda: ("w-0", "rejected") in outcomes_of(engine), "the engine to read decisions")
            client.request("acc-42", "w-1")
            gate.wait_decided()
            asleep = psutil.Process(engine.process.pid)
            wait_for(lambda: asleep.status() == psutil.STATUS_STOPPED, "the engine to be stopped")
            lease_ends = parse_rfc3339(gate.decisions()["w-1"]["valid_until"])
            wait_for(lambda: time.time() * 1000 > lease_ends, "the end of the lease")
            asleep.resume()
            wait_settled(gate, ledger)
        assert (rail.late, rail.payments) == (["w-1"], [])
        assert states_of(ledger) == {"w-0": "rejected", "w-1": "expired"}
