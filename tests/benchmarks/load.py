"""What the contenders are given: records on fresh topics, a reader that notes when decisions become readable."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from bisect import bisect_left
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from schemas import panic_button, withdrawal_decision, withdrawal_request
from tests.deployment import Deployment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PARTITIONS = 4
ACCOUNTS = 100_000
# Every hundredth account is frozen, and asks as often as the others.
FROZEN_EACH = 100
SEED = 7
CHUNK_RECORDS = 10_000
JAVAS_PARTITIONER = "murmur2_random"
ANY_PARTITION = -1
# A contender that shows nothing for so long has failed.
SILENCE_SECONDS = 60.0
LOG_CHARACTERS = 2_000


class BenchmarkError(Exception):
    """A contender did not do its job; a figure for it would mean nothing."""


@contextmanager
def deployment(bootstrap: str, name: str) -> Iterator[Deployment]:
    """Make topics and a folder of their own, and take everything away again."""
    folder = Path(tempfile.mkdtemp(prefix=f"gate-bench-{name}-"))
    made = Deployment(bootstrap, f"bench-{name}-{os.getpid()}-{time.time_ns() // 1_000_000}", folder, PARTITIONS)
    try:
        made.create_topics()
        yield made
    except (AssertionError, BenchmarkError) as error:
        # The logs go with the folder.
        logs = "".join(worker.log.read_text()[-LOG_CHARACTERS:] for worker in made.workers)
        raise BenchmarkError("\n".join(filter(None, (str(error), logs)))) from error
    finally:
        made.stop()
        made.delete_topics()
        _delete_leftovers(made)
        shutil.rmtree(folder, ignore_errors=True)


def _delete_leftovers(made: Deployment) -> None:
    """Delete the topics that a contender made for itself."""
    left = [topic for topic in made.admin.list_topics(timeout=5).topics if made.name in topic]
    for future in made.admin.delete_topics(left).values() if left else ():
        with suppress(KafkaException):
            future.result()


def publish_presses(made: Deployment, *, by_key: bool = False) -> None:
    """Freeze every hundredth account; `by_key` as in `publish_requests`."""
    topic = made.topic(panic_button.TOPIC)
    records = [record(*press(account(number))) for number in range(0, ACCOUNTS, FROZEN_EACH)]
    turns = ((number % PARTITIONS, records[number::PARTITIONS]) for number in range(PARTITIONS))
    _publish(made, topic, turns, by_key=by_key)


@dataclass(frozen=True, slots=True)
class Published:
    """What was published: how many requests, the mean size of their values, how many must be rejected."""

    requests: int
    mean_bytes: float
    rejections: int


def publish_requests(made: Deployment, count: int, *, by_key: bool = False) -> Published:
    """Publish so many requests, spread evenly over the partitions; the same ones each time.

    `by_key`: each in the partition that Java's clients choose for its account, as systems that join by key need it.
    """
    chance = random.Random(SEED)
    total_bytes = rejections = 0

    def chunks() -> Iterator[tuple[int, list[dict[str, Any]]]]:
        nonlocal total_bytes, rejections
        for index, first in enumerate(range(0, count, CHUNK_RECORDS)):
            records = []
            for number in range(first, min(first + CHUNK_RECORDS, count)):
                asking = chance.randrange(ACCOUNTS)
                rejections += asking % FROZEN_EACH == 0
                account_id = account(asking)
                value = request(number, account_id)
                total_bytes += len(value)
                records.append(record(account_id, value))
            # In turns, a part of each chunk to each partition.
            for partition in range(PARTITIONS):
                yield (partition + index) % PARTITIONS, records[partition::PARTITIONS]

    _publish(made, made.topic(withdrawal_request.TOPIC), chunks(), by_key=by_key)
    return Published(count, total_bytes / count, rejections)


def _publish(made: Deployment, topic: str, chunks: Iterator[tuple[int, list[dict[str, Any]]]], *, by_key: bool) -> None:
    """Publish uncompressed: without extra libraries a Faust topic can't be read otherwise."""
    producer = Producer(
        {
            "bootstrap.servers": made.bootstrap,
            "log_level": 0,
            "acks": "all",
            "linger.ms": 20,
            "partitioner": JAVAS_PARTITIONER,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    send_all(producer, topic, ((ANY_PARTITION if by_key else partition, records) for partition, records in chunks))


def send_all(producer: Producer, topic: str, chunks: Iterable[tuple[int, list[dict[str, Any]]]]) -> None:
    """Send records, chunk by chunk to its partition, until all are acknowledged."""
    for partition, records in chunks:
        if producer.produce_batch(topic, records, partition) != len(records):
            raise KafkaException(next(one["_error"] for one in records if "_error" in one))
        if len(producer) > 10 * CHUNK_RECORDS and producer.flush(SILENCE_SECONDS):
            break
    if producer.flush(SILENCE_SECONDS):
        message = "the broker did not take the records in time"
        raise BenchmarkError(message)


def record(key: str, value: bytes) -> dict[str, Any]:
    """Return a record for the client's batch call."""
    return {"key": key.encode(), "value": value}


def press(account_id: str) -> tuple[str, bytes]:
    """Return key and value of the least that a press says."""
    return account_id, f'{{"account_id":"{account_id}"}}'.encode()


def account(number: int) -> str:
    """Return an account id as long as real ones are."""
    return f"acc-{number:08d}"


def request(number: int, account_id: str) -> bytes:
    """Return a request of about 250 bytes."""
    return (
        f'{{"withdrawal_id":"w-{number:012d}","account_id":"{account_id}","kind":"chain","asset":"USDT",'
        f'"network":"TRX","amount":"{number % 9_000}.25","address":"TJRyWwFs9wTFGZg3JbrVriFbNfCug5t{number:09d}",'
        f'"tag":null,"requested_at":"2026-11-22T09:00:00.000Z","memo":"rent"}}'
    ).encode()


def reader(made: Deployment) -> Consumer:
    """Return a read_committed consumer of all decisions, from the beginning."""
    consumer = Consumer(
        {
            "bootstrap.servers": made.bootstrap,
            "group.id": f"{made.name}-reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            # The reader must never be what is waited for.
            "fetch.queue.backoff.ms": 10,
        }
    )
    topic = made.topic(withdrawal_decision.TOPIC)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    return consumer


@dataclass
class Arrivals:
    """How many decisions had arrived at which moment (monotonic seconds)."""

    at: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def rate_of_second_half(self) -> float:
        """Return decisions a second over the second half.

        Who commits now and then shows its decisions in steps. Within a step the rate would be the reader's own, and the
        last one may be shorter than what its commit waited for. So both ends lie where a step ends: before the longest
        pause about one half, and before the longest pause about nine tenths.
        """
        begin, end = self._step_end(0.4, 0.6), self._step_end(0.8, 1.0)
        if begin == end:
            message = "the second half came at once: more requests are needed to measure"
            raise BenchmarkError(message)
        return (self.counts[end] - self.counts[begin]) / (self.at[end] - self.at[begin])

    def _step_end(self, least: float, most: float) -> int:
        """Return the mark before the longest pause, of those between two shares; the next one if there is none."""
        first, beyond = (bisect_left(self.counts, share * self.counts[-1]) for share in (least, most))
        return max(range(first, beyond), key=lambda mark: self.at[mark + 1] - self.at[mark], default=first)

    def at_half(self) -> int:
        """Return how many had arrived at the first mark past one half."""
        return self.counts[bisect_left(self.counts, self.counts[-1] / 2)]


def read_arrivals(made: Deployment, count: int, alive: Callable[[], bool], on_half: Callable[[], None]) -> Arrivals:
    """Read until `count` decisions have arrived; `on_half` is called once, when half of them have."""
    consumer = reader(made)
    arrivals = Arrivals()
    total, last_at = 0, time.monotonic()
    while total < count:
        messages = consumer.consume(CHUNK_RECORDS, 0.02)
        now = time.monotonic()
        records = sum(1 for message in messages if message.error() is None)
        _raise_fatal(messages)
        if records:
            if total < count / 2 <= total + records:
                on_half()
            total, last_at = total + records, now
            arrivals.at.append(now)
            arrivals.counts.append(total)
        elif not alive() or now - last_at > SILENCE_SECONDS:
            message = f"{total} of {count} decisions came"
            raise BenchmarkError(message)
    consumer.close()
    if total != count:
        message = f"{total} decisions came for {count} requests"
        raise BenchmarkError(message)
    return arrivals


def _raise_fatal(messages: list[Any]) -> None:
    for message in messages:
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF and not error.retriable():
            raise KafkaException(error)
