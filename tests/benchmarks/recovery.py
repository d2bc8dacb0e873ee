"""Getting back: a table rebuilt, a restart on a full folder, a worker killed, three workers restarted in turn."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from streams.kafka import SESSION_TIMEOUT_MS
from tests.benchmarks.load import PARTITIONS, BenchmarkError, deployment
from tests.benchmarks.matrix import announced, shared
from tests.benchmarks.meter import PER_DECISIONS, Meter
from tests.benchmarks.report import Part, Table, Target, at_most
from tests.benchmarks.traffic import WARM_UP_SECONDS, Flow, Traffic
from tests.processes import wait_for

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from tests.deployment import Deployment
    from tests.processes import Worker

REQUESTS_PER_SECOND = 1_000
PATIENCE_SECONDS = 300.0
# Requests flow for so long; what is done meanwhile must fit.
KILL_SECONDS = 30
ROLLING_SECONDS = 60
ROLLING_WORKERS = 3
REBUILD_TARGET_SECONDS, RESTART_TARGET_SECONDS, RESIDENT_TARGET_MB = 10, 2, 300
KILL_TARGET_SECONDS = SESSION_TIMEOUT_MS / 1000 + 1
ROLLING_TARGET_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Start:
    """A worker from its start to ready."""

    name: str
    freezes: int
    ready_seconds: float | None
    cpu_seconds: float
    resident_mb: float


@dataclass(frozen=True, slots=True)
class Gap:
    """The longest times without decisions while workers went and came."""

    name: str
    # Of any partition, and of the partition that waited longest.
    all_seconds: float
    partition_seconds: float
    cpu_seconds_per_100_000: float
    resident_mb: float


def measure(bootstrap: str, asked: argparse.Namespace, say: Callable[[str], None]) -> Part:
    """Measure each, on topics of its own."""
    say(f"recovery: {asked.freezes:,} freezes")
    starts = restarts(bootstrap, asked.freezes)
    say("recovery: kill -9 of one of two workers")
    gaps = [under_load(bootstrap, "kill -9 of one of two workers", 2, KILL_SECONDS, Crew.kill_one)]
    say(f"recovery: rolling restart of {ROLLING_WORKERS} workers")
    name = f"rolling restart of {ROLLING_WORKERS} workers"
    gaps.append(under_load(bootstrap, name, ROLLING_WORKERS, ROLLING_SECONDS, Crew.restart_in_turn))
    raw = {"starts": [asdict(one) for one in starts], "gaps": [asdict(one) for one in gaps]}
    return Part([start_table(starts), gap_table(gaps)], targets(starts, gaps), [NOTE], raw)


NOTE = (
    f"Requests come at {REQUESTS_PER_SECOND:,}/s to {PARTITIONS} partitions. A start counts from the process's start "
    "to `/readyz`; a gap is the longest time between two decisions becoming readable."
)


def restarts(bootstrap: str, freezes: int) -> list[Start]:
    """Rebuild the table in an empty folder, then start again on the full one."""
    with deployment(bootstrap, "recovery") as made:
        Flow.of_presses(made, None, freezes).run(made, time.time(), threading.Event())
        rebuilt, worker = start(made, "rebuilt from the topic", freezes)
        wait_for(lambda: announced(worker) >= freezes, "the presses to be announced", PATIENCE_SECONDS)
        meter = Meter([worker])
        announcing = Start("… and all of it announced", freezes, None, meter.cpu_seconds(), meter.resident_mb())
        worker.stop()
        restarted, worker = start(made, "started again on the full folder", freezes)
        worker.stop()
        return [rebuilt, announcing, restarted]


def start(made: Deployment, name: str, freezes: int) -> tuple[Start, Worker]:
    """Start a worker, always on the same folder."""
    began_at = time.monotonic()
    worker = made.worker("folder")
    wait_for(worker.ready, "the worker to get ready", PATIENCE_SECONDS)
    seconds, meter = time.monotonic() - began_at, Meter([worker])
    found = Start(name, freezes, seconds, meter.cpu_seconds(), meter.resident_mb())
    wait_for(lambda: worker.metric("gate_frozen_accounts") == freezes, "all freezes to be in the table")
    return found, worker


@dataclass
class Crew:
    """Workers that share the partitions, each with a folder of its own; what those that left had spent."""

    made: Deployment
    workers: list[Worker]
    spent: float = 0.0

    @classmethod
    def of(cls, made: Deployment, count: int) -> Crew:
        """Start them, and wait until they share the partitions."""
        crew = cls(made, [made.worker(f"folder-{number}") for number in range(count)])
        crew.wait_shared()
        return crew

    def wait_shared(self) -> None:
        """Wait until all are ready and share the partitions."""
        for worker in self.workers:
            worker.wait_ready()
        wait_for(lambda: shared(self.workers), "the workers to share the partitions")

    def kill_one(self) -> None:
        """Kill a worker, and wait until the others have its partitions."""
        gone = self.workers.pop()
        self.spent += Meter([gone]).cpu_seconds()
        gone.kill()
        self.wait_shared()

    def restart_in_turn(self) -> None:
        """Stop one after the other as a supervisor does, and start it again on its folder."""
        for number, worker in enumerate(self.workers):
            self.spent += Meter([worker]).cpu_seconds()
            worker.stop()
            self.workers[number] = self.made.worker(f"folder-{number}")
            self.wait_shared()


def under_load(bootstrap: str, name: str, count: int, seconds: int, act: Callable[[Crew], None]) -> Gap:
    """Let requests flow while `act` takes workers away."""
    with deployment(bootstrap, "gaps") as made:
        crew, traffic = Crew.of(made, count), Traffic(made)
        flow = Flow.of_requests(made, REQUESTS_PER_SECOND, WARM_UP_SECONDS + seconds)
        with traffic.running(flow) as sending:
            traffic.stop.wait(max(0.0, traffic.starts_at + WARM_UP_SECONDS - time.time()))
            spent, done, began_ms = Meter(crew.workers).cpu_seconds(), traffic.decided(), time.time() * 1000
            act(crew)
            if not any(thread.is_alive() for thread in sending):
                message = f"the {name} took longer than the requests came"
                raise BenchmarkError(message)
            traffic.join(sending, PATIENCE_SECONDS)
            traffic.wait_decided(flow.count, PATIENCE_SECONDS)
            meter = Meter(crew.workers)
            spent = crew.spent + meter.cpu_seconds() - spent
            cost = spent / (traffic.decided() - done) * PER_DECISIONS
            gaps = [traffic.longest_gap_ms(partition, began_ms) / 1000 for partition in range(PARTITIONS)]
            overall = traffic.longest_gap_ms(from_ms=began_ms) / 1000
            return Gap(name, overall, max(gaps), cost, meter.resident_mb())


def start_table(starts: list[Start]) -> Table:
    """Put the starts below each other."""
    rows = [
        [
            f"{one.freezes:,} freezes, {one.name}",
            "" if one.ready_seconds is None else f"{one.ready_seconds:.1f}",
            f"{one.cpu_seconds:.1f}",
            f"{one.resident_mb:.0f}",
        ]
        for one in starts
    ]
    return Table("A worker's start", ["table", "ready, s", "CPU s since its start", "resident MB"], rows)


def gap_table(gaps: list[Gap]) -> Table:
    """Put the gaps below each other."""
    rows = [
        [
            one.name,
            f"{one.all_seconds:.2f}",
            f"{one.partition_seconds:.2f}",
            f"{one.cpu_seconds_per_100_000:.2f}",
            f"{one.resident_mb:.0f}",
        ]
        for one in gaps
    ]
    heading = ["what", "no decision at all, s", "none of a partition, s", "CPU s / 100,000", "resident MB"]
    return Table("Longest time without decisions", heading, rows)


def targets(starts: list[Start], gaps: list[Gap]) -> list[Target]:
    """Hold all against what was to be reached."""
    rebuilt, _, restarted = starts
    killed, rolled = gaps
    freezes = f"{rebuilt.freezes:,} freezes"
    resident = max(one.resident_mb for one in starts)
    return [
        at_most(f"{freezes}: rebuild, from start to ready", REBUILD_TARGET_SECONDS, rebuilt.ready_seconds or 0, "s"),
        at_most(f"{freezes}: restart to ready", RESTART_TARGET_SECONDS, restarted.ready_seconds or 0, "s"),
        at_most(f"{freezes}: resident memory", RESIDENT_TARGET_MB, resident, "MB"),
        at_most("kill -9: decisions of every partition go on", KILL_TARGET_SECONDS, killed.partition_seconds, "s"),
        at_most(
            "rolling restart: a partition without decisions", ROLLING_TARGET_SECONDS, rolled.partition_seconds, "s"
        ),
    ]
