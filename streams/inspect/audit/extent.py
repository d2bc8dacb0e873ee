"""Up to where the topics are read, in an order that accuses no deployment at work of what is on its way.

The gate publishes in transactions, and readers see the parts of one a moment apart. So the brokers are asked in turn:

1. where the outputs are settled: every transaction that shows below had put all of its records into the topics by then;
2. how long the outputs are: they are read up to here, which holds all of what was settled;
3. how long the inputs are, last: every press of a `freeze_view` and every request of a decision lies below.

Only below the last outcome that was settled can one be missing: outcomes come in the order of their requests.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas import dead_letter, freeze_status, panic_button, withdrawal_decision, withdrawal_request
from streams.inspect.retained import COMMAND_REACH_SECONDS, Span, read_between, require_topics, within
from streams.kafka import ask, end_offsets, reach, stable_offsets, start_offsets, topic_config

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from confluent_kafka import Message
    from confluent_kafka.admin import AdminClient

    from streams.settings import Settings

INPUTS = (withdrawal_request.TOPIC, panic_button.TOPIC)
OUTPUTS = (withdrawal_decision.TOPIC, freeze_status.TOPIC, dead_letter.TOPIC)
# Clocks of brokers and of this machine differ a little.
CLOCK_MARGIN_MS = 60_000
# When the lead of a partition moves to another broker, append times may go back by as much as their clocks differ.
CLOCK_STEP_MS = 1_000


@dataclass(frozen=True, slots=True)
class Extent:
    """What there is of a topic, by partition: offsets from `starts` on and below `ends`, settled below `settled`.

    What retention has deleted was appended before `gone_before_ms`, unless records were deleted by hand or the
    retention has been made longer since.
    """

    name: str
    starts: Mapping[int, int]
    ends: Mapping[int, int]
    settled: Mapping[int, int]
    gone_before_ms: int
    max_message_bytes: int

    def may_lack(self, partition: int, appended_ms: int) -> bool:
        """Tell whether a record that was appended then may have been deleted from the partition by now."""
        return self.starts.get(partition, 0) > 0 and appended_ms < self.gone_before_ms

    @property
    def cut(self) -> bool:
        """Whether retention has deleted anything at all."""
        return any(self.starts.values())


# A topic that a shadow does not have.
NOTHING = Extent("", {}, {}, {}, 0, 0)


class Topics:
    """The topics of a deployment, as they were at one moment."""

    def __init__(self, settings: Settings) -> None:
        """Ask the brokers, in the order above; raise KafkaUnreachable, TopicFaults."""
        self._settings = settings
        client = reach(settings, COMMAND_REACH_SECONDS)
        names = {topic.name: settings.topic(topic.name) for topic in settings.topics}
        partitions = {name: range(count) for name, count in require_topics(client, list(names.values())).items()}
        now_ms = time.time_ns() // 1_000_000
        settled = {
            name: ask(lambda name=name: stable_offsets(client, name, partitions[name]))  # type: ignore[misc]
            for topic, name in names.items()
            if topic in OUTPUTS
        }
        self._extents = {
            topic: _extent(client, names[topic], partitions[names[topic]], settled, now_ms)
            if topic in names
            else NOTHING
            for topic in (*OUTPUTS, *INPUTS)
        }

    def __getitem__(self, topic: str) -> Extent:
        """Return the extent of a topic of the contract."""
        return self._extents[topic]

    def span(self, topic: str, span: Span) -> tuple[dict[int, int], dict[int, int]]:
        """Return the first offset of each partition in the span, and the one behind the last."""
        extent = self._extents[topic]
        return within(self._settings, extent.name, span, extent.starts, extent.ends)

    def read(self, topic: str, span: Span) -> Iterator[Message]:
        """Yield the committed records of a topic that were appended in the span."""
        starts, ends = self.span(topic, span)
        return read_between(self._settings, self._extents[topic].name, starts, ends)


def _extent(
    client: AdminClient, name: str, partitions: range, settled: Mapping[str, Mapping[int, int]], now_ms: int
) -> Extent:
    ends = ask(lambda: end_offsets(client, name, partitions))
    starts = ask(lambda: start_offsets(client, name, partitions))
    config = ask(lambda: topic_config(client, name))
    retention_ms = int(config["retention.ms"])
    # Where nothing expires, what is missing was deleted by hand, and nothing tells when.
    gone_before_ms = now_ms + CLOCK_MARGIN_MS - max(0, retention_ms)
    return Extent(name, starts, ends, settled.get(name, ends), gone_before_ms, int(config["max.message.bytes"]))
