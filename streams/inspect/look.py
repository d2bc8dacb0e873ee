"""`withdrawal-gate status` and `watch`: what the topics say, read without a worker. Nothing here writes to Kafka.

`status` folds an account's presses as every worker does, with the same rule and the same reading of a record.
"""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING, Any

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message, TopicPartition
from rich.console import Console
from rich.text import Text

from schemas import dead_letter, freeze_status, panic_button, withdrawal_decision
from schemas.panic_button import parse_press
from schemas.wire import ACCOUNT_ID_MAX_CHARACTERS, Fault, parse_object, rfc3339
from streams.broker_clock import BrokerClock
from streams.errors import EXIT_FINE, EXIT_NO, SettingsError
from streams.inspect.retained import (
    COMMAND_REACH_SECONDS,
    POLL_SECONDS,
    is_record,
    require_topics,
    retained,
    span_between,
    within,
)
from streams.kafka import ask, end_offsets, reach, reader
from streams.output import emit, harmless
from streams.rule import Freeze, fold, freeze_of_press, is_frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confluent_kafka import Consumer
    from confluent_kafka.admin import AdminClient

    from streams.settings import Settings

SHOWN_CHARACTERS = 100
WATCHED = (withdrawal_decision.TOPIC, freeze_status.TOPIC, dead_letter.TOPIC)
ENDS = {"frozen": "frozen_until", "valid": "valid_until"}
STYLES = {
    "approved": "green",
    "rejected": "bold red",
    "frozen": "bold blue",
    "extended": "blue",
    "unchanged": "dim",
    "ending": "yellow",
    "ended": "cyan",
    "dead letter": "bold magenta",
}


def require_text(name: str, text: str, most: int) -> None:
    """Raise SettingsError unless an argument is text that a record can hold."""
    # What the shell passes as bytes that are not UTF-8 arrives as lone surrogates.
    if not 1 <= len(text) <= most or any("\ud800" <= character <= "\udfff" for character in text):
        shown = text if len(text) <= most else f"{text[:16]}…"
        raise SettingsError(name, shown, f"UTF-8 text of 1 to {most} characters")


def next_record(consumer: Consumer, seconds: float) -> Message | None:
    """Return a record, None when there is none within `seconds`; a client that lost its brokers finds them again."""
    message = consumer.poll(seconds)
    return message if message is None or is_record(message) else None


# status


def status(settings: Settings, account_id: str) -> int:
    """Print whether an account is frozen now, in broker time; return the exit code."""
    require_text("ACCOUNT", account_id, ACCOUNT_ID_MAX_CHARACTERS)
    topic = settings.topic(panic_button.TOPIC)
    clock = BrokerClock()
    freeze: Freeze | None = None
    untold = 0
    for message in retained(settings, topic):
        clock.observe(message.timestamp())
        press = parse_press(message.key(), message.value(), message.partition() or 0, message.offset() or 0)
        if isinstance(press, Fault) or press.account_id != account_id:
            continue
        kind, append_ms = message.timestamp()
        if kind != TIMESTAMP_LOG_APPEND_TIME:
            # As the workers do: a press without the broker's time freezes from the present.
            append_ms = clock.now_ms()
            untold += 1
        freeze, _ = fold(freeze, freeze_of_press(settings.policy, press.press_id, press.asked_seconds, append_ms))
    frozen = freeze if freeze is not None and is_frozen(freeze.frozen_until_ms, clock.now_ms()) else None
    if untold:
        sys.stderr.write(f"{topic}: {untold} presses carry no broker time; see withdrawal-gate topics check\n")
    emit(_describe(account_id, frozen))
    return EXIT_NO if frozen is None else EXIT_FINE


def _describe(account_id: str, freeze: Freeze | None) -> dict[str, Any]:
    return {
        "account_id": account_id,
        "frozen": freeze is not None,
        "frozen_since": None if freeze is None else rfc3339(freeze.frozen_since_ms),
        "frozen_until": None if freeze is None else rfc3339(freeze.frozen_until_ms),
        "press_id": None if freeze is None else freeze.press_id,
        "asked_seconds": None if freeze is None else freeze.asked_seconds,
        "applied_seconds": None if freeze is None else freeze.applied_seconds,
        "adjusted": None if freeze is None else freeze.adjusted,
    }


