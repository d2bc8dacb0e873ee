"""`withdrawal-gate evidence`: everything that the topics hold about an account, in order, with a hash chain over it.

Lines of JSON, each `{"hash": …, "record": …}`. The first record says whose evidence it is and what was read, the last
how many there are; between them one for each record of a topic. The hash of a line is the SHA-256, in hex, of the hash
before it (64 zeros before the first), a line feed, and the line's record as JSON with sorted names, without spaces, in
UTF-8. So a line can't be changed, left out, added or moved without every later hash being another. `verify` checks
that, and then each record against the topics as they are: a chain alone could be made anew by whoever holds the file.
"""

from __future__ import annotations

import hashlib
import time
from base64 import b64encode
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from schemas import dead_letter, freeze_status, panic_button, withdrawal_decision, withdrawal_request
from schemas.panic_button import Press, parse_press
from schemas.wire import ACCOUNT_ID_MAX_CHARACTERS, Fault, parse_object, rfc3339
from schemas.withdrawal_request import parse_request
from streams.errors import EXIT_FINE, EXIT_NO, SettingsError, TopicFaults
from streams.inspect.look import require_text
from streams.inspect.retained import COMMAND_REACH_SECONDS, retained, span_between
from streams.kafka import REQUEST_SECONDS, ask, describe_topic, end_offsets, headers_of, reach, start_offsets
from streams.output import emit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from confluent_kafka import Message

    from streams.settings import Settings

TOPICS = (
    panic_button.TOPIC,
    withdrawal_request.TOPIC,
    withdrawal_decision.TOPIC,
    freeze_status.TOPIC,
    dead_letter.TOPIC,
)
FIRST_HASH = "0" * 64


class Place(NamedTuple):
    """Where a record lies; the topic as the contract names it."""

    topic: str
    partition: int
    offset: int


