"""`withdrawal-gate press` and `request`: what a publisher does, one record at a time.

Nothing here decides anything. The end of a freeze is worked out by the rule from the append time that the broker gave,
and a decision is the gate's own, read back from the partition with the request's number.
"""

from __future__ import annotations

import re
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, TopicPartition

from schemas import dead_letter, panic_button, withdrawal_decision, withdrawal_request
from schemas.panic_button import encode_press, whole_seconds
from schemas.wire import (
    ACCOUNT_ID_MAX_CHARACTERS,
    WITHDRAWAL_ID_MAX_CHARACTERS,
    Fault,
    FaultReason,
    parse_object,
    rfc3339,
)
from schemas.withdrawal_decision import Verdict
from schemas.withdrawal_request import encode_request
from streams.errors import EXIT_FINE, EXIT_NO, KafkaUnreachable, PromiseAtRisk, SettingsError
from streams.inspect.look import describe_dead_letter, next_record, require_text
from streams.inspect.retained import COMMAND_REACH_SECONDS, POLL_SECONDS, require_topics
from streams.kafka import ask, end_offsets, publisher, reach, reader
from streams.output import emit
from streams.rule import freeze_of_press

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confluent_kafka.admin import AdminClient

    from streams.settings import Settings

DELIVERY_SECONDS = 30
SECONDS_IN_HOUR = 3600
AMOUNT = re.compile(r"[0-9]{1,40}(\.[0-9]{1,40})?", re.ASCII)
# For this command only: the gate itself reads no asset.
ASSET_MAX_CHARACTERS = 64
# The broker refused these before it stored anything; after any other failure the record may lie in the topic.
NOT_STORED = frozenset(
    {
        KafkaError.INVALID_RECORD,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    }
)


@dataclass(frozen=True, slots=True)
class _Outgoing:
    """A record to publish; `again` says what to do when nobody knows whether it is stored."""

    what: str
    topic: str
    account_id: str
    value: bytes
    again: str


def press(settings: Settings, account_id: str, *, hours: int | None, seconds: int | None) -> None:
    """Publish a press and print one record; KafkaUnreachable when Kafka did not acknowledge it."""
    require_text("ACCOUNT", account_id, ACCOUNT_ID_MAX_CHARACTERS)
    if hours is not None and seconds is not None:
        name = "--seconds"
        raise SettingsError(name, str(seconds), "either --hours or --seconds, not both")
    asked_seconds = whole_seconds(seconds if hours is None else hours * SECONDS_IN_HOUR)
    topic = settings.topic(panic_button.TOPIC)
    with _before_sending("press"):
        require_topics(reach(settings, COMMAND_REACH_SECONDS), [topic])
    press_id = str(uuid4())
    value = encode_press(account_id, press_id, asked_seconds)
    again = "send it again, a second press can't shorten a freeze"
    stored = _deliver(settings, _Outgoing("press", topic, account_id, value, again))
    kind, append_ms = stored.timestamp()
    by_broker = kind == TIMESTAMP_LOG_APPEND_TIME
    freeze = freeze_of_press(settings.policy, press_id, asked_seconds, append_ms)
    emit(
        {
            "press_id": press_id,
            "partition": stored.partition(),
            "offset": stored.offset(),
            "frozen_until": rfc3339(freeze.frozen_until_ms) if by_broker else None,
            "account_id": account_id,
            "adjusted": freeze.adjusted,
        }
    )
    if not by_broker:
        message = (
            f"{topic}: message.timestamp.type is not LogAppendTime, so the press is stored but nobody can tell from "
            "it when the freeze ends; needed: LogAppendTime (see withdrawal-gate topics check)"
        )
        raise PromiseAtRisk(message)


