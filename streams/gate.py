"""gate: decides withdrawal requests. A batch is gathered, decided and applied, in this order and in three functions.

    fetch     requests, under one assignment                       (exactly_once.py)
    barrier   every press that the brokers know of is in the table (barrier.py)
    gather    parse; look accounts and ids up, at one moment
    decide    the rule, for each request on its own                (rule.py)
    apply     decisions, dead letters and offsets in one transaction a partition

Dying anywhere before the commit leaves nothing that a committed reader sees, and the requests are read again.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import orjson
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message

from schemas import dead_letter, withdrawal_decision, withdrawal_request
from schemas.dead_letter import dead_letter_headers
from schemas.signature import SIGNATURE_HEADER
from schemas.wire import Fault, FaultReason, rfc3339
from schemas.withdrawal_decision import (
    Reason,
    approval_form,
    bytes_with_request,
    bytes_without_request,
    encode_decision,
    trace_of,
    write_freeze_view,
)
from schemas.withdrawal_request import WithdrawalRequest, parse_request
from streams.kafka import headers_of
from streams.lane import LaneWork
from streams.rule import is_frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.barrier import Barrier
    from streams.broker_clock import BrokerClock
    from streams.decided_ids import DecidedIds
    from streams.exactly_once import Batch, ExactlyOnce
    from streams.freeze_table import FreezeTable
    from streams.health import Health
    from streams.lane import Record
    from streams.metrics import Metrics
    from streams.rule import Freeze
    from streams.settings import Settings
    from streams.spans import Spans, Traced

log = logging.getLogger(__name__)
# Larger batches wait less often for Kafka; 20,000 gave 5 % more decisions/s and took 70 MB more.
MAX_BATCH_RECORDS = 10_000
# A record's own framing and headers beside key and value, generously.
RECORD_OVERHEAD_BYTES = 1_024
# From this many records on, a batch commits while the next one is decided. Below, it would only make the next batch a
# smaller one, fetched too early, whose records wait longer.
COMMIT_ASIDE_FROM = 500
DECIDED_BEFORE = Fault(FaultReason.DUPLICATE_WITHDRAWAL, "this withdrawal_id was decided before in this partition")


# A record of the batch: a request, or what makes it none, and the broker time (ms) that counts for it.
Asked = tuple[Message, WithdrawalRequest | Fault, int]


@dataclass(frozen=True, slots=True)
class Gathered:
    """All that a batch's decisions depend on, read at one moment."""

    parsed: dict[int, list[Asked]]
    freezes: dict[str, Freeze]
    seen: dict[int, set[str]]
    on_their_way: dict[int, dict[str, int]]
    freeze_view: str
    asked_ms: int


@dataclass(slots=True)
class Outcomes:
    """What a lane's transaction holds, and what is to be remembered and counted once it has committed."""

    work: LaneWork
    # When each id was requested, ms.
    decided: dict[str, int] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    # Decisions whose request carried a trace; filled only where spans are exported.
    traced: list[Traced] = field(default_factory=list)


