"""Reads the decisions of all workers for the console's count of stopped requests, beside the gate and never in its way.

    ask     is it the same topic, where does each partition end, are there new ones
    read    what there is, a bounded number of records, and count the rejections
    tell    everything until the last question that has been caught up with is counted

Every partition, without a group, committed records only. After a start it looks back over the longest freeze, so that
the count of each freeze in force is whole. Whatever goes wrong here is said on the page and once in the log, and the
gate goes on.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import orjson
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from schemas import withdrawal_decision
from schemas.wire import parse_rfc3339
from schemas.withdrawal_decision import Reason
from streams.console.stopped import Stop
from streams.kafka import ask, describe_topic, error_of, offsets_at, reader, stable_offsets, start_offsets

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from confluent_kafka import Consumer
    from confluent_kafka.admin import AdminClient

    from streams.broker_clock import BrokerClock
    from streams.console.stopped import Stopped
    from streams.settings import Settings

log = logging.getLogger(__name__)
# At a look; the worker looks ten times a second.
MAX_RECORDS = 5_000
ASK_SECONDS = 1.0
RETRY_SECONDS = 5.0
# What lies before an end comes at once; if nothing does for so long, this client has lost the brokers (lifeline.py).
STALLED_SECONDS = 30.0
# A record that has this nowhere is no rejection of a frozen account, and is not parsed.
MARK = Reason.ACCOUNT_FROZEN.encode()
# What it holds ready: nobody waits for it, so it takes a tenth of the memory that other readers do.
QUEUED = {"queued.max.messages.kbytes": 1_024, "queued.min.messages": 1_000, "fetch.max.bytes": 1_048_576}


class DecisionReader:
    """`look` and `close` are for one thread."""

    def __init__(self, settings: Settings, *, client: AdminClient, clock: BrokerClock, stopped: Stopped) -> None:
        """Take the parts; nothing is opened before the first look."""
        self._settings = settings
        self._topic = settings.topic(withdrawal_decision.TOPIC)
        self._look_back_ms = settings.policy.longest_seconds * 1000
        self._client = client
        self._clock = clock
        self._stopped = stopped
        self._consumer: Consumer | None = None
        self._topic_id = ""
        # The next offset of each partition: all below is counted, once.
        self._positions: dict[int, int] = {}
        # Partitions whose first record tells from when on they are whole: what came before was deleted.
        self._cut: set[int] = set()
        self._ends: Mapping[int, int] = {}
        # The ends to be caught up with, None once they are; when they were asked for, ms and monotonic seconds.
        self._wanted: Mapping[int, int] | None = None
        self._wanted_at = (0, 0.0)
        self._ask_from_s = self._moved_s = self._resume_s = 0.0
        self._failing = False

    def look(self) -> None:
        """Count what there is to be read; raises nothing."""
        if time.monotonic() < self._resume_s:
            return
        try:
            if time.monotonic() >= self._ask_from_s:
                self._ask()
            self._read()
        except KafkaException as exception:
            self._fail(error_of(exception).str())
        except Exception as exception:  # noqa: BLE001  (whatever it is, a number on a page is no reason to stop the gate)
            # Records may have been passed that were not counted.
            self._positions.clear()
            self._fail(type(exception).__name__)

    def _ask(self) -> None:
        asked = self._clock.now_ms(), time.monotonic()
        facts = ask(lambda: describe_topic(self._client, self._topic), ASK_SECONDS)
        if facts is None:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"there is no topic {self._topic}"))
        if facts.topic_id != self._topic_id:
            self._positions.clear()
            self._topic_id = facts.topic_id
        partitions = range(facts.partitions)
        self._ends = ask(lambda: stable_offsets(self._client, self._topic, partitions), ASK_SECONDS)
        new = self._ends.keys() - self._positions.keys()
        if new:
            self._begin(new)
        if self._consumer is None or new:
            self._assign()
        if self._wanted is None or new:
            self._wanted, self._wanted_at, self._moved_s = self._ends, asked, asked[1]
        self._ask_from_s = asked[1] + ASK_SECONDS

    def _begin(self, new: Collection[int]) -> None:
        """Find where to begin in partitions that are not read yet."""
        since_ms = max(0, self._clock.now_ms() - self._look_back_ms)
        if not self._positions:
            self._stopped.begin(since_ms)
            self._cut.clear()
        starts = ask(lambda: start_offsets(self._client, self._topic, new), ASK_SECONDS)
        found = ask(lambda: offsets_at(self._client, self._topic, new, since_ms), ASK_SECONDS)
        for partition in new:
            # None so late: all that is there is older, and what comes will stand behind the end.
            position = found[partition] if found[partition] >= 0 else self._ends[partition]
            self._positions[partition] = position
            if 0 < starts[partition] == position:
                self._cut.add(partition)

    def _assign(self) -> None:
        if self._consumer is None:
            self._consumer = reader(self._settings, f"{self._settings.workers_group}-tail", **QUEUED)
        self._consumer.assign([TopicPartition(self._topic, *place) for place in self._positions.items()])

    def _read(self) -> None:
        if self._consumer is None:
            return
        messages = self._consumer.consume(MAX_RECORDS, 0)
        self._stopped.add([stop for message in messages if (stop := self._take(message)) is not None])
        if messages:
            self._moved_s = time.monotonic()
        left = sum(max(0, end - self._positions[partition]) for partition, end in self._ends.items())
        self._stopped.reading(left, readable=True)
        if self._wanted is None:
            return
        if all(self._positions[partition] >= end for partition, end in self._wanted.items()):
            self._stopped.read_until(*self._wanted_at)
            self._wanted = None
            if self._failing:
                self._failing = False
                log.info("the console counts stopped requests again")
        elif time.monotonic() - self._moved_s > STALLED_SECONDS:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "decisions that are there don't come"))

    def _take(self, message: Message) -> Stop | None:
        partition, offset, error = message.partition(), message.offset(), message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            if error.retriable():
                return None
            # Deleted under the reader, denied, another topic: what was read fits what comes no longer.
            self._positions.clear()
            raise KafkaException(error)
        if partition is None or offset is None:
            return None
        appended_ms = self._clock.now_ms() if error is not None else message.timestamp()[1]
        if partition in self._cut:
            self._cut.discard(partition)
            self._stopped.lacks_before(appended_ms)
        if error is not None:
            self._positions[partition] = offset
            return None
        self._positions[partition] = offset + 1
        value = message.value()
        return stop_of(value, appended_ms) if value is not None and MARK in value else None

    def _fail(self, problem: str) -> None:
        if not self._failing:
            log.warning("the console can't count stopped requests at present: %s", problem)
        self._failing = True
        self._wanted = None
        self._stopped.reading(0, readable=False)
        self._ask_from_s = self._resume_s = time.monotonic() + RETRY_SECONDS
        self.close()

    def close(self) -> None:
        """Close the reader."""
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            consumer.close()


def stop_of(value: bytes, appended_ms: int) -> Stop | None:
    """Return what a decision stopped because of a freeze; None for any other, and for what is none of ours."""
    try:
        decision = orjson.loads(value)
        if decision["reason"] != Reason.ACCOUNT_FROZEN or not isinstance(decision["account_id"], str):
            return None
        return Stop(decision["account_id"], parse_rfc3339(decision["frozen_until"]), appended_ms)
    except (ValueError, TypeError, KeyError):
        return None
