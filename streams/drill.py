"""`withdrawal-gate drill`: is the button itself working, end to end? A canary presses it and asks for a withdrawal.

A freeze can't be taken back, so each round is an account of its own, `gate-drill-` and a random part, which no customer
may have. It asks and must be approved, presses for the shortest time that the policy allows, and once the press is
acknowledged asks again: that must be rejected. How long after the acknowledgement is what the drill measures.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import uuid4

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from prometheus_client import CollectorRegistry, disable_created_metrics, start_http_server

from schemas import panic_button, withdrawal_decision, withdrawal_request
from schemas.panic_button import encode_press
from schemas.wire import parse_object, rfc3339
from schemas.withdrawal_decision import Reason, Verdict
from schemas.withdrawal_request import encode_request
from streams.errors import EXIT_FINE, EXIT_NO, GateError, KafkaUnreachable, SettingsError
from streams.inspect.look import next_record
from streams.inspect.retained import COMMAND_REACH_SECONDS, POLL_SECONDS, require_topics
from streams.kafka import ask, end_offsets, publisher, reach, reader
from streams.metric_list import DRILL_KEPT_AT, DRILL_REJECTION, DRILL_ROUNDS
from streams.metrics import BatchHistogram, counter, gauge
from streams.output import emit

if TYPE_CHECKING:
    from typing import Any

    from confluent_kafka import Message

    from streams.settings import Settings

ACCOUNT_PREFIX = "gate-drill-"
# The announcement that this answers promised a freeze in under 60 s (Binance, 2026); a round gives up after half of it.
PATIENCE_SECONDS = 30.0


class Ended(StrEnum):
    """How a round ended."""

    KEPT = "kept"
    BROKEN = "broken"
    UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True)
class Round:
    """What a round found; seconds are None where it did not come so far."""

    ended: Ended
    detail: str | None = None
    approved_after_seconds: float | None = None
    rejected_after_seconds: float | None = None


class DrillMetrics:
    """What a drill exports, in a registry of its own."""

    def __init__(self) -> None:
        """Register everything, so that a scrape shows each series from the start."""
        disable_created_metrics()
        self.registry = registry = CollectorRegistry()
        self.rounds = counter(DRILL_ROUNDS, registry)
        self.rejection = BatchHistogram(DRILL_REJECTION, registry)
        self.kept_at = gauge(DRILL_KEPT_AT, registry)
        for ended in Ended:
            self.rounds.labels(ended)

    def count(self, found: Round) -> None:
        """Take a round in."""
        self.rounds.labels(found.ended).inc()
        if found.rejected_after_seconds is not None:
            self.rejection.observe(found.rejected_after_seconds)
        if found.ended is Ended.KEPT:
            self.kept_at.set_to_current_time()


def drill(settings: Settings, *, every_seconds: float | None, http: str | None) -> int:
    """Go one round, or with `every_seconds` until interrupted or the promise is broken; return the exit code.

    With `http` it goes on after a broken promise, too: a process that ends can't be scraped, and nobody would be told.
    """
    metrics = DrillMetrics()
    if http is not None:
        _serve(http, metrics.registry)
    if every_seconds is None:
        return EXIT_FINE if _told(metrics, _Canary(settings).go_round()) is Ended.KEPT else EXIT_NO
    pause = threading.Event()
    code = EXIT_FINE
    try:
        while True:
            began = time.monotonic()
            if _told(metrics, _round_in_a_row(settings)) is Ended.BROKEN:
                code = EXIT_NO
                if http is None:
                    return code
            pause.wait(max(0.0, began + every_seconds - time.monotonic()))
    except KeyboardInterrupt:
        return code


def _told(metrics: DrillMetrics, found: Round) -> Ended:
    """Count a round and print it."""
    metrics.count(found)
    emit({**asdict(found), "at": rfc3339(time.time_ns() // 1_000_000)})
    return found.ended


def _round_in_a_row(settings: Settings) -> Round:
    """Go a round; a canary that goes on says that Kafka is away instead of ending with it."""
    try:
        return _Canary(settings).go_round()
    except (GateError, KafkaException) as error:
        return Round(Ended.UNANSWERED, str(error))


def _serve(http: str, registry: CollectorRegistry) -> None:
    host, _, port = http.rpartition(":")
    name = "--http"
    if not host or not port.isdecimal():
        raise SettingsError(name, http, "host:port, for example 127.0.0.1:8090")
    try:
        start_http_server(int(port), host, registry)
    except (OSError, OverflowError) as error:
        raise SettingsError(name, http, f"an address to listen on ({error})") from error


class _Canary:
    """One account's round, with clients of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._account_id = f"{ACCOUNT_PREFIX}{uuid4()}"
        client = reach(settings, COMMAND_REACH_SECONDS)
        topic = settings.topic(withdrawal_decision.TOPIC)
        require_topics(client, [settings.topic(panic_button.TOPIC), settings.topic(withdrawal_request.TOPIC)])
        partitions = range(require_topics(client, [topic])[topic])
        ends = ask(lambda: end_offsets(client, topic, partitions))
        self._decisions = reader(settings, f"{settings.group}-drill")
        self._decisions.assign([TopicPartition(topic, partition, end) for partition, end in ends.items()])
        self._producer = publisher(settings, **{"message.timeout.ms": int(PATIENCE_SECONDS * 1000)})

    def go_round(self) -> Round:
        try:
            return self._go_round()
        finally:
            self._decisions.close()

    def _go_round(self) -> Round:
        began = time.monotonic()
        first = self._decided()
        if first is None:
            return Round(Ended.UNANSWERED, f"no decision within {PATIENCE_SECONDS:g} s, before any press")
        approved_after = time.monotonic() - began
        if first["decision"] != Verdict.APPROVED:
            return Round(Ended.UNANSWERED, f"rejected before any press: {first.get('reason')}", approved_after)
        shortest = self._settings.policy.at(time.time_ns() // 1_000_000).min_seconds
        self._publish(panic_button.TOPIC, encode_press(self._account_id, str(uuid4()), shortest))
        acknowledged = time.monotonic()
        second = self._decided()
        after = time.monotonic() - acknowledged
        if second is None:
            return Round(Ended.UNANSWERED, f"no decision within {PATIENCE_SECONDS:g} s of the press", approved_after)
        if second["decision"] == Verdict.APPROVED:
            return Round(Ended.BROKEN, "approved after the acknowledged press", approved_after)
        if second.get("reason") != Reason.ACCOUNT_FROZEN:
            return Round(Ended.UNANSWERED, f"rejected, but not as frozen: {second.get('reason')}", approved_after)
        return Round(Ended.KEPT, None, approved_after, after)

    def _decided(self) -> dict[str, Any] | None:
        """Ask for a withdrawal and return its decision, None when none comes in time."""
        withdrawal_id = f"{ACCOUNT_PREFIX}{uuid4()}"
        requested_at = rfc3339(time.time_ns() // 1_000_000)
        self._publish(
            withdrawal_request.TOPIC, encode_request(withdrawal_id, self._account_id, "DRILL", "0", requested_at)
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            message = next_record(self._decisions, min(left, POLL_SECONDS))
            body = None if message is None else parse_object(message.value())
            if isinstance(body, dict) and body.get("withdrawal_id") == withdrawal_id:
                return body
        return None

    def _publish(self, topic: str, value: bytes) -> None:
        """Publish for the account and wait until Kafka has acknowledged it."""
        reports: list[KafkaError | None] = []

        def reported(error: KafkaError | None, _message: Message) -> None:
            reports.append(error)

        self._producer.produce(self._settings.topic(topic), value, self._account_id.encode(), on_delivery=reported)
        self._producer.flush(PATIENCE_SECONDS + 1)
        if not reports or reports[0] is not None:
            reason = reports[0].str() if reports and reports[0] is not None else "no acknowledgement"
            message = f"Kafka did not take the record for {topic}: {reason}"
            raise KafkaUnreachable(message)
