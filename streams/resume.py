"""Where a lane goes on; in a request partition behind the last outcome, whatever the group's offsets say.

Decisions and dead letters of a request lie in the partition of its number and name its offset, so the outputs
themselves say how far it has been decided. Neither a lost, rewound nor reset group offset can decide a record again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import orjson
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message

from schemas import dead_letter, freeze_status, withdrawal_decision, withdrawal_request
from schemas.withdrawal_decision import source_offset
from streams.errors import PromiseAtRisk
from streams.kafka import headers_of
from streams.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confluent_kafka.admin import AdminClient

    from streams.broker_clock import BrokerClock
    from streams.decided_ids import DecidedIds
    from streams.lane import Lane
    from streams.settings import Settings

log = logging.getLogger(__name__)
# Clocks of brokers and workers differ a little; reading back a minute more costs little.
CLOCK_MARGIN_MS = 60_000


class RequestResume:
    """Finds the first undecided request of a lane, and restores the ids decided before it."""

    def __init__(self, settings: Settings, *, client: AdminClient, clock: BrokerClock, ids: DecidedIds) -> None:
        """Take what it asks and what it fills."""
        self._settings = settings
        self._client = client
        self._clock = clock
        self._ids = ids

    def __call__(self, lane: Lane, committed: int | None) -> int:
        """Return where the lane starts; raise PromiseAtRisk when the outputs belong to other requests."""
        lane.learn_time(self._clock, self._settings.topic(withdrawal_decision.TOPIC), lane.partition)
        decisions = self._tail(withdrawal_decision.TOPIC, lane.partition)
        requests = self._tail(withdrawal_request.TOPIC, lane.partition)
        outcomes = [decisions.last(lambda message: _decided(message, lane.partition))]
        if not self._settings.shadow:  # which writes none
            letters = self._tail(dead_letter.TOPIC, lane.partition)
            outcomes.append(letters.last(lambda message: _dead(message, lane.partition)))
        done = max([-1, *(offset for offset in outcomes if offset is not None)])
        first, end = requests.start(), requests.end()
        if max(done + 1, committed or 0) > end:
            found = f"{done} has an outcome" if done >= end else f"{committed} is committed"
            message = (
                f"{lane.topic}: partition {lane.partition} ends at {end}, but offset {found}; the topic was made anew "
                "or lost records: give the outputs and GATE_GROUP new names too, or restore the topic"
            )
            raise PromiseAtRisk(message)
        # Nothing committed and no outcome: the beginning, on purpose and not by a client's default.
        start = max(done + 1, committed or 0)
        if start < first:
            if done >= 0 or committed is not None:
                log.error(
                    "%s-%d: requests %d to %d were deleted by retention before they were decided",
                    lane.topic, lane.partition, start, first - 1,
                    extra={"topic": lane.topic, "partition": lane.partition},
                )  # fmt: skip
            start = first
        self._restore_ids(lane.partition, requests, decisions, start, end)
        return start

    def _tail(self, topic: str, partition: int) -> Tail:
        return Tail(self._settings, self._client, self._settings.topic(topic), partition)

    def _restore_ids(self, partition: int, requests: Tail, decisions: Tail, start: int, end: int) -> None:
        """Read back what others decided here within the memory, unless this folder knows all of it."""
        next_offset, known_end = self._ids.known(partition)
        decisions_end = decisions.end()
        if next_offset == start and known_end:
            return
        # Ids are compared by request times: what matters is how old the first undecided request is.
        first_ms = self._clock.now_ms()
        if start < end:
            message = next(requests.read(start), None)
            if message is not None and message.timestamp()[0] == TIMESTAMP_LOG_APPEND_TIME:
                first_ms = message.timestamp()[1]
        memory_ms = self._settings.duplicate_seconds * 1000
        since = decisions.since(max(0, first_ms - memory_ms - CLOCK_MARGIN_MS))
        read_from = None if since is None else max(since, known_end, decisions.start())
        found: Iterator[tuple[str, int]] = iter(())
        if read_from is not None and read_from < decisions_end:
            found = (
                (tail.withdrawal_id, min(tail.time_ms, first_ms))
                for message in decisions.read(read_from)
                if (tail := _decision(message)) is not None
            )
        self._ids.restore(partition, found, start, decisions_end)


class PressResume:
    """Starts an announce lane at the committed offset; at the beginning, on purpose, where none is committed."""

    def __init__(self, settings: Settings, *, client: AdminClient, clock: BrokerClock, status_partitions: int) -> None:
        """Take what it asks."""
        self._settings = settings
        self._client = client
        self._clock = clock
        self._status_partitions = status_partitions

    def __call__(self, lane: Lane, committed: int | None) -> int:
        """Return where the lane starts; raise PromiseAtRisk when the offset is another topic's."""
        status_topic = self._settings.topic(freeze_status.TOPIC)
        lane.learn_time(self._clock, status_topic, lane.partition % self._status_partitions)
        presses = Tail(self._settings, self._client, lane.topic, lane.partition)
        first, end = presses.start(), presses.end()
        if committed is not None and committed > end:
            message = (
                f"{lane.topic}: partition {lane.partition} ends at {end}, but offset {committed} is committed for "
                f"{self._settings.group}-announce; the topic was made anew or lost records: give GATE_GROUP a new name"
            )
            raise PromiseAtRisk(message)
        return max(committed or 0, first)


class _Decision(NamedTuple):
    withdrawal_id: str
    source: object
    time_ms: int


def _decision(message: Message) -> _Decision | None:
    try:
        body = orjson.loads(message.value() or b"")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(body, dict) or not isinstance(body.get("withdrawal_id"), str):
        return None
    return _Decision(body["withdrawal_id"], body.get("source"), message.timestamp()[1])


def _decided(message: Message, partition: int) -> int | None:
    decision = _decision(message)
    return None if decision is None else source_offset(decision.source, withdrawal_request.TOPIC, partition)


def _dead(message: Message, partition: int) -> int | None:
    for name, value in reversed(headers_of(message)):  # ours come last
        if name == dead_letter.SOURCE_HEADER and value is not None:
            return source_offset(value.decode("utf-8", "replace"), withdrawal_request.TOPIC, partition)
    return None
