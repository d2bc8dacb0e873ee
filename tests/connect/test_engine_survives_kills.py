"""The reference engine under kill -9: what was approved leaves once or its lease expired, and nothing else leaves."""

from __future__ import annotations

import ast
import random
import sqlite3
import sys
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import psutil

from schemas.wire import parse_rfc3339
from streams.judge import judge
from tests.connect.engines import ENGINE, EngineProcess, faults, wait_settled
from tests.connect.rail import open_rail
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.deployment import Deployment, Publisher

SEED = 20261125
LEASE_SECONDS = 5
# A line that is not reached in that time is of a failure that did not occur, such as an answer that is no HTTP.
LIFE_SECONDS = 2
REQUESTS_A_LIFE = 24
# One in ten before, one in ten after the payment was taken.
RAIL_FAILS = 0.1
# Where an engine can die with money between two states: all that is executed for a decision, and at the start.
ON_THE_WAY = {"handle", "intend", "conclude", "unsettled", "recover", "holds", "release", "_ask", "_settle", "_outcome"}


def lines_on_the_way() -> list[int]:
    """Return the lines of the engine's methods through which a decision goes."""
    tree = ast.parse(ENGINE.read_text("utf-8"))
    methods = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in ON_THE_WAY]
    assert {method.name for method in methods} == ON_THE_WAY
    found = {
        node.lineno
        for method in methods
        for statement in method.body[1:]
        for node in ast.walk(statement)
        if isinstance(node, ast.stmt)
    }
    return sorted(found)


def states_of(ledger: Path) -> dict[str, str]:
    """Return what the ledger says; another process holds it, so it is copied first."""
    copy = ledger.with_name("copy.sqlite")
    for suffix in ("", "-wal"):
        source = ledger.with_name(ledger.name + suffix)
        copy.with_name(copy.name + suffix).write_bytes(source.read_bytes() if source.exists() else b"")
    with closing(sqlite3.connect(copy)) as rows:
        return dict(rows.execute("SELECT withdrawal_id, state FROM withdrawals").fetchall())


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


@contextmanager
def engine_of(gate: Deployment, *command: str) -> Iterator[EngineProcess]:
    """Run an engine; it is dead afterwards."""
    engine = EngineProcess(gate, [sys.executable, *command], gate.folder / "engine.log")
    try:
        yield engine
    finally:
        engine.kill()


def test_the_engine_pays_once_when_it_is_killed_at_every_line(deploy: Callable[..., Deployment]) -> None:
    """It dies before each line between decision and outcome; the rail fails at times; 1,000 withdrawals, presses."""
    chance = random.Random(SEED)
    gate = deploy(GATE_APPROVAL_SECONDS=str(LEASE_SECONDS))
    gate.create_topics()
    gate.worker().wait_ready()
    ledger = gate.folder / "ledger.sqlite"
    lines = lines_on_the_way()
    chance.shuffle(lines)
    missed = []
    with open_rail() as rail, gate.publisher() as client:
        rail.before = rail.after = lambda: chance.random() > RAIL_FAILS
        paying = (str(ENGINE), str(ledger), rail.url)
        for life, line in enumerate(lines):
            dying = ("-m", "tests.connect.signal_at_line", "SIGKILL", str(line), "1", *paying)
            with engine_of(gate, *dying) as engine:
                send(client, life, chance)
                try:
                    wait_for(engine.ended, "its end", LIFE_SECONDS)
                except AssertionError:
                    missed.append(line)
        gate.wait_decided()
        with engine_of(gate, *paying) as engine:
            wait_settled(gate, lambda: states_of(ledger))
            assert engine.stop() == 0
        states = states_of(ledger)
    assert judge(gate.history).findings == []
    assert faults(gate, rail, states, LEASE_SECONDS) == []
    assert len(missed) < len(lines) // 5, f"not reached: {missed}"
    assert len(states) == len(lines) * REQUESTS_A_LIFE
    assert min(list(states.values()).count(state) for state in ("released", "rejected")) >= len(lines)


def test_an_engine_that_sleeps_past_the_lease_pays_nothing_when_it_wakes(deploy: Callable[..., Deployment]) -> None:
    """Stopped between the look at its clock and the payment, as by a suspended machine: the rail says too late."""
    gate = deploy(GATE_APPROVAL_SECONDS="2")
    gate.create_topics()
    gate.worker().wait_ready()
    ledger = gate.folder / "ledger.sqlite"
    (asking,) = (
        number for number, text in enumerate(ENGINE.read_text("utf-8").splitlines(), 1) if "rail.request(" in text
    )
    with open_rail() as rail, gate.publisher() as client:
        paying = (str(ENGINE), str(ledger), rail.url)
        stopping = ("-m", "tests.connect.signal_at_line", "SIGSTOP", str(asking), "1", *paying)
        with engine_of(gate, *stopping) as engine:
            client.request("acc-42", "w-1")
            gate.wait_decided()
            asleep = psutil.Process(engine.process.pid)
            wait_for(lambda: asleep.status() == psutil.STATUS_STOPPED, "the engine to be stopped")
            lease_ends = parse_rfc3339(gate.decisions()["w-1"]["valid_until"])
            wait_for(lambda: time.time() * 1000 > lease_ends, "the end of the lease")
            asleep.resume()
            wait_settled(gate, lambda: states_of(ledger))
        assert (rail.late, rail.payments, states_of(ledger)) == (["w-1"], [], {"w-1": "expired"})
