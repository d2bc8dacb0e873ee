"""A batch in, one transaction a partition out: every input record has its outcome exactly once.

Order of events, and why a crash or a pause between any two of them harms nothing:

    assigned   count up the epoch, keep the group metadata of this assignment
    open       for each partition: initialise its transactional id (fences and ends what others left), ask for the
               committed offset, let the caller compare it with the outputs, start at the later of the two
    fetch      a batch belongs to the epoch in which its fetch began and ended; else it is thrown away
    decide     the caller's business
    commit     a transaction for each lane, with the metadata of the assignment, never with metadata read "now"
    revoked    count up the epoch, forget lanes and metadata

Where reading starts is never left to the client library: see design.md, decision 4, for the 9,733 requests that were
decided twice by one that did.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.errors import KafkaUnreachable
from streams.kafka import REQUEST_SECONDS, error_of, member
from streams.lane import Lane, LaneBroken, LaneWork

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from streams.broker_clock import BrokerClock
    from streams.metrics import Metrics
    from streams.settings import Settings

log = logging.getLogger(__name__)
# Lanes commit side by side; this many at once keep one broker busy.
LANES_AT_ONCE = 32
# A poll goes on after a rebalance callback in it, with nothing to wait for: the lanes are not open yet.
REBALANCE_SECONDS = 0.02
# Each step of a commit has its own limit, 33 s together, which librdkafka does not always heed (seen when the brokers
# were restarted one after another). Then the process ends: whoever opens the lane next settles the transaction.
COMMIT_LIMIT_SECONDS = 40.0


class Resume(Protocol):
    """Decides where a lane starts; blocking, several at once. Raises KafkaException to be asked again."""

    def __call__(self, lane: Lane, committed: int | None) -> int:
        """Return the offset of the first record without an outcome."""


@dataclass(slots=True)
class Batch:
    """Records by partition, fetched under one assignment."""

    epoch: int
    records: defaultdict[int, list[Message]] = field(default_factory=lambda: defaultdict(list))

    def __len__(self) -> int:
        """Count the records."""
        return sum(map(len, self.records.values()))


class ExactlyOnce:
    """One member of a consumer group. `fetch` and `close` belong to one thread, `commit` to another."""

    def __init__(  # noqa: PLR0913  (its collaborators, each by name)
        self,
        settings: Settings,
        *,
        group: str,
        topic: str,
        resume: Resume,
        clock: BrokerClock,
        metrics: Metrics,
        output_bytes: Collection[int],
    ) -> None:
        """Prepare; `join` makes it a member."""
        self._settings = settings
        self._group = group
        self.topic = topic
        self._resume = resume
        self._clock = clock
        self._metrics = metrics
        self._output_bytes = output_bytes
        self.consumer: Consumer = member(settings, group)
        self._pool = ThreadPoolExecutor(LANES_AT_ONCE, thread_name_prefix=f"lanes-{topic}")
        self._lock = threading.RLock()
        self.epoch = 0
        self._lanes: dict[int, Lane] = {}
        # None until the group has assigned something, even nothing.
        self.assigned: tuple[int, ...] | None = None
        self._group_metadata: Any = None
        self._to_open: set[int] = set()
        self._misplaced = False
        self._rejoin = False

    def join(self) -> None:
        """Become a member of the group; assignments arrive while fetching."""
        self.consumer.subscribe([self.topic], on_assign=self._on_assign, on_revoke=self._on_gone, on_lost=self._on_gone)

    @property
    def lanes(self) -> dict[int, Lane]:
        """The open lanes by partition."""
        with self._lock:
            return dict(self._lanes) if not self._to_open else {}

    def lags(self) -> dict[int, int]:
        """Return the records not done yet of each open lane, by what the brokers said with the last fetch."""
        lags = {}
        for partition, lane in self.lanes.items():
            watermarks = self.consumer.get_watermark_offsets(TopicPartition(self.topic, partition), cached=True)
            lags[partition] = lane.lag(max(0, watermarks[1]))
        return lags

    def committed(self, partitions: Iterable[int]) -> dict[int, int]:
        """Ask what the group has committed, partition by partition; raise KafkaException.

        Asked through the member: AdminClient.list_consumer_group_offsets ends the process with a segmentation fault
        when the coordinator is still loading (librdkafka 2.16: rd_kafka_handle_OffsetFetch takes the missing consumer
        group of an admin client for granted).
        """
        places = self.consumer.committed([TopicPartition(self.topic, p) for p in partitions], REQUEST_SECONDS)
        return {place.partition: place.offset for place in places if place.error is None and place.offset >= 0}

    # Callbacks run inside poll() and consume(), in the thread that fetches; the lock keeps them out of a commit.

    def _on_assign(self, consumer: Consumer, partitions: Iterable[TopicPartition]) -> None:
        with self._lock:
            self.epoch += 1
            self._forget_lanes()
            # Reading starts when the lanes are open, at explicit offsets; until then nothing is read.
            consumer.assign([])
            self.assigned = tuple(sorted(place.partition for place in partitions))
            self._to_open = set(self.assigned)
            self._misplaced = False
            self._group_metadata = consumer.consumer_group_metadata()
            self._metrics.rebalances.inc()
        named = {"topic": self.topic, "partitions": self.assigned}
        log.info("%s: assigned partitions %s", self.topic, list(self.assigned), extra=named)

    def _on_gone(self, consumer: Consumer, _partitions: Iterable[TopicPartition]) -> None:
        with self._lock:
            self.epoch += 1
            self._forget_lanes()
            self.assigned = None
            consumer.unassign()

    def _forget_lanes(self) -> None:
        for lane in self._lanes.values():
            lane.discard()
        self._lanes = {}
        self._to_open = set()
        self._group_metadata = None

    def fetch(self, most: int, seconds: float) -> Batch:
        """Return what there is, at most `most` records, waiting up to `seconds` for the first."""
        self._put_right()
        batch = Batch(self.epoch)
        first = self._first(seconds)
        messages = [] if first is None else [first, *self.consumer.consume(most - 1, 0)]
        for message in messages:
            error = message.error()
            if error is None:
                batch.records[message.partition() or 0].append(message)
            else:
                self._heed(message, error)
        for partition, fetched in batch.records.items():
            if partition in self._lanes:
                self._lanes[partition].fetched = (fetched[-1].offset() or 0) + 1
        if batch.epoch != self.epoch or self._to_open or self._misplaced:
            # The assignment changed during the fetch, or a commit failed just before it: whose these records are, or
            # what should have come before them, is not known. Read them again.
            self._misplaced = True
            return Batch(self.epoch)
        return batch

    def _first(self, seconds: float) -> Message | None:
        """Wait for a record, or whatever comes in its place; no longer once the assignment has changed meanwhile."""
        epoch, deadline = self.epoch, time.monotonic() + seconds
        while True:
            message = self.consumer.poll(min(seconds, REBALANCE_SECONDS))
            if message is not None or self.epoch != epoch or time.monotonic() > deadline:
                return message

    def _heed(self, message: Message, error: KafkaError) -> None:
        """Take what comes in the place of a record: the end of a partition, or an error."""
        partition, offset = message.partition(), message.offset()
        if error.code() == KafkaError._PARTITION_EOF and partition in self._lanes and offset is not None:
            self._lanes[partition].end_seen = offset
        elif error.code() in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE} or error.fatal():
            raise KafkaException(error)

    def _put_right(self) -> None:
        """Open lanes that were assigned or broke, and read on from where they stand."""
        if self._rejoin:
            with self._lock:
                self._rejoin = False
                self.epoch += 1
                self._forget_lanes()
                self.assigned = None
            self.consumer.unsubscribe()
            self.join()
        if not self._to_open and not self._misplaced:
            return
        self.consumer.poll(0)  # a rebalance that waits comes first; a record that comes is read again
        with self._lock:
            self._open_lanes()
            if self._lanes and not self._to_open:
                self.consumer.assign([TopicPartition(self.topic, p, self._lanes[p].next_offset) for p in self._lanes])
            self._misplaced = bool(self._to_open)

    def _open_lanes(self) -> None:
        if not self._to_open:
            return
        wanted = sorted(self._to_open)
        try:
            for partition in wanted:
                if partition in self._lanes:
                    self._lanes.pop(partition).discard()
            lanes = [
                Lane(self._settings, self._group, self.topic, partition, self._output_bytes) for partition in wanted
            ]
            list(self._pool.map(Lane.open, lanes))
            committed = self._ask_committed(lanes)
            offsets = [committed[lane.partition].offset for lane in lanes]
            starts = self._pool.map(self._resume, lanes, [None if o == OFFSET_INVALID else o for o in offsets])
            for lane, start in zip(lanes, starts, strict=True):
                lane.start_at(start, committed[lane.partition].metadata or "")
                self._lanes[lane.partition] = lane
        except KafkaException as exception:
            said = error_of(exception).str()
            named = {"topic": self.topic, "partitions": wanted}
            log.warning("%s: partitions %s can't be opened yet: %s", self.topic, wanted, said, extra=named)
            return
        self._to_open = set()
        starts_text = ", ".join(f"{lane.partition} at {lane.next_offset}" for lane in lanes)
        named = {"topic": self.topic, "partitions": wanted}
        log.info("%s: deciding partitions %s", self.topic, starts_text, extra=named)

    def _ask_committed(self, lanes: Sequence[Lane]) -> dict[int, TopicPartition]:
        """Ask where the lanes stand; after the fences, when what earlier owners left open has ended.

        No answer within the limit means that an ended transaction is still held pending (Kafka 4.3.1, after about one
        in five restarts of a single broker under load: a reader of uncommitted offsets is answered at once).
        """
        places = [TopicPartition(self.topic, lane.partition) for lane in lanes]
        try:
            answers = self.consumer.committed(places, REQUEST_SECONDS)
        except KafkaException as exception:
            if error_of(exception).code() != KafkaError._TIMED_OUT:
                raise
            log.warning("%s: the committed offsets are held back; ending what is pending", self.topic)
            list(self._pool.map(Lane.settle_offsets, lanes, [self._group_metadata] * len(lanes)))
            answers = self.consumer.committed(places, REQUEST_SECONDS)
        return {place.partition: _without_error(place) for place in answers}

    def commit(self, batch: Batch, work: Mapping[int, LaneWork]) -> set[int]:
        """Commit a transaction for each lane, side by side; return the partitions that demonstrably committed.

        Nothing is committed when the assignment has changed since the fetch.
        """
        with self._lock:
            if batch.epoch != self.epoch or self._group_metadata is None:
                return set()
            partitions = list(work)
            done = set()
            for partition, broken in zip(partitions, self._commit_lanes(work), strict=True):
                self._metrics.transactions.labels("aborted" if broken else "committed").inc()
                if broken is None:
                    done.add(partition)
                    continue
                named = {"topic": self.topic, "partition": partition}
                log.warning("%s-%d: transaction given up: %s", self.topic, partition, broken, extra=named)
                self.epoch += 1
                self._misplaced = True
                if broken.fenced:
                    self._rejoin = True
                else:
                    self._to_open.add(partition)
            return done

    def _commit_lanes(self, work: Mapping[int, LaneWork]) -> list[LaneBroken | None]:
        try:
            return list(self._pool.map(self._commit_lane, work, work.values(), timeout=COMMIT_LIMIT_SECONDS))
        except TimeoutError as error:
            message = (
                f"{self.topic}: a commit has not come back within {COMMIT_LIMIT_SECONDS:g} s; whoever opens its "
                "partition next, this worker started again or another, settles whether it counts"
            )
            raise KafkaUnreachable(message) from error

    def _commit_lane(self, partition: int, work: LaneWork) -> LaneBroken | None:
        try:
            self._lanes[partition].commit(work, self._group_metadata, self._clock)
        except LaneBroken as broken:
            return broken
        return None

    def leave(self) -> None:
        """Give the partitions up, so that others decide them; in the thread that fetches."""
        deadline = time.monotonic() + REQUEST_SECONDS
        self.consumer.unsubscribe()
        while self.assigned is not None and time.monotonic() < deadline:
            self.consumer.poll(REBALANCE_SECONDS)

    def close(self) -> None:
        """Leave the group and let go of the lanes; in the thread that fetches."""
        self.consumer.close()
        with self._lock:
            self._forget_lanes()
        self._pool.shutdown()


def _without_error(place: TopicPartition) -> TopicPartition:
    if place.error is not None:
        raise KafkaException(place.error)
    return place
