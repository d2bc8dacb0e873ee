"""Open loop: records leave at a fixed rate, whatever comes back; a reader notes when each decision becomes readable.

Every request is sound, so it has exactly one decision, and decisions lie in the partition of their requests, in the
same order: the n-th decision of a partition answers its n-th request. Nothing has to be parsed while it is measured.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from schemas import panic_button, withdrawal_request
from tests.benchmarks.load import PARTITIONS, BenchmarkError, account, press, reader, request
from tests.benchmarks.meter import Spread
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.deployment import Deployment

# Connections, first segments and caches are not what is measured.
WARM_UP_SECONDS = 3.0
LATE_SECONDS = 60.0
# Records that are due within so long leave together.
TICK_SECONDS = 0.001
# For so long a thread may keep another from noting the time; Python's own 5 ms would show in the latencies.
SWITCH_SECONDS = 0.0005
AT_ONCE = 10_000
READ_SECONDS = 10.0


@dataclass
class Flow:
    """Records that leave at a rate: number n is due n / rate seconds after the start; without a rate, all at once."""

    topic: str
    rate: int | None
    count: int
    make: Callable[[int], tuple[str, bytes]]
    # How late the latest left: the sender's own fault, not the gate's.
    latest_ms: float = 0.0
    sent: int = 0
    seconds: float = 0.0

    @classmethod
    def of_requests(cls, made: Deployment, rate: int, seconds: float) -> Flow:
        """Return withdrawals of many accounts, none of them frozen."""
        topic = made.topic(withdrawal_request.TOPIC)
        return cls(topic, rate, int(rate * seconds), lambda n: (account(n), request(n, account(n))))

    @classmethod
    def of_presses(cls, made: Deployment, rate: int | None, count: int) -> Flow:
        """Return presses, each for an account of its own that asks for nothing."""
        return cls(made.topic(panic_button.TOPIC), rate, count, lambda n: press(f"storm-{n:08d}"))

    def run(self, made: Deployment, starts_at: float, stop: threading.Event) -> None:
        """Send, from the time `starts_at` (s) on, until all is acknowledged; late ones at once."""
        producer = Producer(
            {
                "bootstrap.servers": made.bootstrap,
                "log_level": 0,
                "enable.idempotence": True,  # acks=all, and no retry changes the order
                "linger.ms": 0 if self.rate else 20,
                "queue.buffering.max.messages": 1_000_000,
            }
        )
        while self.sent < self.count and not stop.is_set():
            due = self._due(starts_at)
            if due > self.sent:
                self._send(producer, due)
            else:
                stop.wait(max(TICK_SECONDS, starts_at + self.sent / (self.rate or 1) - time.time()))
            if len(producer) > 10 * AT_ONCE:
                producer.flush(LATE_SECONDS)
        if producer.flush(LATE_SECONDS):
            message = f"the broker did not take what was sent to {self.topic}"
            raise BenchmarkError(message)
        self.seconds = time.time() - starts_at

    def _due(self, starts_at: float) -> int:
        if self.rate is None:
            return min(self.count, self.sent + AT_ONCE)
        elapsed = time.time() - starts_at
        due = min(self.count, int(elapsed * self.rate) + 1) if elapsed >= 0 else 0
        if due > self.sent:
            self.latest_ms = max(self.latest_ms, (elapsed - self.sent / self.rate) * 1000)
        return min(due, self.sent + AT_ONCE)

    def _send(self, producer: Producer, due: int) -> None:
        runs: list[list[dict[str, str | bytes]]] = [[] for _ in range(PARTITIONS)]
        for number in range(self.sent, due):
            key, value = self.make(number)
            runs[number % PARTITIONS].append({"key": key, "value": value})
        for partition, run in enumerate(runs):
            if run and producer.produce_batch(self.topic, run, partition) != len(run):
                raise KafkaException(next(record["_error"] for record in run if "_error" in record))
        self.sent = due


@dataclass(slots=True)
class Probe:
    """A press, and the request that was sent as soon as it was acknowledged. Times in ms."""

    acknowledged_ms: float
    partition: int
    offset: int


@dataclass
class Traffic:
    """Flows and a reader, each in a thread; times are of the wall clock in ms, as the broker's append times are."""

    made: Deployment
    stop: threading.Event = field(default_factory=threading.Event)
    readable_ms: list[list[float]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    probes: list[Probe] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    starts_at: float = 0.0

    @contextmanager
    def running(
        self, *flows: Flow, probes_per_second: int = 0, seconds: float = 0.0
    ) -> Iterator[list[threading.Thread]]:
        """Read decisions and let the flows run; give their threads. What a thread raises ends all, and is raised."""
        sys.setswitchinterval(SWITCH_SECONDS)
        reading = self._thread(self._read, reader(self.made))
        self.starts_at = time.time() + 0.5
        sending = [self._thread(flow.run, self.made, self.starts_at, self.stop) for flow in flows]
        if probes_per_second:
            sending.append(self._thread(self._probe, probes_per_second, seconds))
        try:
            yield sending
        finally:
            self.stop.set()
            for thread in (reading, *sending):
                thread.join(LATE_SECONDS)
        self.check()

    def check(self) -> None:
        """Raise what a thread has raised."""
        if self.failures:
            raise self.failures[0]

    def join(self, threads: list[threading.Thread], seconds: float) -> None:
        """Wait until all has been sent, at most so long."""
        deadline = time.monotonic() + seconds
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                message = f"the sender was not done within {seconds:.0f} s"
                raise BenchmarkError(message)
        self.check()

    def wait_decided(self, requests: int, seconds: float = LATE_SECONDS) -> None:
        """Wait until so many decisions were readable."""
        wait_for(lambda: self.failures or self.decided() >= requests, f"{requests} decisions", seconds)
        self.check()

    def decided(self) -> int:
        """Return how many decisions were readable so far."""
        return sum(map(len, self.readable_ms))

    def _thread(self, work: Callable[..., None], *arguments: object) -> threading.Thread:
        def guarded() -> None:
            try:
                work(*arguments)
            except Exception as error:  # noqa: BLE001  (handed to the main thread)
                self.failures.append(error)
                self.stop.set()

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread

    def _read(self, consumer: Consumer) -> None:
        while not self.stop.is_set():
            first = consumer.poll(0.05)
            if first is None:
                continue
            messages = (first, *consumer.consume(AT_ONCE, 0))
            now_ms = time.time() * 1000
            for message in messages:
                error = message.error()
                if error is None:
                    self.readable_ms[message.partition() or 0].append(now_ms)
                elif not error.retriable():
                    raise KafkaException(error)
        consumer.close()

    def _probe(self, rate: int, seconds: float) -> None:
        """Press for one account after the other, and ask for a withdrawal as soon as the press is acknowledged."""
        producer = Producer({"bootstrap.servers": self.made.bootstrap, "acks": "all", "linger.ms": 0})

        def send(topic: str, number: int, key: str, value: bytes) -> int:
            offsets: list[int] = []
            producer.produce(
                self.made.topic(topic),
                value,
                key,
                number % PARTITIONS,
                on_delivery=lambda error, sent: offsets.append(-1 if error else sent.offset() or 0),
            )
            if producer.flush(LATE_SECONDS) or offsets[0] < 0:
                message = f"a record for {topic} was not acknowledged"
                raise BenchmarkError(message)
            return offsets[0]

        for number in range(int(rate * seconds)):
            if self.stop.wait(max(0.0, self.starts_at + number / rate - time.time())):
                return
            account_id = f"pressed-{number}"
            send(panic_button.TOPIC, number, *press(account_id))
            acknowledged_ms = time.time() * 1000
            value = f'{{"withdrawal_id":"p-{number}","account_id":"{account_id}"}}'.encode()
            offset = send(withdrawal_request.TOPIC, number, account_id, value)
            self.probes.append(Probe(acknowledged_ms, number % PARTITIONS, offset))

    def request_spreads(self, rate: int) -> tuple[Spread, Spread]:
        """Return request appended - decision readable, and due to be sent - decision readable, after the warm-up."""
        from_ms = (self.starts_at + WARM_UP_SECONDS) * 1000
        appended, due = [], []
        for partition, times in enumerate(append_times(self.made)):
            readable = self.readable_ms[partition]
            if len(readable) != len(times):
                message = f"{len(readable)} decisions came for the {len(times)} requests of partition {partition}"
                raise BenchmarkError(message)
            probed = {probe.offset for probe in self.probes if probe.partition == partition}
            # Numbers count the flow's requests only; the probes' lie between them.
            plain = [offset for offset in range(len(times)) if offset not in probed]
            for number, offset in enumerate(plain):
                due_ms = self.starts_at * 1000 + (number * PARTITIONS + partition) / rate * 1000
                if due_ms >= from_ms:
                    appended.append(readable[offset] - times[offset])
                    due.append(readable[offset] - due_ms)
        return Spread.of(appended), Spread.of(due)

    def probe_spread(self) -> Spread:
        """Return press acknowledged - rejection readable, of the request sent upon it, after the warm-up."""
        from_ms = (self.starts_at + WARM_UP_SECONDS) * 1000
        return Spread.of(
            self.readable_ms[probe.partition][probe.offset] - probe.acknowledged_ms
            for probe in self.probes
            if probe.acknowledged_ms >= from_ms
        )

    def longest_gap_ms(self, partition: int | None = None, from_ms: float = 0.0) -> float:
        """Return the longest time without a decision, of a partition or of any; from then on, or from the start."""
        chosen = self.readable_ms if partition is None else [self.readable_ms[partition]]
        moments = sorted({moment for times in chosen for moment in times})
        # A gap that began before counts too: what ends it comes afterwards.
        return max((later - earlier for earlier, later in pairwise(moments) if later >= from_ms), default=0.0)


def append_times(made: Deployment) -> list[list[int]]:
    """Return the append time (ms) of each request, by partition and offset."""
    topic = made.topic(withdrawal_request.TOPIC)
    ends = made.end_offsets(withdrawal_request.TOPIC)
    consumer = Consumer({"bootstrap.servers": made.bootstrap, "group.id": f"{made.name}-times", "log_level": 0})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    times: list[list[int]] = [[] for _ in range(PARTITIONS)]
    while sum(map(len, times)) < sum(ends.values()):
        messages = consumer.consume(AT_ONCE, READ_SECONDS)
        if not messages:
            missing = f"{topic} could not be read back"
            raise BenchmarkError(missing)
        for message in messages:
            if message.error() is None:
                times[message.partition() or 0].append(message.timestamp()[1])
    consumer.close()
    return times