def request(  # noqa: PLR0913  (the command's arguments, each by name)
    settings: Settings,
    account_id: str,
    *,
    withdrawal_id: str | None,
    amount: str,
    asset: str,
    wait_seconds: int | None,
) -> int:
    """Publish a withdrawal request and print it, or with `wait_seconds` its outcome; return the exit code."""
    require_text("ACCOUNT", account_id, ACCOUNT_ID_MAX_CHARACTERS)
    withdrawal_id = str(uuid4()) if withdrawal_id is None else withdrawal_id
    require_text("--id", withdrawal_id, WITHDRAWAL_ID_MAX_CHARACTERS)
    require_text("--asset", asset, ASSET_MAX_CHARACTERS)
    if not AMOUNT.fullmatch(amount):
        name = "--amount"
        raise SettingsError(name, amount, "digits, with a decimal point if need be, for example 12.50")
    topic = settings.topic(withdrawal_request.TOPIC)
    with _before_sending("request"):
        client = reach(settings, COMMAND_REACH_SECONDS)
        require_topics(client, [topic])
        # Asked before the request is sent: its outcome can only lie behind these.
        ends = {} if wait_seconds is None else _output_ends(settings, client)
    value = encode_request(withdrawal_id, account_id, asset, amount, rfc3339(time.time_ns() // 1_000_000))
    again = f"send it again with --id {withdrawal_id!r}, an id is decided once"
    stored = _deliver(settings, _Outgoing("request", topic, account_id, value, again))
    partition = stored.partition()
    if wait_seconds is None or partition is None:
        place = {"partition": partition, "offset": stored.offset()}
        emit({"withdrawal_id": withdrawal_id, "account_id": account_id, **place})
        return EXIT_FINE
    places = [TopicPartition(output, partition, end[partition]) for output, end in ends.items() if partition in end]
    source = f"{withdrawal_request.TOPIC}:{partition}:{stored.offset()}"
    return _await_outcome(settings, places, withdrawal_id, source, wait_seconds)


@contextmanager
def _before_sending(what: str) -> Iterator[None]:
    """Add to whatever goes wrong that nothing was sent."""
    try:
        yield
    except (KafkaUnreachable, KafkaException, KeyboardInterrupt) as error:
        why = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
        message = f"{why}; the {what} was not sent"
        raise KafkaUnreachable(message) from error


def _output_ends(settings: Settings, client: AdminClient) -> dict[str, dict[int, int]]:
    """Return the end offsets of the topics in which a request's outcome can lie."""
    outputs = (withdrawal_decision.TOPIC, dead_letter.TOPIC)
    topics = [settings.topic(topic.name) for topic in settings.topics if topic.name in outputs]
    return {
        topic: ask(lambda topic=topic, count=count: end_offsets(client, topic, range(count)))  # type: ignore[misc]
        for topic, count in require_topics(client, topics).items()
    }


def _deliver(settings: Settings, record: _Outgoing) -> Message:
    """Return the delivery report of a record; raise KafkaUnreachable when it was not acknowledged in time."""
    what = record.what
    unsure = f"the {what} may or may not have been stored: {record.again}"
    reports: list[tuple[KafkaError | None, Message]] = []
    # Idempotent, so that a retry after a lost answer does not store the record twice.
    options = {"enable.idempotence": True, "message.timeout.ms": DELIVERY_SECONDS * 1000}
    producer = publisher(settings, **options)
    deadline = time.monotonic() + DELIVERY_SECONDS + 1
    try:
        producer.produce(
            record.topic,
            record.value,
            record.account_id.encode(),
            on_delivery=lambda *report: reports.append(report),
        )
        while not reports and time.monotonic() < deadline:
            producer.poll(POLL_SECONDS)
    except KeyboardInterrupt as interrupt:
        message = f"interrupted before Kafka acknowledged the {what}; {unsure}"
        raise KafkaUnreachable(message) from interrupt
    except KafkaException as exception:
        message = f"the {what} was not sent, so it is not stored: {exception.args[0]}"
        raise KafkaUnreachable(message) from exception
    if not reports:
        message = f"Kafka did not acknowledge the {what} within {DELIVERY_SECONDS} s; {unsure}"
        raise KafkaUnreachable(message)
    error, stored = reports[0]
    if error is not None:
        fate = f"the {what} is not stored" if error.code() in NOT_STORED else unsure
        message = f"Kafka did not acknowledge the {what} ({error.str()}); {fate}"
        raise KafkaUnreachable(message)
    return stored


def _await_outcome(
    settings: Settings, places: list[TopicPartition], withdrawal_id: str, source: str, seconds: int
) -> int:
    consumer = reader(settings, f"{settings.group}-request")
    consumer.assign(places)
    decision_topic = settings.topic(withdrawal_decision.TOPIC)
    deadline = time.monotonic() + seconds
    try:
        while (left := deadline - time.monotonic()) > 0:
            message = next_record(consumer, min(left, POLL_SECONDS))
            if message is None:
                continue
            found = _decision(message) if message.topic() == decision_topic else _dead_letter(message, source)
            if found is None:
                continue
            if "dead_letter" in found:
                emit(found)
                return EXIT_NO
            if found.get("withdrawal_id") == withdrawal_id and found.get("source") == source:
                emit(found)
                return EXIT_FINE if found.get("decision") == Verdict.APPROVED else EXIT_NO
    except KeyboardInterrupt as interrupt:
        message_text = f"interrupted; the request is stored as {source}, what became of it was not read"
        raise KafkaUnreachable(message_text) from interrupt
    finally:
        consumer.close()
    emit({"decision": None, "waited_seconds": seconds})
    hint = "no decision yet: does a worker run with the same GATE_TOPIC_PREFIX, and is its /readyz fine?\n"
    sys.stderr.write(hint)
    return EXIT_NO


def _decision(message: Message) -> dict[str, Any] | None:
    body = parse_object(message.value())
    return None if isinstance(body, Fault) else body


def _dead_letter(message: Message, source: str) -> dict[str, Any] | None:
    """Return why the request at `source` was buried instead of decided."""
    found = describe_dead_letter(message)
    # An invalid request gets a decision beside its dead letter.
    if found["source"] != source or found["reason"] == FaultReason.INVALID_REQUEST:
        return None
    return {"dead_letter": found["reason"], "detail": found["detail"]}
