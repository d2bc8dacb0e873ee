"""The judge: reads a whole history and says which promise was broken. It shares the rule with the gate, nothing else.

What a publisher had been promised can't be told from the topics, so the history holds, on one monotonic clock, when
each request began to be sent and when each press was acknowledged; beside them lies what the topics held in the end.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from schemas.panic_button import Press, parse_press
from schemas.wire import FaultReason
from streams.kafka import headers_of
from streams.rule import BUILT_IN_POLICY, FreezePolicy, freeze_of_press, is_frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confluent_kafka import KafkaError, Message


@dataclass(slots=True)
class PressSent:
    """A press as its publisher saw it; times in seconds, monotonic; -1 until it was acknowledged.

    Partition and offset stay -1 when the acknowledgement does not say where the record lies.
    """

    account_id: str
    acknowledged_at: float = -1.0
    partition: int = -1
    offset: int = -1
    append_ms: int = -1

    def acknowledged(self, error: KafkaError | None, message: Message) -> None:
        """Take the delivery report."""
        if error is None:
            self.acknowledged_at = time.monotonic()
            self.partition, self.offset = _place(message)
            self.append_ms = message.timestamp()[1]


@dataclass(slots=True)
class RequestSent:
    """A request as its publisher saw it; -1 what it was not told."""

    withdrawal_id: str
    account_id: str
    sent_at: float
    partition: int = -1
    offset: int = -1
    append_ms: int = -1
    failed: str | None = None

    def acknowledged(self, error: KafkaError | None, message: Message) -> None:
        """Take the delivery report."""
        if error is not None:
            self.failed = error.str()
            return
        self.partition, self.offset = _place(message)
        self.append_ms = message.timestamp()[1]


@dataclass(frozen=True, slots=True)
class PressRecord:
    """A press as it lies in the topic."""

    press: Press
    partition: int
    offset: int
    append_ms: int

    @classmethod
    def of(cls, message: Message) -> PressRecord | None:
        """Read a record of `panic-button`; None when no account can be told."""
        partition, offset = _place(message)
        press = parse_press(message.key(), message.value(), partition, offset)
        return cls(press, partition, offset, message.timestamp()[1]) if isinstance(press, Press) else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A decision or a dead letter of a request, by the place of the request that it answers."""

    partition: int
    offset: int
    decision: dict[str, Any] | None
    dead_letter: str | None
    read_partition: int

    @classmethod
    def of_decision(cls, message: Message) -> Outcome:
        """Read a record of `withdrawal-decision`."""
        decision = json.loads(message.value() or b"")
        _, partition, offset = decision["source"].rsplit(":", 2)
        return cls(int(partition), int(offset), decision, None, message.partition() or 0)

    @classmethod
    def of_dead_letter(cls, message: Message) -> Outcome | None:
        """Read a record of `dead-letter`; None when it is a press."""
        headers = {name: (value or b"").decode("utf-8", "replace") for name, value in headers_of(message)}
        topic, partition, offset = headers["gate-source"].rsplit(":", 2)
        if topic != "withdrawal-request":
            return None
        return cls(int(partition), int(offset), None, headers["gate-reason"], message.partition() or 0)


@dataclass
class History:
    """Everything that was sent and everything that was read."""

    presses: list[PressSent] = field(default_factory=list)
    requests: list[RequestSent] = field(default_factory=list)
    press_records: list[PressRecord] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    policy: FreezePolicy = BUILT_IN_POLICY


@dataclass
class Verdict:
    """What the judge counted, and each broken promise in a sentence."""

    findings: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not self.findings

    def kinds(self) -> set[str]:
        """Return which promises were broken."""
        return {finding.split(":", 1)[0] for finding in self.findings}


def judge(history: History) -> Verdict:
    """Judge a history in which every request should have its outcome by now."""
    verdict = Verdict()
    by_place: defaultdict[tuple[int, int], list[Outcome]] = defaultdict(list)
    for outcome in history.outcomes:
        by_place[outcome.partition, outcome.offset].append(outcome)
    verdict.findings += _decided_once(history, by_place, verdict.counts)
    verdict.findings += _stopped_after_acknowledged_press(history, by_place)
    verdict.findings += _as_the_rule_says(history, by_place)
    return verdict


