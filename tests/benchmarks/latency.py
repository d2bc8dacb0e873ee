"""Latency, open loop: requests and presses leave at a fixed rate, whatever comes back."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil
from confluent_kafka import KafkaError, Message, Producer

from schemas import panic_button, withdrawal_request
from tests.benchmarks.load import BenchmarkError, account, deployment, reader, request
from tests.benchmarks.throughput import cpu_seconds
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from confluent_kafka import Consumer

    from tests.deployment import Deployment
    from tests.processes import Worker

PRESSES_PER_SECOND = 5
# Connections, first segments and caches are not what is measured.
WARM_UP_SECONDS = 3.0
LATE_SECONDS = 30.0
# Press appended to in force.
PRESS_IN_FORCE = "gate_freeze_latency_seconds"


@dataclass(frozen=True, slots=True)
class Spread:
    """Latencies in milliseconds."""

    count: int
    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, milliseconds: list[float]) -> Spread:
        """Return percentiles by nearest rank."""
        ordered = sorted(milliseconds)
        p50, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.50, 0.99))
        return cls(len(ordered), p50, p99, ordered[-1])


@dataclass(slots=True)
class Asked:
    """A request on its way; times in seconds, of the wall clock or monotonic."""

    withdrawal_id: str
    frozen: bool
    counts: bool
    due_at: float
    press_acknowledged_at: float = 0.0
    append_ms: int = -1

    def acknowledged(self, error: KafkaError | None, message: Message) -> None:
        """Keep the broker's append time."""
        if error is None:
            self.append_ms = message.timestamp()[1]


@dataclass(slots=True)
class Answer:
    """A decision as the reader received it."""

    rejected: bool
    wall_ms: float
    monotonic: float


@dataclass
class Latencies:
    """What came out, and what the worker spent meanwhile."""

    request_appended: Spread
    request_due: Spread
    press_acknowledged: Spread
    # From the worker's histogram: upper bounds of the buckets in which the percentiles lie.
    press_in_force_at_most: Spread
    cpu_share: float
    resident_mb: float