class Gate:
    """Decides batches; `decide` blocks and is for one thread."""

    def __init__(  # noqa: PLR0913  (its collaborators, each by name)
        self,
        settings: Settings,
        *,
        intake: ExactlyOnce,
        barrier: Barrier,
        table: FreezeTable,
        ids: DecidedIds,
        clock: BrokerClock,
        metrics: Metrics,
        health: Health,
        panic_partitions: int,
        max_decision_bytes: int,
        max_dead_letter_bytes: int,
        spans: Spans | None,
    ) -> None:
        """Take the parts; sizes are the outputs' `max.message.bytes`."""
        self._intake = intake
        self._barrier = barrier
        self._table = table
        self._ids = ids
        self._clock = clock
        self._metrics = metrics
        self._health = health
        self._request_topic = settings.topic(withdrawal_request.TOPIC)
        self._decision_topic = settings.topic(withdrawal_decision.TOPIC)
        # None for a shadow: what can't be decided is counted, and nobody is given anything to act upon.
        self._dead_letter_topic = None if settings.shadow else settings.topic(dead_letter.TOPIC)
        self._shadow = settings.shadow
        self._keys = settings.decision_key_file
        self._spans = spans
        self._approval_ms = settings.approval_seconds * 1000
        self._panic_partitions = panic_partitions
        self._max_decision_bytes = max_decision_bytes
        # Up to here nothing has to be reckoned.
        self._fitting_bytes = max_decision_bytes - bytes_without_request(panic_partitions)
        self._max_dead_letter_bytes = max_dead_letter_bytes
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="gate-commit")
        self._committing: Future[None] | None = None
        self._committing_epoch = -1
        # Ids that were decided in the batch that is committing, by partition.
        self._on_their_way: dict[int, dict[str, int]] = {}
        # Append time of the oldest request in hand, for the lag; None when there is none.
        self.oldest_ms: int | None = None

    def process(self, batch: Batch, give_up: Callable[[], bool]) -> None:
        """Give every request of the batch its outcome; nothing happens when the assignment changes before the commit.

        A large batch commits while the next one is decided, which takes the ids on their way for decided. Should the
        commit fail, the assignment counts as changed, and the next batch is thrown away and read again.
        """
        if not batch.records:
            self.settle()
            self.oldest_ms = None
            return
        if batch.epoch != self._committing_epoch:
            # What is on its way under another assignment may come back in this batch: it must not pass for decided.
            self.settle()
        started_ns = time.time_ns()
        for messages in batch.records.values():
            self._clock.observe(messages[-1].timestamp())
        self.oldest_ms = min(messages[0].timestamp()[1] for messages in batch.records.values())
        asked_ms = self._barrier.wait(lambda: give_up() or batch.epoch != self._intake.epoch)
        if asked_ms is None:
            self.settle()
            return
        gathered = self._gather(batch, asked_ms)
        outcomes = {partition: self._decide(partition, gathered) for partition in gathered.parsed}
        self.settle()
        self._on_their_way = {partition: outcome.decided for partition, outcome in outcomes.items()}
        self._committing_epoch = batch.epoch
        self._committing = self._committer.submit(self._commit, batch, outcomes, started_ns)
        if len(batch) < COMMIT_ASIDE_FROM:
            self.settle()
            self.oldest_ms = None

    def settle(self) -> None:
        """Wait until the batch on its way has committed or failed."""
        if self._committing is not None:
            committing, self._committing = self._committing, None
            committing.result()
        self._on_their_way = {}

    def _commit(self, batch: Batch, outcomes: dict[int, Outcomes], started_ns: int) -> None:
        done = self._intake.commit(batch, {partition: outcome.work for partition, outcome in outcomes.items()})
        self._account_for(batch, {partition: outcomes[partition] for partition in done})
        if self._spans is not None:
            self._spans.decided(started_ns, chain.from_iterable(outcomes[partition].traced for partition in done))

    def _gather(self, batch: Batch, asked_ms: int) -> Gathered:
        parsed = {
            partition: [self._parse(message, asked_ms) for message in messages]
            for partition, messages in batch.records.items()
        }
        requests = {
            partition: [(request, when_ms) for _, request, when_ms in lane if isinstance(request, WithdrawalRequest)]
            for partition, lane in parsed.items()
        }
        accounts = {request.account_id for lane in requests.values() for request, _ in lane}
        freezes, applied = self._table.gather(list(accounts))
        seen = {
            partition: self._ids.seen(partition, [(request.withdrawal_id, when_ms) for request, when_ms in lane])
            for partition, lane in requests.items()
        }
        return Gathered(parsed, freezes, seen, self._on_their_way, write_freeze_view(applied), asked_ms)

    def _parse(self, message: Message, asked_ms: int) -> Asked:
        value = message.value()
        request = parse_request(message.key(), value)
        if isinstance(request, Fault):
            return message, request, asked_ms
        if value is not None and len(value) > self._fitting_bytes:
            bound = bytes_with_request(request.withdrawal_id, request.account_id, value, self._panic_partitions)
            if bound > self._max_decision_bytes:
                wrong = f"the value has {len(value)} bytes, more than a decision can repeat"
                request = request._replace(wrong=request.wrong or wrong, embeddable=False)
        kind, append_ms = message.timestamp()
        if kind == TIMESTAMP_LOG_APPEND_TIME:
            return message, request, append_ms
        # No broker set this time, so it proves nothing: the present counts, and the worker says that it is not ready.
        self._health.distrust(self._request_topic)
        return message, request, self._clock.known_ms()

    def _decide(self, partition: int, gathered: Gathered) -> Outcomes:
        lane = gathered.parsed[partition]
        outcomes = Outcomes(LaneWork((lane[-1][0].offset() or 0) + 1))
        records, decided = outcomes.work.records, outcomes.decided
        seen, on_their_way = gathered.seen[partition], gathered.on_their_way.get(partition, {})
        decided_at = rfc3339(gathered.asked_ms)
        valid_until = rfc3339(gathered.asked_ms + self._approval_ms)
        form = approval_form(
            decided_at=decided_at,
            valid_until=valid_until,
            partition=partition,
            freeze_view=gathered.freeze_view,
            shadow=self._shadow,
        )
        for message, request, requested_ms in lane:
            if isinstance(request, Fault):
                self._bury(message, request, outcomes)
                continue
            withdrawal_id, account_id, wrong, embeddable = request
            if withdrawal_id in seen or withdrawal_id in decided or withdrawal_id in on_their_way:
                self._bury(message, DECIDED_BEFORE, outcomes)
                continue
            decided[withdrawal_id] = requested_ms
            freeze = gathered.freezes.get(account_id)
            reason = None
            if wrong is not None:
                reason = Reason.INVALID_REQUEST
            elif freeze is not None and is_frozen(freeze.frozen_until_ms, requested_ms):
                reason = Reason.ACCOUNT_FROZEN
            if reason is None:
                # What is approved has a value, and one that a decision can repeat.
                ids = orjson.dumps(withdrawal_id), orjson.dumps(account_id)
                value = form % (*ids, message.offset(), message.value())
            else:
                outcomes.rejected[reason] += 1
                frozen = freeze if reason is Reason.ACCOUNT_FROZEN else None
                value = encode_decision(
                    withdrawal_id=withdrawal_id,
                    account_id=account_id,
                    reason=reason,
                    frozen_until=None if frozen is None else rfc3339(frozen.frozen_until_ms),
                    press_id=None if frozen is None else frozen.press_id,
                    decided_at=decided_at,
                    valid_until=None,
                    source=f"{withdrawal_request.TOPIC}:{partition}:{message.offset()}",
                    freeze_view=gathered.freeze_view,
                    request=message.value() if embeddable else None,
                    shadow=self._shadow,
                )
            headers = None if message.headers() is None else trace_of(headers_of(message))
            if headers is not None and self._spans is not None:
                outcomes.traced.append((headers[0][1] or b"", partition, message.offset() or 0, reason))
            if self._keys is not None:
                headers = [*(headers or ()), (SIGNATURE_HEADER, self._keys.sign(value))]
            records.append((self._decision_topic, partition, account_id.encode(), value, headers))
            if wrong is not None:
                self._bury(message, Fault(FaultReason.INVALID_REQUEST, wrong), outcomes)
        return outcomes

    def _bury(self, message: Message, fault: Fault, outcomes: Outcomes) -> None:
        outcomes.faults[fault.reason] += 1
        if self._dead_letter_topic is None:
            return
        partition = message.partition() or 0
        source = f"{withdrawal_request.TOPIC}:{partition}:{message.offset()}"
        record = bury(self._dead_letter_topic, partition, message, fault, source, self._max_dead_letter_bytes)
        outcomes.work.records.append(record)

    def _account_for(self, batch: Batch, done: dict[int, Outcomes]) -> None:
        """Remember and count what has committed."""
        self._ids.remember({p: ([*outcome.decided.items()], outcome.work.next_offset) for p, outcome in done.items()})
        now_ms = self._clock.now_ms()
        for partition, outcomes in done.items():
            approved = len(outcomes.decided) - outcomes.rejected.total()
            self._metrics.decisions.labels("approved", "none").inc(approved)
            for reason, count in outcomes.rejected.items():
                self._metrics.decisions.labels("rejected", reason).inc(count)
            for reason, count in outcomes.faults.items():
                self._metrics.dead_letters.labels(withdrawal_request.TOPIC, reason).inc(count)
            times = Counter([message.timestamp()[1] for message in batch.records[partition]])
            for append_ms, count in times.items():
                self._metrics.decision_latency.observe((now_ms - append_ms) / 1000, count)


def bury(  # noqa: PLR0913, PLR0917  (the record, its fault, and both places)
    topic: str, partition: int, message: Message, fault: Fault, source: str, max_bytes: int
) -> Record:
    """Return the dead letter of a record: as it came, unless `topic` can't hold that much."""
    headers = headers_of(message)
    key, value = message.key(), message.value()
    size = len(key or b"") + len(value or b"") + sum(len(name) + len(held or b"") for name, held in headers)
    if size + RECORD_OVERHEAD_BYTES > max_bytes:
        detail = f"{fault.detail}; {size} bytes are more than {topic} takes: read the record at gate-source"
        fault, key, value, headers = Fault(fault.reason, detail), None, None, []
    return topic, partition, key, value, dead_letter_headers(headers, fault, source)
