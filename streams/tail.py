"""Reads back what lies in a partition: the outputs say what was decided, whatever became of the group's offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from streams.kafka import REQUEST_SECONDS, ask, end_offsets, reader, start_offsets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from confluent_kafka import Consumer
    from confluent_kafka.admin import AdminClient

    from streams.settings import Settings

READ_RECORDS = 1_000
# An empty fetch tells the end of a partition. These clients are gone then, so asking for it often costs nothing.
OPTIONS = {"fetch.wait.max.ms": 5}
# How far back to look for the last outcome, in offsets; aborted records and markers take offsets too.
FIRST_LOOK_BACK = 256
LOOK_BACK_FACTOR = 16


class Tail:
    """A partition read to its end; committed records only."""

    def __init__(self, settings: Settings, client: AdminClient, topic: str, partition: int) -> None:
        """Name the partition; each reading opens a client of its own."""
        self._settings = settings
        self._client = client
        self._topic = topic
        self._partition = partition

    def start(self) -> int:
        """Return the first offset that the partition still holds."""
        return ask(lambda: start_offsets(self._client, self._topic, [self._partition]))[self._partition]

    def read(self, start: int) -> Iterator[Message]:
        """Yield the records from `start` to the last stable offset as it is when it is reached."""
        consumer = reader(self._settings, f"{self._settings.workers_group}-tail", **OPTIONS)
        try:
            consumer.assign([TopicPartition(self._topic, self._partition, start)])
            yield from _to_end(consumer)
        finally:
            consumer.close()

    def last(self, wanted: Callable[[Message], int | None]) -> int | None:
        """Return the greatest number that `wanted` finds near the end, looking back ever further until it finds one."""
        start = self.start()
        end = self.end()
        look_back = FIRST_LOOK_BACK
        while end > start:
            look_from = max(start, end - look_back)
            found = [number for message in self.read(look_from) if (number := wanted(message)) is not None]
            if found:
                return max(found)
            if look_from == start:
                return None
            look_back *= LOOK_BACK_FACTOR
        return None

    def end(self) -> int:
        """Return the offset behind the last record, committed or not."""
        return ask(lambda: end_offsets(self._client, self._topic, [self._partition]))[self._partition]

    def since(self, time_ms: int) -> int | None:
        """Return the first offset appended at `time_ms` or later, None when there is none."""
        consumer = reader(self._settings, f"{self._settings.workers_group}-tail")
        try:
            place = TopicPartition(self._topic, self._partition, time_ms)
            found = ask(lambda: consumer.offsets_for_times([place], REQUEST_SECONDS))[0]
        finally:
            consumer.close()
        return found.offset if found.offset >= 0 else None


def _to_end(consumer: Consumer) -> Iterator[Message]:
    while True:
        # poll returns with the first record, where consume would wait for all that it was asked for.
        first = consumer.poll(REQUEST_SECONDS)
        if first is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "the end of the partition was not reached"))
        for message in (first, *consumer.consume(READ_RECORDS, 0)):
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                return
            elif not error.retriable():
                raise KafkaException(error)
