"""withdrawal-decision: each is the one that the rule gives for its request and the presses below its `freeze_view`.

i<partition><withdrawal id>   the first request that was decided under this id, the last, and when that was made
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from schemas import panic_button, withdrawal_decision, withdrawal_request
from schemas.wire import Fault, parse_object, parse_rfc3339, rfc3339
from schemas.withdrawal_decision import Reason, Verdict, source_offset
from streams.inspect.audit.extent import CLOCK_MARGIN_MS, CLOCK_STEP_MS
from streams.inspect.audit.findings import Kind, Unjudged, place
from streams.inspect.audit.ledger import parse_number
from streams.inspect.audit.presses import NOT_PRESSED
from streams.inspect.audit.requests import DECISION, UNTIMED, Must, Request, request_key
from streams.inspect.retained import Span
from streams.rule import is_frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confluent_kafka import Message

    from streams.inspect.audit.extent import Topics
    from streams.inspect.audit.findings import Findings
    from streams.inspect.audit.ledger import Ledger
    from streams.inspect.audit.presses import Known, Presses
    from streams.settings import Settings

_ID = b"i"
_PARTITION = struct.Struct(">I")
_DECIDED = struct.Struct(">qqq")
FIELDS = ("withdrawal_id", "account_id", "decision", "reason", "frozen_until", "press_id")
MAX_OFFSET = 1 << 63
# Times and views are the same for a whole batch of the gate's.
SAME_AGAIN = 4_096


class Decisions:
    """Reads all decisions of the span's requests and judges each."""

    def __init__(
        self,
        settings: Settings,
        *,
        topics: Topics,
        ledger: Ledger,
        presses: Presses,
        findings: Findings,
    ) -> None:
        """Take what it reads, looks up and tells."""
        self._topics = topics
        self._ledger = ledger
        self._presses = presses
        self._findings = findings
        self._shadow = settings.shadow
        self._approval_ms = settings.approval_seconds * 1000
        self._duplicate_ms = settings.duplicate_seconds * 1000
        self._longest_ms = settings.policy.longest_seconds * 1000
        self._press_ends = topics[panic_button.TOPIC].ends
        self._settled = topics[withdrawal_decision.TOPIC].settled
        self._span: tuple[Mapping[int, int], Mapping[int, int]] = ({}, {})
        self._read_from_ms = 0
        # The last view of each partition, as text and parsed.
        self._views: dict[int, tuple[str, Mapping[int, int]]] = {}
        # The greatest request offset with a decision that was settled, by partition.
        self.decided_up_to: dict[int, int] = {}

    def read(self, span: Span) -> None:
        """Judge every decision of a request in the span; no decision comes before its request."""
        self._span = self._topics.span(withdrawal_request.TOPIC, span)
        if span.since_ms is not None:
            # As far back as the first decision of a duplicate can lie.
            self._read_from_ms = max(0, span.since_ms - self._duplicate_ms - CLOCK_MARGIN_MS)
        for message in self._topics.read(withdrawal_decision.TOPIC, Span(self._read_from_ms or None)):
            self._take(message)

    def _take(self, message: Message) -> None:
        partition, offset = message.partition() or 0, message.offset() or 0
        body = parse_object(message.value())
        source = None
        if not isinstance(body, Fault):
            source = source_offset(body.get("source"), withdrawal_request.TOPIC, partition)
        if isinstance(body, Fault) or source is None or source >= MAX_OFFSET:
            self._tell(Kind.UNREADABLE, message, "no JSON object with a source in the partition of its number")
            return
        if offset < self._settled.get(partition, 0) and source > self.decided_up_to.get(partition, -1):
            self.decided_up_to[partition] = source
        starts, ends = self._span
        stored = self._ledger.get(request_key(partition, source))
        if stored is not None:
            self._findings.audited["decisions"] += 1
            self._judge(message, body, partition, source, stored)
        elif source < self._topics[withdrawal_request.TOPIC].starts.get(partition, 0):
            self._findings.not_judged[Unjudged.REQUEST_GONE] += 1
            self._note_id(partition, str(body.get("withdrawal_id")), source, UNTIMED)
        elif starts.get(partition, 0) <= source < ends.get(partition, 0) or source >= self._request_end(partition):
            self._tell(
                Kind.NO_SUCH_REQUEST, message, f"there is no {place(withdrawal_request.TOPIC, partition, source)}"
            )
        else:
            self._note_id(partition, str(body.get("withdrawal_id")), source, UNTIMED)

    def _request_end(self, partition: int) -> int:
        return self._topics[withdrawal_request.TOPIC].ends.get(partition, 0)

    def _judge(self, message: Message, body: dict[str, Any], partition: int, source: int, stored: bytes) -> None:
        request = Request.unpack(stored)
        if request.seen & DECISION:
            where = place(withdrawal_request.TOPIC, partition, source)
            self._tell(Kind.REQUEST_DECIDED_TWICE, message, f"{where} has a decision before this one")
        else:
            self._ledger.put(request_key(partition, source), bytes((stored[0] | DECISION,)) + stored[1:])
            self._judge_id(message, partition, source, request)
        view = self._judge_view(message, partition, body.get("freeze_view"))
        if view is not None:
            self._judge_verdict(message, body, request, view)
        self._judge_request(message, body, request)
        if (body.get("shadow", False) is True) is not self._shadow:
            detail = "it does not say that it is a shadow's" if self._shadow else "it says that it is a shadow's"
            self._tell(Kind.SHADOW_MARK, message, detail)
        if body.get("decision") == Verdict.APPROVED:
            self._judge_lease(message, body)
        elif body.get("valid_until") is not None:
            self._tell(Kind.DIFFERS_FROM_RULE, message, "only an approval is valid until a time")

    def _judge_id(self, message: Message, partition: int, source: int, request: Request) -> None:
        before = self._note_id(partition, request.withdrawal_id, source, request.requested_ms)
        if before is None or before[1] == UNTIMED or request.requested_ms == UNTIMED:
            return
        if abs(request.requested_ms - before[1]) <= self._duplicate_ms:
            where = place(withdrawal_request.TOPIC, partition, before[0])
            self._tell(Kind.WITHDRAWAL_DECIDED_TWICE, message, f"its withdrawal_id was decided for {where} before")

    def _note_id(self, partition: int, withdrawal_id: str, source: int, requested_ms: int) -> tuple[int, int] | None:
        """Keep that an id was decided; return the request, and its time, for which that was done before."""
        key = _ID + _PARTITION.pack(partition) + withdrawal_id.encode("utf-8", "replace")
        stored = self._ledger.get(key)
        if stored is None:
            self._ledger.put(key, _DECIDED.pack(source, source, requested_ms))
            return None
        first, last, last_ms = _DECIDED.unpack(stored)
        self._ledger.put(key, _DECIDED.pack(min(first, source), source, requested_ms))
        return last, last_ms

    def first_decided(self, partition: int, raw_id: bytes) -> int | None:
        """Return the first request that was decided under an id."""
        stored = self._ledger.get(_ID + _PARTITION.pack(partition) + raw_id)
        return None if stored is None else int(_DECIDED.unpack(stored)[0])

    def may_lack(self, partition: int, requested_ms: int) -> bool:
        """Tell whether the first decision of a duplicate, requested then, may not have been read."""
        if requested_ms == UNTIMED:
            return True
        return self._topics[withdrawal_decision.TOPIC].may_lack(partition, requested_ms - self._duplicate_ms)

    def _judge_view(self, message: Message, partition: int, text: object) -> Mapping[int, int] | None:
        last_text, last = self._views.get(partition, ("", {}))
        if text == last_text:
            return last
        view = view_of(text) if isinstance(text, str) else None
        if view is None:
            self._tell(Kind.UNREADABLE, message, "its freeze_view can't be read")
            return None
        behind = [number for number, end in last.items() if view.get(number, 0) < end]
        if behind:
            detail = f"partition {behind[0]} of panic-button was further in the decision before"
            self._tell(Kind.VIEW_RUNS_BACKWARDS, message, detail)
        beyond = [number for number, end in view.items() if end > self._press_ends.get(number, 0)]
        if beyond:
            detail = f"partition {beyond[0]} of panic-button ends before that: presses were lost, or never there"
            self._tell(Kind.VIEW_BEYOND_PRESSES, message, detail)
        self._views[partition] = (str(text), view)
        return view

    def _judge_verdict(self, message: Message, body: dict[str, Any], request: Request, view: Mapping[int, int]) -> None:
        if request.must == Must.DEAD_LETTER_ONLY:
            self._tell(Kind.DIFFERS_FROM_RULE, message, "its request has no ids to answer to")
            return
        known = NOT_PRESSED
        if request.must == Must.DECIDED:
            if request.requested_ms == UNTIMED:
                self._findings.not_judged[Unjudged.UNTIMED] += 1
                return
            known = self._presses.known(request.account_id, view)
        expected = expected_fields(request, known)
        found = tuple(map(body.get, FIELDS))
        if found[2] == Verdict.APPROVED and expected[3] == Reason.ACCOUNT_FROZEN:
            # Presses that can't be told could only have frozen it for longer.
            self._tell(Kind.APPROVED_WHILE_FROZEN, message, f"a press below its freeze_view froze until {expected[4]}")
        elif known.untimed:
            self._findings.not_judged[Unjudged.UNTIMED] += 1
        elif request.must == Must.DECIDED and self._may_lack_presses(request.requested_ms):
            self._findings.not_judged[Unjudged.PRESSES_GONE] += 1
        elif found != expected:
            differing = [name for name, one, other in zip(FIELDS, found, expected, strict=True) if one != other]
            self._tell(Kind.DIFFERS_FROM_RULE, message, f"the rule gives another {', '.join(differing)}")

    def _tell(self, kind: Kind, message: Message, detail: str) -> None:
        at = place(withdrawal_decision.TOPIC, message.partition() or 0, message.offset() or 0)
        self._findings.add(kind, at, detail)

    def _may_lack_presses(self, requested_ms: int) -> bool:
        """Tell whether a press that retention deleted can have been in force then."""
        presses = self._topics[panic_button.TOPIC]
        return presses.cut and requested_ms < presses.gone_before_ms + self._longest_ms

    def _judge_request(self, message: Message, body: dict[str, Any], request: Request) -> None:
        """Compare the bytes behind `"request":` with the value of the request."""
        if not request.embeddable:
            if body.get("request", "") is not None:
                self._tell(Kind.REQUEST_ALTERED, message, "its request can't be repeated and should be null")
            return
        value = message.value() or b""
        start = value.find(b'"request":') + len(b'"request":')
        if hash(value[start:-1]) != request.value_hash:
            self._tell(Kind.REQUEST_ALTERED, message, "its request is not the bytes of the record at its source")

    def _judge_lease(self, message: Message, body: dict[str, Any]) -> None:
        try:
            decided_ms, valid_ms = _time_ms(body.get("decided_at")), _time_ms(body.get("valid_until"))
        except (TypeError, ValueError):
            self._tell(Kind.UNREADABLE, message, "decided_at or valid_until is no time")
            return
        if valid_ms - decided_ms > self._approval_ms:
            detail = f"valid for {valid_ms - decided_ms} ms, allowed are {self._approval_ms}"
            self._tell(Kind.LEASE_TOO_LONG, message, detail)
            return
        kind, append_ms = message.timestamp()
        # The lease is cut before the decision is appended, by the same brokers' time.
        if kind == TIMESTAMP_LOG_APPEND_TIME and valid_ms > append_ms + self._approval_ms + CLOCK_STEP_MS:
            detail = f"valid until {valid_ms - append_ms} ms after it was appended, allowed are {self._approval_ms}"
            self._tell(Kind.LEASE_TOO_LONG, message, detail)