def _decided_once(
    history: History, by_place: dict[tuple[int, int], list[Outcome]], counts: Counter[str]
) -> Iterator[str]:
    """G4: one outcome for each request record, one decision for each withdrawal id."""
    counts["requests"] = len(history.requests)
    # Of all records, also those that no publisher knows of: one that begins a new epoch after a lost answer can write
    # a request twice, idempotent or not, and is told of the second place only.
    decided = Counter(
        (outcome.partition, outcome.decision["withdrawal_id"]) for outcome in history.outcomes if outcome.decision
    )
    for sent in history.requests:
        outcomes = by_place.get((sent.partition, sent.offset), [])
        decisions = [outcome for outcome in outcomes if outcome.decision is not None]
        letters = [outcome for outcome in outcomes if outcome.dead_letter is not None]
        if not outcomes:
            counts["without outcome"] += 1
            yield f"G4 never: request {sent.partition}:{sent.offset} has no outcome"
        # Only a request that is wrong in itself has both; a duplicate's letter beside a decision is a second outcome.
        both = decisions and any(outcome.dead_letter != FaultReason.INVALID_REQUEST for outcome in letters)
        if len(decisions) > 1 or len(letters) > 1 or both:
            counts["decided twice"] += 1
            yield f"G4 twice: request {sent.partition}:{sent.offset} has {len(outcomes)} outcomes"
        for outcome in decisions:
            decision = outcome.decision or {}
            counts[decision["decision"]] += 1
            if outcome.read_partition != sent.partition:
                yield f"partition: the decision of {sent.partition}:{sent.offset} lies in {outcome.read_partition}"
        counts["dead letters"] += len(letters)
    for (partition, _), times in decided.items():
        if times > 1:
            counts["ids decided twice"] += 1
            yield f"G4 id twice: a withdrawal id was decided {times} times in partition {partition}"
    for request in history.requests:
        reasons = {outcome.dead_letter for outcome in by_place.get((request.partition, request.offset), [])}
        if "duplicate_withdrawal" in reasons and not decided[request.partition, request.withdrawal_id]:
            yield f"G4 id never: request {request.partition}:{request.offset} counts as a duplicate of nothing"


def _stopped_after_acknowledged_press(
    history: History, by_place: dict[tuple[int, int], list[Outcome]]
) -> Iterator[str]:
    """G1: no approval where the press was acknowledged before the request's sending began."""
    records = {(record.partition, record.offset): record for record in history.press_records}
    of_account: defaultdict[str, list[PressRecord]] = defaultdict(list)
    for record in history.press_records:
        of_account[record.press.account_id].append(record)
    promised: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for sent in history.presses:
        if sent.acknowledged_at < 0:
            continue
        # Whose place was not told is one of the account's presses: promised is at least the least of them.
        found = records.get((sent.partition, sent.offset))
        candidates = of_account[sent.account_id] if sent.offset < 0 else [found] if found else []
        if not candidates:
            yield f"lost: the acknowledged press {sent.partition}:{sent.offset} is not in the topic"
            continue
        until_ms = min(_frozen_until_ms(history, record) for record in candidates)
        promised[sent.account_id].append((sent.acknowledged_at, until_ms))
    for request in history.requests:
        for outcome in by_place.get((request.partition, request.offset), []):
            if outcome.decision is None or outcome.decision["decision"] != "approved":
                continue
            if any(
                acknowledged_at < request.sent_at and is_frozen(until_ms, request.append_ms)
                for acknowledged_at, until_ms in promised[request.account_id]
            ):
                yield f"G1: request {request.partition}:{request.offset} was approved after an acknowledged press"


def _as_the_rule_says(history: History, by_place: dict[tuple[int, int], list[Outcome]]) -> Iterator[str]:
    """Each decision is the one that the rule gives for the presses below its freeze_view."""
    presses: defaultdict[str, list[PressRecord]] = defaultdict(list)
    for record in history.press_records:
        presses[record.press.account_id].append(record)
    for request in history.requests:
        for outcome in by_place.get((request.partition, request.offset), []):
            decision = outcome.decision
            if decision is None or decision["reason"] == "invalid_request":
                continue
            view = _freeze_view(decision["freeze_view"])
            seen = [
                _frozen_until_ms(history, record)
                for record in presses[request.account_id]
                if record.offset < view.get(record.partition, 0)
            ]
            frozen = any(is_frozen(until_ms, request.append_ms) for until_ms in seen)
            if frozen != (decision["decision"] == "rejected"):
                yield (
                    f"rule: request {request.partition}:{request.offset} was {decision['decision']}, "
                    f"but its freeze_view says {'frozen' if frozen else 'not frozen'}"
                )


def _place(message: Message) -> tuple[int, int]:
    """Return partition and offset; -1 for one that is not known, which 0 is not."""
    partition, offset = message.partition(), message.offset()
    return -1 if partition is None else partition, -1 if offset is None else offset


def _frozen_until_ms(history: History, record: PressRecord) -> int:
    return freeze_of_press(history.policy, "", record.press.asked_seconds, record.append_ms).frozen_until_ms


def _freeze_view(text: str) -> dict[int, int]:
    places = [place.partition(":") for place in text.split(",") if place]
    return {int(partition): int(offset) for partition, _, offset in places}
