"""The freshness barrier: no approval before every press that the brokers know of is in the freeze table.

A press that was acknowledged before a request was sent lies below the end offset that the leaders name after the
request was fetched. So the order is: fetch, ask for the ends, wait until the table has applied up to there, decide.
Never ask first and fetch then; never use an end offset from a cache.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException

from streams.errors import PromiseAtRisk
from streams.kafka import LEADER_SECONDS, asking_end_offsets, describing_topic, end_offsets, error_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka.admin import AdminClient

    from streams.broker_clock import BrokerClock
    from streams.follow import Follow
    from streams.health import Health
    from streams.metrics import Metrics

# How long to wait for the table before asking again whether to go on waiting.
PATIENCE_SECONDS = 0.5
# A lease runs from the moment of asking: after a long wait it would arrive spent, so the brokers are asked anew.
ASK_AGAIN_SECONDS = 5.0


class Barrier:
    """Asks the brokers, waits for the table; says on `/readyz` when it can't pass."""

    def __init__(  # noqa: PLR0913  (its collaborators, each by name)
        self,
        *,
        client: AdminClient,
        topic: str,
        topic_id: str,
        follow: Follow,
        clock: BrokerClock,
        metrics: Metrics,
        health: Health,
    ) -> None:
        """Guard the `panic-button` topic of that id."""
        self._client = client
        self._topic = topic
        self._topic_id = topic_id
        self._follow = follow
        self._clock = clock
        self._metrics = metrics
        self._health = health
        self._unanswered = False

    def ask(self) -> dict[int, int]:
        """Return the end offset of every partition as the leaders know it now; raise KafkaException without one.

        The partitions are asked for each time: they can be added while the gate runs, and a press in one that is not
        followed yet would be missed.
        """
        try:
            if self._unanswered:
                # Any broker will do for this question, so the client pauses between its attempts to connect. One about
                # topics or offsets has it connect to an address a thousand times a second while nobody is there.
                self._client.list_topics(self._topic, timeout=LEADER_SECONDS)
            ends = self._ask()
        except KafkaException:
            self._unanswered = True
            raise
        self._unanswered = False
        return ends

    def _ask(self) -> dict[int, int]:
        # Both questions at once; the answer about the ends counts if the topic has no more partitions than that.
        partitions = self._follow.wanted
        description = describing_topic(self._client, self._topic)
        ends = asking_end_offsets(self._client, self._topic, range(partitions))
        topic = description()
        if topic is None:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"there is no topic {self._topic}"))
        if topic.topic_id != self._topic_id:
            message = (
                f"{self._topic} was made anew while the gate ran; start the worker again with an empty data folder"
            )
            raise PromiseAtRisk(message)
        if topic.partitions > partitions:
            self._follow.follow(topic.partitions)
            return end_offsets(self._client, self._topic, range(topic.partitions))
        return ends()

    def wait(self, give_up: Callable[[], bool]) -> int | None:
        """Wait until the table is as fresh as the brokers; None when `give_up()` said so before.

        Returned is the broker time, in milliseconds, at which the brokers were asked: what is decided now holds for
        that moment, and a lease runs from it. While no broker answers this goes on asking: no answer, no decision.
        """
        began = time.monotonic()
        while not give_up():
            asked_ms = self._clock.now_ms()
            try:
                ends = self.ask()
            except KafkaException as exception:
                self._health.set(
                    "barrier", f"the brokers don't name the end of {self._topic}: {error_of(exception).str()}"
                )
                time.sleep(0.05)  # the brokers can't tell us when they are back
                continue
            if self._wait_applied(ends, give_up):
                self._health.set("barrier", None)
                self._metrics.barrier_wait.observe(time.monotonic() - began)
                return asked_ms
        return None

    def _wait_applied(self, ends: dict[int, int], give_up: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + ASK_AGAIN_SECONDS
        while not give_up() and time.monotonic() < deadline:
            if self._follow.wait_applied(ends, PATIENCE_SECONDS):
                return True
            behind = self._follow.remaining(ends)
            self._health.set("barrier", f"the freeze table is {behind} records behind {self._topic}")
        return False
