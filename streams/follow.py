"""follow: reads every partition of `panic-button` and folds the presses into the freeze table.

No consumer group: each worker reads all of it, so nothing depends on how publishers partition, and a worker that takes
over requests has nothing to restore. Committed records only; the end-of-partition event carries the position behind
transaction markers, so `applied` reaches the brokers' end offset on any topic.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, TopicPartition

from schemas.panic_button import parse_press
from schemas.wire import Fault
from streams.errors import PromiseAtRisk
from streams.freeze_table import AppliedPress
from streams.kafka import ask, end_offsets, reader, start_offsets
from streams.rule import freeze_of_press

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confluent_kafka.admin import AdminClient

    from streams.broker_clock import BrokerClock
    from streams.freeze_table import FreezeTable
    from streams.health import Health
    from streams.metrics import Metrics
    from streams.settings import Settings

log = logging.getLogger(__name__)
MAX_BATCH_RECORDS = 5_000
POLL_SECONDS = 0.5


@dataclass(slots=True)
class FollowBatch:
    """Presses to fold and the position behind them, by partition."""

    presses: list[AppliedPress] = field(default_factory=list)
    positions: dict[int, int] = field(default_factory=dict)


class Follow:
    """`fetch` is for one thread, `apply` for another; everybody may wait for what is applied."""

    def __init__(  # noqa: PLR0913  (its collaborators, each by name)
        self,
        settings: Settings,
        *,
        client: AdminClient,
        table: FreezeTable,
        clock: BrokerClock,
        metrics: Metrics,
        health: Health,
    ) -> None:
        """Open the reader; nothing is read before the first fetch."""
        self._topic = settings.topic("panic-button")
        self._policy = settings.policy
        self._client = client
        self._table = table
        self._clock = clock
        self._metrics = metrics
        self._health = health
        self.consumer = reader(settings, f"{settings.workers_group}-follow")
        self._followed = 0
        # How many partitions are to be followed.
        self.wanted = 0
        self._started_ms = clock.now_ms()
        self._moved = threading.Condition()

    def follow(self, partitions: int) -> None:
        """Ask for that many partitions to be followed; the next fetch starts the new ones."""
        self.wanted = max(self.wanted, partitions)

    def fetch(self) -> FollowBatch:
        """Return what there is within half a second."""
        if self.wanted > self._followed:
            self._start_new_partitions()
        batch = FollowBatch()
        first = self.consumer.poll(POLL_SECONDS)
        if first is not None:
            messages = (first, *self.consumer.consume(MAX_BATCH_RECORDS, 0))
            # The last record tells as much of the time as those before; each look takes 0.7 µs, parsing 1.7.
            last = next((message for message in reversed(messages) if message.error() is None), None)
            if last is not None:
                self._clock.observe(last.timestamp())
            for message in messages:
                self._take(message, batch)
        return batch

    def _start_new_partitions(self) -> None:
        new = range(self._followed, self.wanted)
        starts = ask(lambda: start_offsets(self._client, self._topic, new))
        ends = ask(lambda: end_offsets(self._client, self._topic, new))
        applied = self._table.applied
        places = []
        for partition in new:
            position = applied.get(partition, 0)
            if position > ends[partition]:
                message = (
                    f"{self._topic}: partition {partition} ends at {ends[partition]}, but this data folder has applied "
                    f"up to {position}; presses were lost in Kafka or the topic is another one: find out, then delete "
                    "the folder"
                )
                raise PromiseAtRisk(message)
            # What retention has deleted is older than any freeze that can still matter (schemas/topics.py).
            places.append(TopicPartition(self._topic, partition, max(position, starts[partition])))
        self.consumer.incremental_assign(places)
        self._followed = self.wanted
        log.info("following %d partitions of %s", self._followed, self._topic)

    def _take(self, message: Message, batch: FollowBatch) -> None:
        partition, offset, error = message.partition(), message.offset(), message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF and partition is not None and offset is not None:
                batch.positions[partition] = offset
            elif error.code() == KafkaError._AUTO_OFFSET_RESET or error.fatal():
                raise KafkaException(error)
            return
        if partition is None or offset is None:
            return
        batch.positions[partition] = offset + 1
        press = parse_press(message.key(), message.value(), partition, offset)
        if not isinstance(press, Fault):
            freeze = freeze_of_press(self._policy, press.press_id, press.asked_seconds, self._pressed_ms(message))
            batch.presses.append(AppliedPress(press.account_id, partition, offset, freeze))

    def _pressed_ms(self, message: Message) -> int:
        kind, append_ms = message.timestamp()
        if kind == TIMESTAMP_LOG_APPEND_TIME:
            return append_ms
        self._health.distrust(self._topic)
        return self._clock.now_ms()

    def apply(self, batch: FollowBatch) -> None:
        """Fold a batch into the table and wake who waits for it."""
        if not batch.positions:
            return
        self._table.apply(batch.presses, batch.positions)
        now_ms = self._clock.now_ms()
        for press in batch.presses:
            # A press from before this worker started was in force elsewhere; its age here is no latency.
            if press.freeze.pressed_ms >= self._started_ms:
                self._metrics.freeze_latency.observe((now_ms - press.freeze.pressed_ms) / 1000)
        with self._moved:
            self._moved.notify_all()

    def wait_applied(self, ends: Mapping[int, int], seconds: float) -> bool:
        """Wait until everything below `ends` is in the table; False when it is not within `seconds`."""
        deadline = time.monotonic() + seconds
        with self._moved:
            while self.remaining(ends):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._moved.wait(left)
        return True

    def remaining(self, ends: Mapping[int, int]) -> int:
        """Return how many offsets below `ends` are not in the table yet."""
        applied = self._table.applied
        return sum(max(0, end - applied.get(partition, 0)) for partition, end in ends.items())

    def close(self) -> None:
        """Leave the topic; not while another thread fetches."""
        self.consumer.close()
