"""Engine processes under test: how they are killed, and what their ledgers and the rail say in the end."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.wire import parse_rfc3339
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.connect.rail import Rail
    from tests.deployment import Deployment

ROOT = Path(__file__).parents[2]


class EngineProcess:
    """A running engine; its lines are kept in a file that grows over all of its lives."""

    def __init__(self, gate: Deployment, command: Sequence[str], log: Path) -> None:
        """Start it with the deployment's environment."""
        self.log = log
        with log.open("a") as out:
            self.process = subprocess.Popen(
                command,
                env={**gate.environment, "PYTHONPATH": str(ROOT)},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=gate.folder,
            )

    def kill(self) -> None:
        """Kill it as a power cut would."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """Ask it to end and return its exit code."""
        self.process.terminate()
        return self.process.wait(20)

    def ended(self) -> bool:
        """Tell whether it is dead."""
        return self.process.poll() is not None


@contextmanager
def engine_of(gate: Deployment, *command: str) -> Iterator[EngineProcess]:
    """Run an engine; it is dead afterwards."""
    engine = EngineProcess(gate, command, gate.folder / "engine.log")
    try:
        yield engine
    finally:
        engine.kill()


def outcomes_of(engine: EngineProcess) -> list[tuple[str, str]]:
    """Return what an engine has said: of which withdrawal or record, and what became of it."""
    lines = [json.loads(line) for line in engine.log.read_text("utf-8").splitlines() if line.startswith("{")]
    return [(line["withdrawal"], line["outcome"]) for line in lines]


def states_of(ledger: Path) -> dict[str, str]:
    """Return what the ledger says; another process holds it, so it is copied first."""
    copy = ledger.with_name("copy.sqlite")
    for suffix in ("", "-wal"):
        source = ledger.with_name(ledger.name + suffix)
        copy.with_name(copy.name + suffix).write_bytes(source.read_bytes() if source.exists() else b"")
    with closing(sqlite3.connect(copy)) as rows:
        return dict(rows.execute("SELECT withdrawal_id, state FROM withdrawals").fetchall())


def faults(gate: Deployment, rail: Rail, states: dict[str, str], lease_seconds: int) -> list[str]:
    """Return everything that is wrong at the end: the ledger's states against the decisions and the payments."""
    times = rail.times_paid()
    decisions = gate.decisions()
    found = [f"{name} was paid and never decided" for name in times if name not in decisions]
    for name, decision in decisions.items():
        state, paid = states.get(name, "nothing"), times.get(name, 0)
        fits = {"rejected": (("rejected", 0),), "approved": (("released", 1), ("expired", 0))}[decision["decision"]]
        if (state, paid) not in fits:
            found.append(f"{name}: {decision['decision']}, in the ledger {state}, paid {paid} times")
    for press in gate.history.presses:
        end = datetime.fromtimestamp(press.append_ms / 1000, UTC) + timedelta(seconds=lease_seconds)
        found += [
            f"{payment.withdrawal_id} left {(payment.at - end).total_seconds():.3f} s after press and lease"
            for payment in rail.payments
            if payment.account_id == press.account_id and payment.at > end
        ]
    for payment in rail.payments:
        until = decisions.get(payment.withdrawal_id, {}).get("valid_until")
        if until is not None and payment.at.timestamp() * 1000 > parse_rfc3339(until):
            found.append(f"{payment.withdrawal_id} left after its lease")
    return found


def wait_settled(gate: Deployment, ledger: Path) -> None:
    """Wait until a ledger knows what became of every decision."""
    wanted = gate.decisions().keys()

    def settled() -> bool:
        states = states_of(ledger)
        return wanted <= states.keys() and "intended" not in states.values()

    wait_for(settled, "the engine to settle everything")
