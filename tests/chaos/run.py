"""One run: traffic and faults for so many seconds, a quiet phase, then the judge and the audit over all of it."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException

from tests.chaos.faults import (
    CUT_OFF,
    FAULTS,
    ON_BROKERS,
    ON_LINKS,
    ON_SPARE,
    ON_TOPICS,
    ON_WORKERS,
    NotMet,
    Scene,
    until_insync,
    until_working,
)
from tests.chaos.ledger import Ledger
from tests.chaos.place import Disk, Place, no_disk
from tests.chaos.places import put_right
from tests.chaos.traffic import REQUESTS_A_STEP, Traffic, Transactions
from tests.deployment import Deployment
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chaos.cluster import Cluster

PARTITIONS = 4
BETWEEN_FAULTS_SECONDS = (0.5, 3.0)
QUIET_SECONDS = 120.0
JOIN_SECONDS = 120.0
# A fifth of what the audit does alone on 2 cores (docs/audit.md).
AUDITED_A_SECOND = 3_000
SHOWN = 20


@dataclass(frozen=True)
class Plan:
    """What a run is made of; the same plan strikes in the same order."""

    seed: int
    seconds: int = 60
    faults: tuple[str, ...] = tuple(FAULTS)
    workers: int = 3
    publishers: int = 2
    module: str = "streams"
    burst: int = REQUESTS_A_STEP

    def command(self) -> str:
        """Return what repeats it."""
        return (
            f"python -m tests.chaos --seed {self.seed} --seconds {self.seconds} --faults {','.join(self.faults)} "
            f"--workers {self.workers} --publishers {self.publishers} --burst {self.burst} "
            f"--worker-module {self.module}"
        )


@dataclass
class Result:
    """What became of a run."""

    seed: int
    module: str
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    # Workers that ended by themselves, by exit code.
    ends: Counter[str] = field(default_factory=Counter)
    held_back: int = 0
    unplaced: int = 0

    def line(self) -> str:
        """Return it as JSON on one line."""
        return json.dumps(vars(self))


def run(plan: Plan, cluster: Cluster, folder: Path) -> Result:
    """Run it; the logs of the workers stay in the folder."""
    say(f"repeat with: {plan.command()}")
    if "fill-disk" in plan.faults and (reason := no_disk(folder / "disk")) is not None:
        say(f"left out: fill-disk, as this machine can't mount a disk to fill ({reason})")
        plan = replace(plan, faults=tuple(name for name in plan.faults if name != "fill-disk"))
    began = time.monotonic()
    result = Result(plan.seed, plan.module)
    gate = Deployment(cluster.bootstrap, f"chaos-{plan.seed}-{plan.module}-{time.time_ns()}", folder, PARTITIONS)
    gate.history.requests = ledger = Ledger(folder / "ledger", PARTITIONS)
    made = gate.command("topics", "create", "--partitions", str(PARTITIONS), "--replication", "3")
    assert made.returncode == 0, made.stderr
    may_be_cut_off = bool(CUT_OFF & set(plan.faults))
    *places, spare = (
        Place(gate, cluster, number, plan.module, result.findings, result.ends, may_be_cut_off)
        for number in range(plan.workers + 1)
    )
    try:
        for place in places:
            if "fill-disk" in plan.faults:
                place.disk = Disk(place.data)
            place.running().wait_ready()
        strike(plan, gate, cluster, places, spare, result)
        say("quiet: every request must get its outcome")
        settle(gate, ledger, places, result)
        gate.history.press_records = ledger.press_records(gate, {sent.account_id for sent in gate.history.presses})
        verdict = ledger.judge(gate.history)
        result.counts = verdict.counts
        result.findings += verdict.findings
        result.findings += audit(gate, QUIET_SECONDS + verdict.counts["requests"] / AUDITED_A_SECOND)
    finally:
        gate.stop()
        ledger.close()
        for place in places:
            place.close()
    logs = "\n".join(path.read_text("utf-8", "replace") for path in folder.rglob("worker-*.log"))
    result.held_back = logs.count("held back")
    result.seconds = round(time.monotonic() - began, 1)
    for finding in result.findings[:SHOWN]:
        say(f"FOUND {finding}")
    say(f"seed {plan.seed}: {len(result.findings)} findings, {dict(result.counts)}, faults {dict(result.faults)}")
    return result


def strike(  # noqa: PLR0913, PLR0917  (the whole stage)
    plan: Plan, gate: Deployment, cluster: Cluster, places: list[Place], spare: Place, result: Result
) -> None:
    """Publish and strike for the plan's seconds; every fault is undone at the end."""
    stop, broken = threading.Event(), list[str]()

    def scene(name: str, place: Place | None = None) -> Scene:
        return Scene(gate, cluster, stop, random.Random(f"{plan.seed} {name}"), place)

    work: dict[str, Callable[[], None]] = {
        f"publisher {number}": Traffic(
            gate, number, random.Random(f"{plan.seed} publisher {number}"), stop, plan.burst
        ).run
        for number in range(plan.publishers)
    }
    work["transactions"] = Transactions(gate, random.Random(f"{plan.seed} transactions"), stop).run
    lanes = [(scene(place.folder, place), ON_WORKERS) for place in places]
    lanes += [(scene(f"links of {place.folder}", place), ON_LINKS) for place in places]
    lanes += [(scene("spare", spare), ON_SPARE), (scene("brokers"), ON_BROKERS), (scene("topics"), ON_TOPICS)]
    for number, (each, table) in enumerate(lanes):
        names = [name for name in plan.faults if name in table]
        if names:
            work[f"lane {number}"] = partial(lane, each, names, result)

    def guarded(name: str, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception as error:  # noqa: BLE001  (whatever ends a lane, the run says so)
            said = str(error).replace(sys.prefix, "…")  # where Python lies on this machine
            broken.append(f"{name} broke off: {type(error).__name__} {said}")

    threads = [threading.Thread(target=guarded, args=one, name=one[0], daemon=True) for one in work.items()]
    for thread in threads:
        thread.start()
    stop.wait(plan.seconds)
    stop.set()
    for thread in threads:
        thread.join(JOIN_SECONDS)
        if thread.is_alive():
            broken.append(f"{thread.name} did not end")
    result.findings += broken


def lane(scene: Scene, names: list[str], result: Result) -> None:
    """Strike one thing, one fault after the other."""
    while not scene.stop.wait(scene.chance.uniform(*BETWEEN_FAULTS_SECONDS)):
        name = scene.chance.choice(names)
        if name in ON_BROKERS:
            until_insync(scene)
        elif name in ON_WORKERS:
            until_working(scene)
        if scene.stop.is_set():
            return
        with suppress(KafkaException, NotMet):  # brokers that do not answer are struck already
            FAULTS[name](scene)
            result.faults[name] += 1


def settle(gate: Deployment, ledger: Ledger, places: list[Place], result: Result) -> None:
    """Let every worker run and wait for the outcomes; what does not come is a finding."""
    gate.connect()

    def all_ready() -> bool:
        return all(place.running().get("/readyz")[0] == 200 for place in places)

    def all_there() -> bool:
        ledger.read(gate)
        return not ledger.missing()

    ledger.put_away()
    result.unplaced = put_right(gate, ledger.asked)
    ledger.put_away()
    try:
        wait_for(all_ready, "every worker to be ready", QUIET_SECONDS)
        ledger.read(gate)  # after a long run it takes long to read what is there; the patience counts from then on
        wait_for(all_there, "an outcome for each request", QUIET_SECONDS)
    except AssertionError as error:
        result.findings.append(f"quiet: {error}; {ledger.missing()} are missing")
        ledger.read(gate)


def audit(gate: Deployment, seconds: float = QUIET_SECONDS) -> list[str]:
    """Return what the audit finds."""
    done = gate.command("audit", seconds=seconds)
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode not in {0, 1} or not lines:
        return [f"audit: exit code {done.returncode}: {done.stderr}"]
    return [f"audit {line['finding']}: {json.dumps(line)}" for line in lines[:-1]]


def say(line: str) -> None:
    """Tell how far it is."""
    print(f"chaos: {line}", file=sys.stderr, flush=True)