def expected_fields(request: Request, known: Known) -> tuple[object, ...]:
    """Return what the rule puts into FIELDS of a request's decision, `known` being the freeze below its view."""
    ids = request.withdrawal_id, request.account_id
    if request.must == Must.REJECTED_AS_INVALID:
        return (*ids, Verdict.REJECTED, Reason.INVALID_REQUEST, None, None)
    if is_frozen(known.frozen_until_ms, request.requested_ms):
        until = rfc3339(known.frozen_until_ms)
        return (*ids, Verdict.REJECTED, Reason.ACCOUNT_FROZEN, until, known.press_id)
    return (*ids, Verdict.APPROVED, None, None, None)


@lru_cache(SAME_AGAIN)
def view_of(text: str) -> Mapping[int, int] | None:
    """Read a `freeze_view`; None when it is none, or names an offset that Kafka can't have."""
    view: dict[int, int] = {}
    for place_text in filter(None, text.split(",")):
        partition, _, end = place_text.partition(":")
        known_partition, known_end = parse_number(partition), parse_number(end)
        if known_partition is None or known_end is None:
            return None
        view[known_partition] = known_end
    return view


@lru_cache(SAME_AGAIN)
def _parsed_ms(text: str) -> int:
    return parse_rfc3339(text)


def _time_ms(found: object) -> int:
    if not isinstance(found, str):
        message = "no text"
        raise TypeError(message)
    return _parsed_ms(found)
