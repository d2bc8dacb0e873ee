"""Where a rehearsal plays: workers under traffic, somebody who reads what is decided, and the verdict at the end."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.errors import KafkaUnreachable
from streams.judge import judge
from tests.chaos.places import put_right
from tests.chaos.run import audit
from tests.chaos.traffic import Traffic
from tests.deployment import places
from tests.processes import PATIENCE_SECONDS, Worker, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.cluster import Cluster
    from tests.deployment import Deployment

# Whatever a change does to decisions, each request must have its outcome within two minutes of the end of the traffic.
SETTLE_SECONDS = 120.0
SHOWN_FINDINGS = 20
# A second of traffic before the first step and after the last.
CALM_SECONDS = 1.0


@dataclass(frozen=True)
class Version:
    """The code that a worker runs: this checkout's, or another's that `environment` puts in its place."""

    name: str = "this checkout"
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Post:
    """Where a worker stands: a data folder that outlives its processes."""

    gate: Deployment
    folder: str
    process: Worker | None = None

    def start(self, version: Version, **environment: str) -> Worker:
        """Start a worker of that version on the folder."""
        self.process = self.gate.worker(self.folder, **version.environment, **environment)
        return self.process

    @property
    def worker(self) -> Worker:
        """The worker that was started last."""
        assert self.process is not None
        return self.process

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.gate.folder / self.folder / "data"


class Decisions:
    """Reads what is decided as an engine does, and notes when each decision came, on the clock of the publishers."""

    def __init__(self, gate: Deployment) -> None:
        """Read every partition from its beginning."""
        topic = gate.topic("withdrawal-decision")
        self.came_at: dict[str, float] = {}
        self._consumer = Consumer(
            {
                "bootstrap.servers": gate.bootstrap,
                "group.id": f"{gate.name}-rehearsal",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "log_level": 0,
            }
        )
        self._consumer.assign([TopicPartition(topic, partition, 0) for partition in range(gate.partitions)])
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._ended.is_set():
            for message in self._consumer.consume(1_000, 0.02):
                if message.error() is None:
                    withdrawal_id = json.loads(message.value() or b"")["withdrawal_id"]
                    self.came_at.setdefault(withdrawal_id, time.monotonic())

    def close(self) -> None:
        """Read no further."""
        self._ended.set()
        self._thread.join(10)
        self._consumer.close()

    def longest_gap_seconds(self, since: float, until: float) -> float:
        """Return the longest time between two decisions that came one after the other, within these moments."""
        came = sorted(moment for moment in list(self.came_at.values()) if since < moment < until)
        return max(later - earlier for earlier, later in pairwise([since, *came, until]))


class Stage:
    """Topics, posts with workers and traffic; what is seen goes to stderr, what must not be into `findings`."""

    def __init__(self, gate: Deployment, workers: int = 3, cluster: Cluster | None = None) -> None:
        """Make the topics; nothing runs yet."""
        self.gate, self.cluster = gate, cluster
        self.posts = [Post(gate, f"worker-{number}") for number in range(1, workers + 1)]
        self.findings: list[str] = []
        self.began = time.monotonic()
        self.stop = threading.Event()
        # Brokers come and go here; that a client lost one is no news.
        gate.admin = AdminClient({"bootstrap.servers": gate.bootstrap, "log_level": 0})
        self._publisher: threading.Thread | None = None
        self._supervisor: threading.Thread | None = None
        self._over = threading.Event()
        self.opened_at = self.closed_at = 0.0
        replication = "3" if cluster is not None else "1"
        self.expect(0, "topics", "create", "--partitions", str(gate.partitions), "--replication", replication)
        self.decisions = Decisions(gate)

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End traffic, reader and workers."""
        self._over.set()
        try:
            self.close()
            self.decisions.close()
            if self._supervisor is not None:
                self._supervisor.join(PATIENCE_SECONDS)
        finally:
            self.gate.stop()

    def say(self, line: str) -> None:
        """Tell what is seen, and when."""
        print(f"{time.monotonic() - self.began:6.1f} s  {line}", file=sys.stderr, flush=True)

    def find(self, finding: str) -> None:
        """Note what must not be."""
        self.findings.append(finding)
        self.say(f"FOUND {finding}")

    def expect(self, code: int, *command: str, **environment: str) -> str:
        """Run a command of the runbook; another exit code than this is a finding. Return what it printed."""
        done = self.gate.command(*command, seconds=PATIENCE_SECONDS, **environment)
        said = done.stdout.strip() or done.stderr.strip()
        if done.returncode != code:
            self.find(f"withdrawal-gate {' '.join(command)}: exit code {done.returncode}, not {code}: {said}")
        return said

    def open(self, version: Version, **environment: str) -> None:
        """Start a worker at each post, wait until all are ready, and let the traffic begin."""
        for post in self.posts:
            post.start(version, **environment)
        for post in self.posts:
            post.worker.wait_ready()
        traffic = Traffic(self.gate, 0, random.Random(0), self.stop)
        self._publisher = threading.Thread(target=self._publish, args=(traffic,), daemon=True)
        self.opened_at = time.monotonic()
        self._publisher.start()
        self.say(f"{len(self.posts)} workers of {version.name} are ready; traffic begins")
        self.calm()

    def _publish(self, traffic: Traffic) -> None:
        try:
            traffic.run()
        except Exception as error:  # noqa: BLE001  (whatever ends the traffic, the rehearsal says so)
            self.find(f"the traffic broke off: {type(error).__name__} {error}")

    def supervise(self, version: Version) -> None:
        """From now on start workers again that end with exit code 3, as supervisors do; another code is a finding."""
        self._supervisor = threading.Thread(target=self._start_again, args=(version,), daemon=True)
        self._supervisor.start()

    def _start_again(self, version: Version) -> None:
        given_up: set[str] = set()
        while not self._over.wait(0.2):
            for post in self.posts:
                code = post.worker.process.poll()
                if code is None or post.folder in given_up:
                    continue
                if code == KafkaUnreachable.exit_code:
                    self.say(f"{post.folder} ended with exit code {code} and is started again")
                    post.start(version)
                else:
                    given_up.add(post.folder)
                    self.find(f"{post.folder} ended meanwhile with exit code {code}:\n{post.worker.log.read_text()}")

    def all_ready(self) -> bool:
        """Tell whether every worker can decide; False while one is about to be started again."""
        try:
            return all(post.worker.ready() for post in self.posts)
        except AssertionError:
            if self._supervisor is None:
                raise
            return False

    def calm(self) -> None:
        """Let it run on for a moment."""
        self.stop.wait(CALM_SECONDS)

    def close(self) -> None:
        """End the traffic; everything sent is acknowledged then."""
        self.stop.set()
        if self._publisher is not None:
            self.closed_at = time.monotonic()
            self._publisher.join(SETTLE_SECONDS)
            self._publisher = None

    def ended(self, post: Post, *codes: int) -> None:
        """SIGTERM to a worker, as a supervisor does; another exit code than these is a finding."""
        began = time.monotonic()
        code = post.worker.stop()
        if code not in codes:
            self.find(f"{post.folder} ended with exit code {code} after SIGTERM, not {' or '.join(map(str, codes))}")
        self.say(f"{post.folder}: SIGTERM, exit code {code} after {time.monotonic() - began:.1f} s")

    def ready_again(self, post: Post, version: Version, **environment: str) -> None:
        """Start a worker on its folder and wait until it can decide."""
        began = time.monotonic()
        post.start(version, **environment).wait_ready()
        self.say(f"{post.folder}: {version.name} is ready {time.monotonic() - began:.1f} s after its start")

    def since(self, began: float, what: str) -> None:
        """Say for how long nobody decided anything since a moment."""
        gap = self.decisions.longest_gap_seconds(began, time.monotonic())
        self.say(f"{what}: at the longest {gap:.1f} s without a decision of any worker")

    def done(self) -> None:
        """Hold what most of the runbook's changes end with: all ready, topics right, a round of the drill kept."""
        wait_for(self.all_ready, "all workers to be ready")
        versions = {line for post in self.posts for line in build_info(post.worker)}
        if len(versions) != 1:
            self.find(f"gate_build_info shows {len(versions)} versions")
        self.expect(0, "topics", "check")
        self.expect(0, "drill")
        self.say(
            "done: every worker is ready, one gate_build_info, topics check exits 0, a round of the drill was kept"
        )

    def verdict(self) -> dict[str, Any]:
        """End the traffic, wait for what is still undecided, let judge and audit read everything, and sum up."""
        self.calm()
        self.close()
        taken = places(self.gate.history.requests)
        put_right(self.gate, lambda partition, offset: (partition, offset) in taken)
        try:
            self.gate.wait_decided(SETTLE_SECONDS)
        except AssertionError as error:
            self.find(f"requests without outcome: {str(error).split('; the workers', 1)[0]}")
            self.gate.read_history()
        judged = judge(self.gate.history)
        for finding in (judged.findings + audit(self.gate))[:SHOWN_FINDINGS]:
            self.find(finding)
        return self._summary()

    def _summary(self) -> dict[str, Any]:
        history, came_at = self.gate.history, self.decisions.came_at
        outcomes = {(outcome.partition, outcome.offset) for outcome in history.outcomes}
        # A repeated id has one decision, and so one time: that of the first record.
        sent_at: dict[str, float] = {}
        for request in history.requests:
            sent_at.setdefault(request.withdrawal_id, request.sent_at)
        if not came_at:
            self.find("no decision was seen to come")
        waits = [came_at[withdrawal_id] - at for withdrawal_id, at in sent_at.items() if withdrawal_id in came_at]
        return {
            "seconds": round(time.monotonic() - self.began, 1),
            "requests": len(history.requests),
            "without_outcome": len(places(history.requests) - outcomes),
            "presses": len(history.press_records),
            "longest_without_decision_seconds": round(
                self.decisions.longest_gap_seconds(self.opened_at, self.closed_at), 2
            ),
            "longest_wait_of_a_request_seconds": round(max(waits, default=0.0), 2),
            "findings": self.findings,
        }


def build_info(worker: Worker) -> list[str]:
    """Return the series of gate_build_info."""
    return [line for line in worker.get("/metrics")[1].splitlines() if line.startswith("gate_build_info{")]


def wait_until(moment_ms: int, seconds: float) -> None:
    """Wait until this machine's clock, which is the brokers' here, has passed a moment."""
    wait_for(lambda: time.time_ns() // 1_000_000 > moment_ms, "the clock to pass a moment", seconds)
