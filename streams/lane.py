"""A lane: one input partition with the transactional producer that alone may commit for it.

The transactional id names group, topic and partition. Initialising it fences whoever used it before and ends what they
left open, so a dead or paused owner neither holds readers back nor commits later.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from schemas.dead_letter import Headers
from streams.kafka import error_of, transactional_producer

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from streams.broker_clock import BrokerClock
    from streams.settings import Settings

log = logging.getLogger(__name__)
# Longer than the transaction timeout: an open transaction that stands in the way has ended by then.
TRANSACTION_SECONDS = 15.0
ABORT_SECONDS = 3.0
# Somebody else owns the partition now, or the group has gone on without us.
FENCED_CODES = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_INSTANCE_ID,
    }
)


# A record to produce: topic, partition, key, value, headers (None for none). A plain tuple: one of a named class takes
# ten times as long to make, and there is one for each decision.
Record = tuple[str, int, bytes | None, bytes | None, Headers | None]


@dataclass(slots=True)
class LaneWork:
    """What one transaction of a lane holds: records, in order, and where the lane goes on afterwards."""

    next_offset: int
    note: str = ""
    records: list[Record] = field(default_factory=list)


class LaneBroken(Exception):  # noqa: N818  (a state of the lane; its owner opens it again)
    """The transaction did not demonstrably commit: the lane has to be opened again before the next one."""

    def __init__(self, error: KafkaError) -> None:
        """Keep what Kafka said."""
        super().__init__(error.str())
        self.fenced = error.code() in FENCED_CODES or (error.fatal() and error.code() == KafkaError._FENCED)


class Lane:
    """One transaction at a time; `next_offset` is the first input offset whose outcome is not committed."""

    def __init__(
        self, settings: Settings, group: str, topic: str, partition: int, output_bytes: Collection[int]
    ) -> None:
        """Make the producer; `open` makes it usable."""
        self.topic = topic
        self.partition = partition
        self.next_offset = 0
        self.note = ""
        # How far records were fetched, and the end of the partition as it was last reached (behind markers, too).
        self.fetched = self.end_seen = 0
        self._producer = transactional_producer(settings, f"{group}-{topic}-{partition}", output_bytes)

    def start_at(self, offset: int, note: str) -> None:
        """Go on from there."""
        self.next_offset = self.fetched = self.end_seen = offset
        self.note = note

    def lag(self, end: int) -> int:
        """Return how many offsets below `end` are not done; 0 when the end was reached and all of it is committed."""
        position = max(self.next_offset, self.end_seen) if self.next_offset >= self.fetched else self.next_offset
        return max(0, end - position)

    def open(self) -> None:
        """Fence every earlier owner and end what it left open; raise KafkaException."""
        # Without a connection librdkafka looks for its coordinator in vain, and again after half a second only. The
        # first answer names the brokers and ends the connection that it came by: the second one comes from them.
        for _ in range(2):
            self._producer.list_topics(self.topic, TRANSACTION_SECONDS)
        self._producer.init_transactions(TRANSACTION_SECONDS)

    def settle_offsets(self, group_metadata: Any) -> None:  # noqa: ANN401  (the client's own)
        """Have the group's coordinator forget what it holds pending of this producer; raise KafkaException.

        A broker that was stopped in the middle of a transaction can come back with an offset that stays pending
        although its transaction has ended: then nobody is told this partition's committed offset any more. The next
        end of a transaction of the same producer that names the group clears it; so this begins one, and aborts it.
        """
        self._producer.begin_transaction()
        place = TopicPartition(self.topic, self.partition, self.next_offset)
        self._producer.send_offsets_to_transaction([place], group_metadata, TRANSACTION_SECONDS)
        self._producer.abort_transaction(TRANSACTION_SECONDS)

    def learn_time(self, clock: BrokerClock, topic: str, partition: int) -> None:
        """Ask the broker what time it is: append a record there, take its append time, take the record back.

        Only readers of uncommitted records ever see it.
        """
        self._producer.begin_transaction()
        self._producer.produce(
            topic,
            partition=partition,
            key=b"time",
            value=None,
            on_delivery=lambda _error, sent: clock.told(sent.timestamp()),
        )
        self._producer.flush(TRANSACTION_SECONDS)
        self._producer.abort_transaction(TRANSACTION_SECONDS)

    def commit(self, work: LaneWork, group_metadata: Any, clock: BrokerClock) -> None:  # noqa: ANN401  (the client's own)
        """Produce the records and commit the input offset, both or neither; raise LaneBroken.

        1. begin                  a crash here or before 4 leaves nothing that a committed reader sees
        2. produce
        3. add the input offset, in the name of the assignment under which the records were fetched
        4. commit                 a crash here leaves all of it or nothing; opening the lane again settles which
        """
        try:
            self._producer.begin_transaction()
            self._produce(work.records, clock)
            place = TopicPartition(self.topic, self.partition, work.next_offset, metadata=work.note)
            self._producer.send_offsets_to_transaction([place], group_metadata, TRANSACTION_SECONDS)
            self._producer.commit_transaction(TRANSACTION_SECONDS)
        except KafkaException as exception:
            error = error_of(exception)
            if error.txn_requires_abort():
                self._abort()
            raise LaneBroken(error) from exception
        except BufferError as exception:
            self._abort()
            raise LaneBroken(KafkaError(KafkaError._QUEUE_FULL, str(exception))) from exception
        self.next_offset, self.note = work.next_offset, work.note

    def _produce(self, records: Sequence[Record], clock: BrokerClock) -> None:
        """Hand records over in their order; runs without headers go in one call, which costs half of single ones."""

        def told(_error: KafkaError | None, sent: Message) -> None:
            clock.told(sent.timestamp())

        run: list[dict[str, Any]] = []
        place = ("", 0)
        for topic, partition, key, value, headers in records:
            if (topic, partition) != place or headers is not None:
                self._produce_run(*place, run)
                run, place = [], (topic, partition)
            if headers is None:
                run.append({"key": key, "value": value})
            else:
                self._producer.produce(topic, value, key, partition, on_delivery=told, headers=list(headers))
        if run:
            run[-1]["callback"] = told
        self._produce_run(*place, run)

    def _produce_run(self, topic: str, partition: int, run: list[dict[str, Any]]) -> None:
        # The partition of the call, not of each message: produce_batch takes the latter and does not heed it.
        if run and self._producer.produce_batch(topic, run, partition) != len(run):
            raise KafkaException(next(message["_error"] for message in run if "_error" in message))

    def _abort(self) -> None:
        try:
            self._producer.abort_transaction(ABORT_SECONDS)
        except KafkaException as exception:
            # Opening the lane again, here or elsewhere, aborts it too.
            log.debug("abort of %s-%d failed: %s", self.topic, self.partition, exception)

    def discard(self) -> None:
        """Let go of the producer; what it left open ends with the next owner's `open`, or by its timeout."""
        self._producer.purge()
        del self._producer
