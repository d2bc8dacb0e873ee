"""Reads what a topic retains, or the part of it appended in a span of broker time: committed records, to an end.

Each partition's records come in order; those of different partitions are interleaved as the brokers send them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from rich.console import Console
from rich.progress import Progress

from schemas.wire import parse_rfc3339
from streams.errors import KafkaUnreachable, SettingsError, TopicFaults
from streams.kafka import REQUEST_SECONDS, ask, describe_topic, end_offsets, reach, reader, start_offsets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from confluent_kafka import Consumer
    from confluent_kafka.admin import AdminClient

    from streams.settings import Settings

# Somebody waits at a terminal, or a script does: sooner than a worker, which has nothing else to do.
COMMAND_REACH_SECONDS = 10.0
# Ctrl-C and a closed pipe are noticed between two polls.
POLL_SECONDS = 0.2
BATCH_RECORDS = 10_000
# An open transaction or a lost broker keeps the end out of reach; the answer must not take for ever.
STALLED_SECONDS = 30.0
BAR_AFTER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Span:
    """Broker append times, ms since 1970: `since_ms` <= t < `until_ms`; None for no bound."""

    since_ms: int | None = None
    until_ms: int | None = None


ALL = Span()


def span_between(since: str | None, until: str | None) -> Span:
    """Return the span that a command was asked for in RFC 3339 times; raise SettingsError for what is none."""
    return Span(_time_ms("--since", since), _time_ms("--until", until))


def _time_ms(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_rfc3339(text)
    except ValueError:
        raise SettingsError(name, text, "an RFC 3339 time, for example 2026-11-22T09:00:00Z") from None


def require_topics(client: AdminClient, topics: Sequence[str]) -> dict[str, int]:
    """Return how many partitions each topic has; raise TopicFaults when one is missing."""
    facts = {topic: _described(client, topic) for topic in topics}
    missing = [topic for topic, partitions in facts.items() if partitions is None]
    if missing:
        raise TopicFaults([f"{t}: there is no such topic; needed: withdrawal-gate topics create" for t in missing])
    return {topic: partitions for topic, partitions in facts.items() if partitions is not None}


def _described(client: AdminClient, topic: str) -> int | None:
    facts = ask(lambda: describe_topic(client, topic))
    return None if facts is None else facts.partitions


def is_record(message: Message) -> bool:
    """Tell a record from an event of the client; raise KafkaException when reading can't go on."""
    error = message.error()
    if error is not None and (error.code() == KafkaError._AUTO_OFFSET_RESET or error.fatal()):
        raise KafkaException(error)
    return error is None


def retained(settings: Settings, topic: str, span: Span = ALL) -> Iterator[Message]:
    """Yield the committed records of every partition, up to the ends that the brokers name when this is called.

    `topic` is the name in this deployment. Raises KafkaUnreachable, TopicFaults when the topic is missing.
    """
    client = reach(settings, COMMAND_REACH_SECONDS)
    partitions = range(require_topics(client, [topic])[topic])
    starts = ask(lambda: start_offsets(client, topic, partitions))
    ends = ask(lambda: end_offsets(client, topic, partitions))
    starts, ends = within(settings, topic, span, starts, ends)
    yield from read_between(settings, topic, starts, ends)


def read_between(
    settings: Settings, topic: str, starts: Mapping[int, int], ends: Mapping[int, int]
) -> Iterator[Message]:
    """Yield the committed records of each partition with start <= offset < end; raises KafkaUnreachable."""
    consumer = reader(settings, f"{settings.group}-read")
    try:
        positions = {partition: start for partition, start in starts.items() if start < ends[partition]}
        consumer.assign([TopicPartition(topic, partition, start) for partition, start in positions.items()])
        with _Bar(f"reading {topic}") as bar:
            yield from _read_to(consumer, ends, positions, bar)
    finally:
        consumer.close()


def within(
    settings: Settings, topic: str, span: Span, starts: Mapping[int, int], ends: Mapping[int, int]
) -> tuple[dict[int, int], dict[int, int]]:
    """Return the part of [start, end) of each partition that was appended in the span."""
    consumer = reader(settings, f"{settings.group}-read")
    try:
        return (
            _at(consumer, topic, span.since_ms, starts, ends),
            _at(consumer, topic, span.until_ms, ends, ends),
        )
    finally:
        consumer.close()


def _at(
    consumer: Consumer, topic: str, time_ms: int | None, unbounded: Mapping[int, int], ends: Mapping[int, int]
) -> dict[int, int]:
    """Return the first offset of each partition appended at `time_ms` or later; its end where there is none."""
    if time_ms is None or not unbounded:
        return dict(unbounded)
    places = [TopicPartition(topic, partition, time_ms) for partition in unbounded]
    found = ask(lambda: consumer.offsets_for_times(places, REQUEST_SECONDS))
    return {
        place.partition: min(place.offset, ends[place.partition]) if place.offset >= 0 else ends[place.partition]
        for place in found
    }


def _read_to(consumer: Consumer, ends: Mapping[int, int], positions: dict[int, int], bar: _Bar) -> Iterator[Message]:
    total = left = _left(ends, positions)
    moved = time.monotonic()
    while left:
        first = consumer.poll(POLL_SECONDS)
        for message in () if first is None else (first, *consumer.consume(BATCH_RECORDS, 0)):
            _move(positions, message)
            if is_record(message) and (message.offset() or 0) < ends[message.partition() or 0]:
                yield message
        left_now = _left(ends, positions)
        if left_now < left:
            left, moved = left_now, time.monotonic()
        elif time.monotonic() - moved > STALLED_SECONDS:
            problem = f"{left} offsets could not be read for {STALLED_SECONDS:g} s"
            message_text = f"{problem} (a broker is away, or somebody left a transaction open): there is no answer"
            raise KafkaUnreachable(message_text)
        bar.show(total - left, total)


def _left(ends: Mapping[int, int], positions: Mapping[int, int]) -> int:
    return sum(max(0, ends[partition] - position) for partition, position in positions.items())


def _move(positions: dict[int, int], message: Message) -> None:
    """Take the position behind a record, or behind the transaction markers at a partition's end."""
    partition, offset, error = message.partition(), message.offset(), message.error()
    if partition is None or offset is None:
        return
    if error is None:
        positions[partition] = offset + 1
    elif error.code() == KafkaError._PARTITION_EOF:
        positions[partition] = offset


class _Bar:
    """A progress bar on stderr: on a terminal, and once reading has taken a while."""

    def __init__(self, what: str) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(console=self._console, transient=True)
        self._task = self._progress.add_task(what)
        self._from = time.monotonic() + BAR_AFTER_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # One that was never begun would be ended with an empty line, in a file too.
        if self._progress.live.is_started:
            self._progress.stop()

    def show(self, done: int, total: int) -> None:
        """Show that many offsets of `total` as read."""
        if self._console.is_terminal and time.monotonic() > self._from:
            self._progress.start()
            self._progress.update(self._task, completed=done, total=total)