def evidence(settings: Settings, account_id: str, since: str | None, until: str | None) -> list[dict[str, Any]]:
    """Return the chained lines about an account, of records appended in since <= t < until (RFC 3339; None: no bound).

    Raises SettingsError, KafkaUnreachable, TopicFaults.
    """
    require_text("ACCOUNT", account_id, ACCOUNT_ID_MAX_CHARACTERS)
    opening = {
        "account_id": account_id,
        "since": since,
        "until": until,
        "made_at": rfc3339(time.time_ns() // 1_000_000),
        "made_by": f"withdrawal-gate {version('withdrawal-gate')}",
        **_what_is_read(settings),
    }
    found = _records(settings, opening)
    return list(_chained([opening, *found, {"records": len(found)}]))


def verify(settings: Settings, path: Path) -> int:
    """Check a file that `evidence` wrote, by itself and against the topics; print findings, return the exit code."""
    lines = _lines(path)
    findings = list(_broken(lines))
    gone = 0
    if not findings:
        findings, gone = _against_topics(settings, lines[0]["record"], [line["record"] for line in lines[1:-1]])
    for finding in findings:
        emit({"finding": finding})
    emit({"records": max(0, len(lines) - 2), "no_longer_retained": gone, "holds": not findings})
    return EXIT_NO if findings else EXIT_FINE


def _what_is_read(settings: Settings) -> dict[str, Any]:
    """Return cluster, topic ids and the offset of each partition up to which is read."""
    client = reach(settings, COMMAND_REACH_SECONDS)
    topics: dict[str, Any] = {}
    for topic in TOPICS:
        name = settings.topic(topic)
        facts = ask(lambda name=name: describe_topic(client, name))  # type: ignore[misc]
        if facts is None:
            raise TopicFaults([f"{name}: there is no such topic; needed: withdrawal-gate topics create"])
        partitions = range(facts.partitions)
        ends = ask(lambda name=name, partitions=partitions: end_offsets(client, name, partitions))  # type: ignore[misc]
        topics[topic] = {"id": facts.topic_id, "read_to": {str(partition): end for partition, end in ends.items()}}
    return {"cluster_id": client.cluster_id(timeout=REQUEST_SECONDS), "topics": topics}


def _records(settings: Settings, opening: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an account's records below `read_to`, in the order of their append times."""
    span = span_between(opening["since"], opening["until"])
    found: list[tuple[int, int, dict[str, Any]]] = []
    for number, topic in enumerate(TOPICS):
        read_to = opening["topics"][topic]["read_to"]
        for message in retained(settings, settings.topic(topic), span):
            below = (message.offset() or 0) < read_to.get(str(message.partition()), 0)
            if below and account_of(topic, message) == opening["account_id"]:
                found.append((message.timestamp()[1], number, _record(topic, message)))
    return [record for *_, record in sorted(found, key=lambda one: (*one[:2], one[2]["partition"], one[2]["offset"]))]


def account_of(topic: str, message: Message) -> str | None:
    """Return whose record this is, read as the gate reads it; None when that can't be told."""
    if topic == dead_letter.TOPIC:
        source = next((v for name, v in reversed(headers_of(message)) if name == dead_letter.SOURCE_HEADER), None)
        topic = (source or b"").decode(errors="replace").partition(":")[0]
    key, value = message.key(), message.value()
    if topic == panic_button.TOPIC:
        press = parse_press(key, value, message.partition() or 0, message.offset() or 0)
        return press.account_id if isinstance(press, Press) else None
    if topic == withdrawal_request.TOPIC:
        request = parse_request(key, value)
        return None if isinstance(request, Fault) else request.account_id
    body = parse_object(value)
    account_id = None if isinstance(body, Fault) else body.get("account_id")
    return account_id if isinstance(account_id, str) else None


def _record(topic: str, message: Message) -> dict[str, Any]:
    return {
        "topic": topic,
        "partition": message.partition(),
        "offset": message.offset(),
        "appended_at": rfc3339(message.timestamp()[1]),
        "key": _exactly(message.key()),
        "value": _exactly(message.value()),
        "headers": [[name, _exactly(value)] for name, value in headers_of(message)],
    }


def _exactly(value: bytes | None) -> dict[str, str] | None:
    """Return bytes as text where they are UTF-8, else as base64: either way they can be had back."""
    if value is None:
        return None
    try:
        return {"text": value.decode()}
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode()}


def _chained(records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    before = FIRST_HASH
    for record in records:
        before = next_hash(before, record)
        yield {"hash": before, "record": record}


def next_hash(before: str, record: object) -> str:
    """Return the hash of a record that follows a line with the hash `before`."""
    return hashlib.sha256(before.encode() + b"\n" + orjson.dumps(record, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _lines(path: Path) -> list[Any]:
    try:
        return [orjson.loads(line) for line in path.read_bytes().splitlines()]
    except (OSError, orjson.JSONDecodeError) as error:
        name, reason = "--verify", error.strerror if isinstance(error, OSError) else "not JSON lines"
        raise SettingsError(name, str(path), f"a file that evidence wrote ({reason})") from error


def _broken(lines: list[Any]) -> Iterator[str]:
    """Say where the chain breaks first; nothing more can be said after that."""
    before = FIRST_HASH
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, dict) or not isinstance(line.get("record"), dict):
            yield f"line {number} is no line of evidence"
            return
        try:
            before = next_hash(before, line["record"])
        except orjson.JSONEncodeError:  # it reads deeper than it writes, and evidence was written
            yield f"line {number} is no line of evidence"
            return
        if line.get("hash") != before:
            yield f"line {number} does not follow from the lines before it: it, or one of them, was changed"
            return
    if len(lines) < 2 or lines[-1]["record"] != {"records": len(lines) - 2}:  # noqa: PLR2004  (first and last)
        yield "the last line is missing or counts other records than there are"
    elif not _is_opening(lines[0]["record"]):
        yield "line 1 does not say whose evidence this is and what was read"
    else:
        for number, line in enumerate(lines[1:-1], start=2):
            if not _is_placed(line["record"]):
                yield f"line {number} does not say where its record lies"


def _is_opening(record: dict[str, Any]) -> bool:
    """Tell whether a record has all that checking it against the topics takes."""
    topics = record.get("topics")
    if not isinstance(record.get("account_id"), str) or not isinstance(topics, dict) or "cluster_id" not in record:
        return False
    try:
        span_between(record["since"], record["until"])
        return all(
            "id" in read and all(type(end) is int for end in read["read_to"].values())
            for read in map(topics.__getitem__, TOPICS)
        )
    except (AttributeError, KeyError, TypeError, SettingsError):
        return False


def _is_placed(record: dict[str, Any]) -> bool:
    numbers = record.get("partition"), record.get("offset")
    return record.get("topic") in TOPICS and all(type(number) is int for number in numbers)


def _against_topics(
    settings: Settings, opening: dict[str, Any], records: list[dict[str, Any]]
) -> tuple[list[str], int]:
    """Return what differs from the topics as they are, and how many records they no longer hold."""
    now = _what_is_read(settings)
    if now["cluster_id"] != opening["cluster_id"]:
        return [f"the evidence is of cluster {opening['cluster_id']}, this is {now['cluster_id']}"], 0
    anew = [topic for topic in TOPICS if now["topics"][topic]["id"] != opening["topics"][topic]["id"]]
    if anew:
        return [f"{topic} was made anew since" for topic in anew], 0
    held = {_place(record): record for record in _records(settings, opening)}
    shown = {_place(record): record for record in records}
    findings = [f"{_name(place)} holds another record than the evidence" for place in shown.keys() & held.keys()
                if shown[place] != held[place]]  # fmt: skip
    findings += [f"{_name(place)} is of this account and not in the evidence" for place in held.keys() - shown.keys()]
    # A partition that the topic does not have holds nothing, and never did: none can be taken away.
    known = {place for place in shown if str(place.partition) in now["topics"][place.topic]["read_to"]}
    gone = _no_longer_retained(settings, (shown.keys() & known) - held.keys())
    findings += [f"{_name(place)} holds no such record" for place in shown.keys() - held.keys() - gone]
    if [place for place in map(_place, records) if place in held] != [place for place in held if place in shown]:
        findings.append("a record is there twice, or not in the order of the append times")
    return sorted(findings), len(gone)


def _place(record: dict[str, Any]) -> Place:
    return Place(record["topic"], record["partition"], record["offset"])


def _name(place: Place) -> str:
    return ":".join(map(str, place))


def _no_longer_retained(settings: Settings, places: set[Place]) -> set[Place]:
    """Return those that retention has deleted, or compaction (`freeze-status` keeps the last of each account)."""
    client = reach(settings, COMMAND_REACH_SECONDS)
    gone: set[Place] = set()
    for place in places:
        name = settings.topic(place.topic)
        starts = ask(lambda name=name, place=place: start_offsets(client, name, [place.partition]))  # type: ignore[misc]
        if place.topic == freeze_status.TOPIC or place.offset < starts[place.partition]:
            gone.add(place)
    return gone
