"""withdrawal-request: what each request must become, and in the end whether it has.

r<partition><offset>   a request: which outcomes were seen, what must become of it, when, its value's hash, its ids
u<partition><offset>   a request that was dead-lettered as a duplicate: its time and its id

Decisions are read after the requests, and note in the ledger that they were seen.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from schemas import dead_letter, panic_button, withdrawal_decision, withdrawal_request
from schemas.wire import Fault, FaultReason
from schemas.withdrawal_decision import bytes_with_request, bytes_without_request
from schemas.withdrawal_request import parse_request
from streams.inspect.audit.findings import Kind, Unjudged, place
from streams.inspect.audit.ledger import PLACE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from confluent_kafka import Message

    from streams.inspect.audit.decisions import Decisions
    from streams.inspect.audit.extent import Topics
    from streams.inspect.audit.findings import Findings
    from streams.inspect.audit.ledger import Ledger
    from streams.inspect.audit.letters import Letter, Letters
    from streams.inspect.retained import Span

_REQUEST = b"r"
_DUPLICATE = b"u"
_HEAD = struct.Struct(">BBBqqH")
_TIME = struct.Struct(">q")
# Which outcomes of a request were seen, as bits; plain numbers, for a flag of enum takes a microsecond to ask.
DECISION, LETTER, DUPLICATE_LETTER = 1, 2, 4
# The time of a request that carries none of the brokers'.
UNTIMED = -1


class Must(IntEnum):
    """What must become of a request that is no duplicate."""

    DECIDED = 0
    REJECTED_AS_INVALID = 1
    DEAD_LETTER_ONLY = 2


class Request(NamedTuple):
    """A request as it is kept; `requested_ms` is UNTIMED without the brokers' time, `value_hash` of its value."""

    seen: int
    must: int
    embeddable: bool
    requested_ms: int
    value_hash: int
    withdrawal_id: str
    account_id: str

    def pack(self) -> bytes:
        """Return it as bytes."""
        raw_id = self.withdrawal_id.encode()
        head = _HEAD.pack(
            self.seen, self.must, self.embeddable, self.requested_ms, self.value_hash, len(raw_id)
        )  # fmt: skip
        return head + raw_id + self.account_id.encode()

    @classmethod
    def unpack(cls, value: bytes) -> Request:
        """Return what was packed."""
        seen, must, embeddable, requested_ms, value_hash, length = _HEAD.unpack_from(value)
        ids = value[_HEAD.size :]
        return cls(
            seen, must, bool(embeddable), requested_ms, value_hash, ids[:length].decode(), ids[length:].decode()
        )  # fmt: skip


def request_key(partition: int, offset: int) -> bytes:
    """Return where the ledger keeps a request."""
    return _REQUEST + PLACE.pack(partition, offset)