@dataclass
class Trial:
    """One open-loop run against one worker."""

    made: Deployment
    rate: int
    seconds: float
    stop: threading.Event = field(default_factory=threading.Event)
    asked: list[Asked] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    failures: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start in a moment."""
        self.starts_at = time.monotonic() + 0.5

    def ask_at_rate(self) -> None:
        """Send requests of accounts that are not frozen."""
        producer = self._producer()
        for number, due_at, counts in self._schedule(self.rate):
            asked = Asked(f"w-{number:012d}", frozen=False, counts=counts, due_at=due_at)
            self._request(producer, asked, request(number, account(number)), account(number))
            producer.poll(0)
        producer.flush(LATE_SECONDS)

    def press_at_rate(self) -> None:
        """Press for one account after the other, and ask for a withdrawal as soon as the press is acknowledged."""
        producer = self._producer()
        for number, due_at, counts in self._schedule(PRESSES_PER_SECOND):
            account_id = f"pressed-{number}"
            acknowledged_at = self._press(producer, account_id)
            asked = Asked(f"p-{number}", frozen=True, counts=counts, due_at=due_at)
            asked.press_acknowledged_at = acknowledged_at
            value = json.dumps({"withdrawal_id": asked.withdrawal_id, "account_id": account_id}).encode()
            self._request(producer, asked, value, account_id)
            producer.flush(LATE_SECONDS)

    def read(self, consumer: Consumer) -> None:
        """Note when each decision could be read; the first one counts."""
        while not self.stop.is_set():
            message = consumer.poll(0.05)
            if message is None or message.error() is not None:
                continue
            wall_ms, monotonic = time.time() * 1000, time.monotonic()
            decision = json.loads(message.value() or b"")
            answer = Answer(decision["decision"] == "rejected", wall_ms, monotonic)
            self.answers.setdefault(decision["withdrawal_id"], answer)
        consumer.close()

    def _schedule(self, rate: int) -> Iterator[tuple[int, float, bool]]:
        """Give number, due time and whether it counts, each when it is due; late ones at once."""
        for number in range(int(rate * (WARM_UP_SECONDS + self.seconds))):
            due_at = self.starts_at + number / rate
            if self.stop.wait(max(0.0, due_at - time.monotonic())):
                return
            yield number, due_at, number / rate >= WARM_UP_SECONDS

    def _producer(self) -> Producer:
        return Producer({"bootstrap.servers": self.made.bootstrap, "acks": "all", "linger.ms": 0})

    def _request(self, producer: Producer, asked: Asked, value: bytes, account_id: str) -> None:
        self.asked.append(asked)
        topic = self.made.topic(withdrawal_request.TOPIC)
        producer.produce(topic, value, account_id.encode(), on_delivery=asked.acknowledged)

    def _press(self, producer: Producer, account_id: str) -> float:
        acknowledged_at: list[float] = []

        def acknowledged(error: KafkaError | None, _message: Message) -> None:
            if error is None:
                acknowledged_at.append(time.monotonic())

        value = json.dumps({"account_id": account_id}).encode()
        producer.produce(self.made.topic(panic_button.TOPIC), value, account_id.encode(), on_delivery=acknowledged)
        producer.flush(LATE_SECONDS)
        return acknowledged_at[0]

    @contextmanager
    def running(self, work: Callable[..., None], *arguments: object) -> Iterator[threading.Thread]:
        """Run work in a thread; what it raises is kept."""

        def guarded() -> None:
            try:
                work(*arguments)
            except Exception as error:  # noqa: BLE001  (handed to the main thread)
                self.failures.append(error)
                self.stop.set()

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        try:
            yield thread
        finally:
            self.stop.set()
            thread.join(LATE_SECONDS)


def measure(bootstrap: str, rate: int, seconds: float, say: Callable[[str], None]) -> Latencies:
    """Run one worker under that load."""
    with deployment(bootstrap, "latency") as made:
        worker = made.worker().wait_ready()
        meter = psutil.Process(worker.process.pid)
        consumer = reader(made)
        say(f"latency: {rate} requests/s and {PRESSES_PER_SECOND} presses/s for {seconds:g} s")
        trial = Trial(made, rate, seconds)
        with (
            trial.running(trial.read, consumer),
            trial.running(trial.ask_at_rate) as asking,
            trial.running(trial.press_at_rate) as pressing,
        ):
            trial.stop.wait(max(0.0, trial.starts_at + WARM_UP_SECONDS - time.monotonic()))
            before, spent, began_at = buckets(worker, PRESS_IN_FORCE), cpu_seconds(meter), time.monotonic()
            asking.join(seconds + LATE_SECONDS)
            pressing.join(LATE_SECONDS)
            share = (cpu_seconds(meter) - spent) / (time.monotonic() - began_at)
            wait_for(lambda: trial.failures or len(trial.answers) >= len(trial.asked), "decisions", LATE_SECONDS)
        in_force = spread_of_buckets(before, buckets(worker, PRESS_IN_FORCE))
        resident_mb = meter.memory_info().rss / 1_000_000
    if trial.failures:
        raise trial.failures[0]
    return evaluate(trial, in_force, share, resident_mb)


def evaluate(trial: Trial, in_force: Spread, cpu_share: float, resident_mb: float) -> Latencies:
    """Turn times into latencies; a wrong decision makes them worthless."""
    pairs = [(asked, trial.answers[asked.withdrawal_id]) for asked in trial.asked]
    wrong = [asked.withdrawal_id for asked, answer in pairs if asked.frozen != answer.rejected]
    if wrong:
        message = f"{len(wrong)} decisions are wrong, the first is that of {wrong[0]}"
        raise BenchmarkError(message)
    free = [(asked, answer) for asked, answer in pairs if asked.counts and not asked.frozen]
    frozen = [(asked, answer) for asked, answer in pairs if asked.counts and asked.frozen]
    return Latencies(
        Spread.of([answer.wall_ms - asked.append_ms for asked, answer in free]),
        Spread.of([(answer.monotonic - asked.due_at) * 1000 for asked, answer in free]),
        Spread.of([(answer.monotonic - asked.press_acknowledged_at) * 1000 for asked, answer in frozen]),
        in_force,
        cpu_share,
        resident_mb,
    )


def buckets(worker: Worker, histogram: str) -> dict[float, float]:
    """Return a worker's histogram: cumulative counts by upper bound in seconds."""
    pattern = re.compile(rf'^{histogram}_bucket\{{le="([^"]+)"\}} (\S+)$', re.MULTILINE)
    return {float(bound): float(count) for bound, count in pattern.findall(worker.get("/metrics")[1])}


def spread_of_buckets(before: dict[float, float], after: dict[float, float]) -> Spread:
    """Return the bounds, in milliseconds, below which the percentiles of what came in between lie."""
    grown = {bound: after[bound] - before[bound] for bound in after}
    total = max(grown.values())
    if not total:
        message = "the worker counted nothing"
        raise BenchmarkError(message)
    bounds = [min(bound for bound, count in grown.items() if count >= total * share) for share in (0.50, 0.99, 1.0)]
    return Spread(int(total), *(bound * 1000 for bound in bounds))