# watch


def watch(settings: Settings, since: str | None = None) -> None:
    """Print decisions, statuses and dead letters as they come, until Ctrl-C or until nobody reads the pipe.

    With `since` (RFC 3339) those appended from then on come first, each topic's partition in order.
    """
    span = span_between(since, None)
    client = reach(settings, COMMAND_REACH_SECONDS)
    prefix = settings.topic("")
    watched = [settings.topic(topic.name) for topic in settings.topics if topic.name in WATCHED]
    partitions = require_topics(client, watched)
    places = []
    for topic, count in partitions.items():
        first = ends = _ends(client, topic, count)
        if since is not None:
            first, _ = within(settings, topic, span, ends, ends)
        places += [TopicPartition(topic, partition, offset) for partition, offset in first.items()]
    show = _show_line if sys.stdout.isatty() else emit
    if sys.stderr.isatty():
        sys.stderr.write(f"watching {', '.join(partitions)} from {since or 'now'} on; Ctrl-C ends\n")
    consumer = reader(settings, f"{settings.group}-watch")
    closed = select.poll()
    closed.register(sys.stdout, 0)  # reports nothing but that the other end has gone
    try:
        consumer.assign(places)
        while not closed.poll(0):
            message = next_record(consumer, POLL_SECONDS)
            if message is not None:
                show(_watched((message.topic() or "").removeprefix(prefix), message))
    finally:
        consumer.close()


def _ends(client: AdminClient, topic: str, partitions: int) -> dict[int, int]:
    return ask(lambda: end_offsets(client, topic, range(partitions)))


def _watched(topic: str, message: Message) -> dict[str, Any]:
    """Return what to print of a record, its topic first."""
    if topic == dead_letter.TOPIC:
        return {"topic": topic, **describe_dead_letter(message), "at": rfc3339(message.timestamp()[1])}
    body = parse_object(message.value())
    if isinstance(body, Fault):
        body = {"unreadable": body.detail, "partition": message.partition(), "offset": message.offset()}
    body.pop("topic", None)
    return {"topic": topic, **body}


def describe_dead_letter(message: Message) -> dict[str, str]:
    """Return a dead letter's reason, detail and source; nothing of the record itself."""
    # The gate's own headers come last, behind what the publisher may have named alike.
    headers: Mapping[str, Any] = dict(message.headers() or [])
    names = (dead_letter.REASON_HEADER, dead_letter.DETAIL_HEADER, dead_letter.SOURCE_HEADER)
    return {name.removeprefix("gate-"): (headers.get(name) or b"").decode(errors="replace") for name in names}


def _show_line(record: Mapping[str, Any]) -> None:
    """Print a record on one line of a terminal: time, topic, what, account, why, until."""
    buried = record["topic"] == dead_letter.TOPIC
    what = "dead letter" if buried else record.get("decision") or record.get("status") or "unreadable"
    when = str(record.get("decided_at") or record.get("at") or "")
    why = record.get("reason") or record.get("adjusted") or record.get("unreadable")
    why = f"{why}: {record['detail']}" if buried else why
    until = next((f"  {name} until {record[key]}" for name, key in ENDS.items() if record.get(key)), "")
    line = Text(f"{_plain(when)[11:19]:8} {_plain(record['topic']):19} ", style="dim")
    line.append(f"{_plain(what):11} ", style=STYLES.get(str(what), "bold") + " not dim")
    line.append(_plain(record.get("account_id") or record.get("source") or ""), style="not dim")
    line.append(f"  {_plain(why)}" if why else "", style="not dim")
    line.append(_plain(until), style="not dim")
    Console().print(line, soft_wrap=True)


def _plain(value: object) -> str:
    """Return text from outside without markup or control characters, cut to what a line can hold."""
    text = harmless(str(value))
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
