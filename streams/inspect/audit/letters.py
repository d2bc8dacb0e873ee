"""dead-letter: each record there is the one it names, byte for byte, for the reason that reading it again gives.

d<topic><partition><offset>   the dead letters of that record, until it is read: [where, reason, hash, untold] each

They are read before what they are dead letters of, so each record is compared as it comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import orjson

from schemas import dead_letter, panic_button, withdrawal_request
from schemas.dead_letter import DETAIL_HEADER, REASON_HEADER, SOURCE_HEADER
from streams.inspect.audit.extent import CLOCK_MARGIN_MS
from streams.inspect.audit.findings import Kind, Unjudged, place
from streams.inspect.audit.ledger import PLACE, pack, parse_number
from streams.inspect.retained import Span
from streams.kafka import headers_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confluent_kafka import Message

    from schemas.dead_letter import Headers
    from streams.inspect.audit.extent import Topics
    from streams.inspect.audit.findings import Findings
    from streams.inspect.audit.ledger import Ledger

_LETTER = b"d"
_SOURCES = {panic_button.TOPIC: b"p", withdrawal_request.TOPIC: b"r"}
_OWN_HEADERS = [REASON_HEADER, DETAIL_HEADER, SOURCE_HEADER]
# A record's framing: one that is smaller than `max.message.bytes` by less than this does not fit in with its headers.
FRAMING_BYTES = 1_024


class Letter(NamedTuple):
    """A dead letter; `untold` when it holds nothing of its record, as is allowed where that is too large."""

    at: str
    partition: int
    reason: str
    content: int
    untold: bool


class Letters:
    """Reads all dead letters first; each is judged when its record is read."""

    def __init__(self, topics: Topics, ledger: Ledger, findings: Findings) -> None:
        """Take what it reads, keeps and tells."""
        self._topics = topics
        self._ledger = ledger
        self._findings = findings
        self._max_bytes = topics[dead_letter.TOPIC].max_message_bytes

    def read(self, since_ms: int | None) -> None:
        """Keep each letter by the record that it names, of records appended at `since_ms` or later."""
        span = Span(None if since_ms is None else since_ms - CLOCK_MARGIN_MS)
        for message in self._topics.read(dead_letter.TOPIC, span):
            self._findings.audited["dead_letters"] += 1
            self._keep(message)

    def _keep(self, message: Message) -> None:
        partition = message.partition() or 0
        at = place(dead_letter.TOPIC, partition, message.offset() or 0)
        headers = headers_of(message)
        own = {name: (value or b"").decode("utf-8", "replace") for name, value in headers[-3:]}
        key = letter_key(own.get(SOURCE_HEADER, ""))
        if list(own) != _OWN_HEADERS or key is None:
            self._findings.add(Kind.UNREADABLE, at, "the last three headers don't say why and where from")
            return
        content = content_of(message.key(), message.value(), headers[:-3])
        untold = message.key() is None and message.value() is None and len(headers) == len(_OWN_HEADERS)
        kept = orjson.loads(self._ledger.get(key) or b"[]")
        kept.append(Letter(at, partition, own[REASON_HEADER], content, untold))
        self._ledger.put(key, pack(kept))

    def of(self, topic: str, message: Message) -> list[Letter]:
        """Return the letters of a record, each compared with it; they are not asked for again."""
        partition, offset = message.partition() or 0, message.offset() or 0
        key = _LETTER + _SOURCES[topic] + PLACE.pack(partition, offset)
        kept = self._ledger.get(key)
        if kept is None:
            return []
        self._ledger.delete(key)
        letters = [Letter(*letter) for letter in orjson.loads(kept)]
        headers = headers_of(message)
        content = content_of(message.key(), message.value(), headers)
        size = len(message.key() or b"") + len(message.value() or b"")
        size += sum(len(name) + len(value or b"") for name, value in headers)
        for letter in letters:
            too_large = letter.untold and size + FRAMING_BYTES > self._max_bytes
            if letter.content != content and not too_large:
                detail = f"its bytes are not those of {place(topic, partition, offset)}"
                self._findings.add(Kind.LETTER_ALTERED, letter.at, detail)
        return letters

    def conclude(self, spans: Mapping[str, tuple[Mapping[int, int], Mapping[int, int]]]) -> None:
        """Tell of letters whose record was not there; `spans` is which offsets of their topics were read."""
        names = {code: topic for topic, code in _SOURCES.items()}
        for key, value in self._ledger.scan(_LETTER):
            topic = names[key[1:2]]
            partition, offset = PLACE.unpack(key[2:])
            extent, (starts, ends) = self._topics[topic], spans[topic]
            in_span = starts.get(partition, 0) <= offset < ends.get(partition, 0)
            for letter in map(Letter._make, orjson.loads(value)):
                if offset < extent.starts.get(partition, 0):
                    self._findings.not_judged[Unjudged.LETTER_SOURCE_GONE] += 1
                elif in_span or offset >= extent.ends.get(partition, 0):
                    detail = f"there is no record {place(topic, partition, offset)}"
                    self._findings.add(Kind.LETTER_UNFOUNDED, letter.at, detail)


def content_of(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Return a number that stands for a record's bytes.

    Python's hash of bytes is keyed with a secret of this process, so nobody can make two records that share one.
    """
    return hash((key, value, tuple(headers)))


def letter_key(source: str) -> bytes | None:
    """Return under which key the letters of a `gate-source` are kept, None when it names no place of an input."""
    topic, _, rest = source.partition(":")
    partition, _, offset = rest.partition(":")
    known_partition, known_offset = parse_number(partition), parse_number(offset)
    if topic not in _SOURCES or known_partition is None or known_offset is None or known_partition >= 1 << 31:
        return None
    return _LETTER + _SOURCES[topic] + PLACE.pack(known_partition, known_offset)