class Requests:
    """Reads the requests of the span; once decisions are read, says which were left out."""

    def __init__(
        self, topics: Topics, ledger: Ledger, letters: Letters, findings: Findings, *, shadow: bool = False
    ) -> None:
        """Take what it reads, keeps, compares and tells."""
        self._topics = topics
        self._ledger = ledger
        self._letters = letters
        self._findings = findings
        self._shadow = shadow
        self._max_bytes = topics[withdrawal_decision.TOPIC].max_message_bytes
        self._panic_partitions = len(topics[panic_button.TOPIC].ends)
        # Up to here nothing has to be reckoned.
        self._fitting_bytes = self._max_bytes - bytes_without_request(self._panic_partitions)

    def read(self, span: Span) -> None:
        """Keep what must become of each."""
        count = 0
        for message in self._topics.read(withdrawal_request.TOPIC, span):
            count += 1
            self._keep(message)
        self._findings.audited["requests"] = count

    def _keep(self, message: Message) -> None:
        partition, offset, value = message.partition() or 0, message.offset() or 0, message.value()
        kind, append_ms = message.timestamp()
        requested_ms = append_ms if kind == TIMESTAMP_LOG_APPEND_TIME else UNTIMED
        parsed = parse_request(message.key(), value)
        withdrawal_id = account_id = ""
        embeddable = True
        reason = None
        if isinstance(parsed, Fault):
            must, reason = Must.DEAD_LETTER_ONLY, parsed.reason
        else:
            withdrawal_id, account_id, wrong, embeddable = parsed
            if value is not None and len(value) > self._fitting_bytes:
                bound = bytes_with_request(withdrawal_id, account_id, value, self._panic_partitions)
                embeddable = embeddable and bound <= self._max_bytes
            must = Must.DECIDED
            if wrong is not None or not embeddable:
                must, reason = Must.REJECTED_AS_INVALID, FaultReason.INVALID_REQUEST
        seen = 0
        letters = self._letters.of(withdrawal_request.TOPIC, message)
        if letters:
            seen = self._compare(letters, partition, offset, reason)
            if seen & DUPLICATE_LETTER:
                duplicate = _TIME.pack(requested_ms) + withdrawal_id.encode()
                self._ledger.put(_DUPLICATE + PLACE.pack(partition, offset), duplicate)
        request = Request(seen, must, embeddable, requested_ms, hash(value), withdrawal_id, account_id)
        self._ledger.put(request_key(partition, offset), request.pack())

    def _compare(self, letters: list[Letter], partition: int, offset: int, reason: FaultReason | None) -> int:
        at = place(withdrawal_request.TOPIC, partition, offset)
        if len(letters) > 1:
            self._findings.add(Kind.REQUEST_DECIDED_TWICE, at, f"it has {len(letters)} dead letters")
        seen = 0
        for letter in letters:
            duplicate = letter.reason == FaultReason.DUPLICATE_WITHDRAWAL
            seen |= DUPLICATE_LETTER if duplicate else LETTER
            # Only what can be decided can be decided before.
            if letter.reason != reason and not (duplicate and reason in {None, FaultReason.INVALID_REQUEST}):
                detail = f"{at} is {reason or 'a good request'}"
                self._findings.add(Kind.LETTER_UNFOUNDED, letter.at, detail)
            if letter.partition != partition:
                self._findings.add(Kind.LETTER_UNFOUNDED, letter.at, f"{at} is of another partition")
        return seen

    def conclude(self, decisions: Decisions) -> None:
        """Tell which requests have no outcome, two, or half of one, and which are duplicates of nothing."""
        for key, value in self._ledger.scan(_REQUEST):
            seen, must = value[0], value[1]
            # By far the most: decided once and no more.
            if seen == DECISION and must == Must.DECIDED:
                continue
            partition, offset = PLACE.unpack(key[1:])
            request = Request.unpack(value)
            if self._shadow:
                self._conclude_of_shadow(partition, offset, request, decisions)
            else:
                self._conclude_one(partition, offset, request, decisions.decided_up_to)
        for key, value in self._ledger.scan(_DUPLICATE):
            partition, offset = PLACE.unpack(key[1:])
            self._conclude_duplicate(partition, offset, _TIME.unpack_from(value)[0], value[_TIME.size :], decisions)

    def _conclude_one(self, partition: int, offset: int, request: Request, decided_up_to: Mapping[int, int]) -> None:
        at = place(withdrawal_request.TOPIC, partition, offset)
        decided = bool(request.seen & DECISION)
        if request.seen & DUPLICATE_LETTER:
            if decided:
                self._findings.add(Kind.REQUEST_DECIDED_TWICE, at, "it has a decision and is called a duplicate too")
            return
        lacking = list(_lacking(request))
        if not lacking:
            return
        if offset >= decided_up_to.get(partition, 0):
            self._findings.not_judged[Unjudged.NOT_DECIDED] += 1
        elif self._may_be_gone(partition, request.requested_ms):
            self._findings.not_judged[Unjudged.OUTCOME_GONE] += 1
        elif lacking == [Kind.LETTER_MISSING]:
            self._findings.add(Kind.LETTER_MISSING, at, "it was rejected as invalid, and no dead letter says why")
        else:
            self._findings.add(Kind.REQUEST_WITHOUT_OUTCOME, at, "later requests of its partition have an outcome")

    def _conclude_of_shadow(self, partition: int, offset: int, request: Request, decisions: Decisions) -> None:
        """Tell whether a request is rightly without a decision: a shadow buries nothing that would say why."""
        if request.seen & DECISION:
            return
        first = decisions.first_decided(partition, request.withdrawal_id.encode())
        if request.must == Must.DEAD_LETTER_ONLY or (first is not None and first < offset):
            self._findings.audited["requests_that_would_be_dead_letters"] += 1
        elif offset >= decisions.decided_up_to.get(partition, 0):
            self._findings.not_judged[Unjudged.NOT_DECIDED] += 1
        elif decisions.may_lack(partition, request.requested_ms):
            self._findings.not_judged[Unjudged.OUTCOME_GONE] += 1
        else:
            at = place(withdrawal_request.TOPIC, partition, offset)
            self._findings.add(Kind.REQUEST_WITHOUT_OUTCOME, at, "later requests of its partition have a decision")

    def _may_be_gone(self, partition: int, requested_ms: int) -> bool:
        from_ms = 0 if requested_ms == UNTIMED else requested_ms
        return any(
            self._topics[topic].may_lack(partition, from_ms) for topic in (withdrawal_decision.TOPIC, dead_letter.TOPIC)
        )

    def _conclude_duplicate(
        self, partition: int, offset: int, requested_ms: int, raw_id: bytes, decisions: Decisions
    ) -> None:
        first = decisions.first_decided(partition, raw_id)
        if first is not None and first < offset:
            return
        if offset >= decisions.decided_up_to.get(partition, 0) or decisions.may_lack(partition, requested_ms):
            self._findings.not_judged[Unjudged.DUPLICATE] += 1
            return
        at = place(withdrawal_request.TOPIC, partition, offset)
        self._findings.add(Kind.LETTER_UNFOUNDED, at, "it is called a duplicate, but its id was not decided before")


def _lacking(request: Request) -> Iterator[Kind]:
    """Yield what a request that is no duplicate still needs."""
    decided, buried = bool(request.seen & DECISION), bool(request.seen & LETTER)
    if request.must == Must.DEAD_LETTER_ONLY:
        if not buried:
            yield Kind.REQUEST_WITHOUT_OUTCOME
    elif not decided:
        # A good request with a dead letter only: that letter is a finding already.
        if not buried or request.must == Must.REJECTED_AS_INVALID:
            yield Kind.REQUEST_WITHOUT_OUTCOME
    elif request.must == Must.REJECTED_AS_INVALID and not buried:
        yield Kind.LETTER_MISSING
