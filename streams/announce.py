"""announce: says on `freeze-status`, once for each cause, what became of every press and of every freeze.

A consumer group on `panic-button`, beside the followers: its offsets, the statuses, the dead letters of presses and the
moment up to which ends are announced are one transaction. That moment travels as the metadata of the committed offset.
It moves on only while no press of the partition waits to be announced, so every freeze is known before its end is due.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zlib import crc32

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaException, Message

from schemas import dead_letter, freeze_status, panic_button
from schemas.freeze_status import REMINDER_MS, Status, encode_status
from schemas.panic_button import Press, parse_press
from streams.gate import bury
from streams.kafka import error_of
from streams.lane import LaneWork
from streams.rule import Freeze, freeze_of_press

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schemas.wire import Fault
    from streams.barrier import Barrier
    from streams.broker_clock import BrokerClock
    from streams.exactly_once import Batch, ExactlyOnce
    from streams.follow import Follow
    from streams.freeze_table import FreezeTable
    from streams.lane import Lane, Record
    from streams.metrics import Metrics
    from streams.settings import Settings

log = logging.getLogger(__name__)
MAX_BATCH_RECORDS = 2_000
# How many ends one transaction announces; the rest follow in the next.
MAX_ENDS = 2_000


@dataclass(slots=True)
class Announcements:
    """What a lane's transaction holds, and what to count once it has committed."""

    work: LaneWork
    pressed: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)


class Announce:
    """Announces batches of presses and, between them, the ends that have come; blocking, for one thread."""

    def __init__(  # noqa: PLR0913  (its collaborators, each by name)
        self,
        settings: Settings,
        *,
        intake: ExactlyOnce,
        barrier: Barrier,
        follow: Follow,
        table: FreezeTable,
        clock: BrokerClock,
        metrics: Metrics,
        status_partitions: int,
        dead_letter_partitions: int,
        max_dead_letter_bytes: int,
    ) -> None:
        """Take the parts; partition counts and size are those of the output topics."""
        self._policy = settings.policy
        self._status_topic = settings.topic(freeze_status.TOPIC)
        self._dead_letter_topic = settings.topic(dead_letter.TOPIC)
        self._intake = intake
        self._barrier = barrier
        self._follow = follow
        self._table = table
        self._clock = clock
        self._metrics = metrics
        self._status_partitions = status_partitions
        self._dead_letter_partitions = dead_letter_partitions
        self._max_dead_letter_bytes = max_dead_letter_bytes
        # Up to where a lane's ends were looked through in this assignment, found or not.
        self._looked: dict[int, int] = {}
        self._looked_epoch = -1

    def process(self, batch: Batch, give_up: Callable[[], bool]) -> None:
        """Announce the batch's presses and whatever ends are due."""
        if self._looked_epoch != batch.epoch:
            self._looked, self._looked_epoch = {}, batch.epoch
        lanes = self._intake.lanes
        if not lanes.keys() >= batch.records.keys():
            return  # the assignment has changed
        announcements = {
            partition: Announcements(LaneWork((messages[-1].offset() or 0) + 1, lanes[partition].note))
            for partition, messages in batch.records.items()
        }
        upto = {partition: found.work.next_offset for partition, found in announcements.items()}
        while not self._follow.wait_applied(upto, seconds=0.5):
            if give_up() or batch.epoch != self._intake.epoch:
                return
        for partition, messages in batch.records.items():
            self._clock.observe(messages[-1].timestamp())
            self._add_statuses(messages, announcements[partition])
        self._add_ends(lanes, announcements)
        work = {partition: found.work for partition, found in announcements.items()}
        for partition in self._intake.commit(batch, work) if work else ():
            self._count(announcements[partition])

    def _add_statuses(self, messages: list[Message], found: Announcements) -> None:
        for message in messages:
            partition, offset = message.partition() or 0, message.offset() or 0
            press = parse_press(message.key(), message.value(), partition, offset)
            if isinstance(press, Press):
                self._add_status(message, press, found)
            fault = press.fault if isinstance(press, Press) else press
            if fault is not None:
                self._bury(message, fault, found)

    def _add_status(self, message: Message, press: Press, found: Announcements) -> None:
        # None: it was announced and forgotten; the group's offsets were set back.
        outcome = self._table.outcome(message.partition() or 0, message.offset() or 0)
        if outcome is None:
            return
        kind, append_ms = message.timestamp()
        pressed_ms = append_ms if kind == TIMESTAMP_LOG_APPEND_TIME else outcome.frozen_since_ms
        freeze = freeze_of_press(self._policy, press.press_id, press.asked_seconds, pressed_ms)
        # What the press asked for, and the account's freeze as it stood right after it.
        stood = freeze._replace(frozen_since_ms=outcome.frozen_since_ms, frozen_until_ms=outcome.frozen_until_ms)
        found.work.records.append(self._status_record(pressed_ms, outcome.status, press.account_id, stood))
        found.pressed[freeze.adjusted or "none"] += 1

    def _bury(self, message: Message, fault: Fault, found: Announcements) -> None:
        partition = message.partition() or 0
        source = f"{panic_button.TOPIC}:{partition}:{message.offset()}"
        to = partition % self._dead_letter_partitions
        record = bury(self._dead_letter_topic, to, message, fault, source, self._max_dead_letter_bytes)
        found.work.records.append(record)
        found.faults[fault.reason] += 1

    def _add_ends(self, lanes: dict[int, Lane], announcements: dict[int, Announcements]) -> None:
        """Add reminders and ends to the lanes that have announced every press there is."""
        if not lanes:
            return
        now_ms = self._clock.known_ms()
        try:
            ends = self._barrier.ask()
        except KafkaException as exception:
            log.debug("no ends announced: %s", error_of(exception).str())
            return
        if not self._follow.wait_applied(ends, seconds=0.5):
            return
        for partition, lane in lanes.items():
            found = announcements.get(partition)
            next_offset = lane.next_offset if found is None else found.work.next_offset
            if max(next_offset, lane.end_seen) < ends.get(partition, 0):
                continue
            since_ms = self._looked.get(partition) or int(lane.note or "0")
            # The moment never goes back, whatever the clock does: what lies before it would be announced again.
            until_ms = max(since_ms, now_ms)
            due = self._due(partition, since_ms, until_ms)
            if not due:
                self._looked[partition] = until_ms
                if found is not None:
                    found.work.note = str(until_ms)
                continue
            found = announcements.setdefault(partition, Announcements(LaneWork(next_offset)))
            # When there are too many for one transaction, it ends with the last that it holds.
            upto_ms = until_ms if len(due) < MAX_ENDS else due[MAX_ENDS - 1][0]
            found.work.note = str(upto_ms)
            found.work.records += [self._status_record(*one) for one in due if one[0] <= upto_ms]
            self._looked.pop(partition, None)

    def _due(self, partition: int, since_ms: int, now_ms: int) -> list[tuple[int, Status, str, Freeze]]:
        """Return reminders and ends due in (since, now], in the order of their times."""
        reminders = (
            (due_ms, Status.ENDING, account_id, freeze)
            for account_id, freeze in self._table.ends(partition, since_ms + REMINDER_MS, now_ms + REMINDER_MS)
            if (due_ms := reminder_ms(freeze)) is not None
        )
        ends = (
            (freeze.frozen_until_ms, Status.ENDED, account_id, freeze)
            for account_id, freeze in self._table.ends(partition, since_ms, now_ms)
        )
        return sorted(_first(reminders) + _first(ends), key=lambda one: one[:3])

    def _status_record(self, at_ms: int, status: Status, account_id: str, freeze: Freeze) -> Record:
        value = encode_status(
            account_id=account_id,
            status=status,
            press_id=freeze.press_id,
            frozen_since_ms=freeze.frozen_since_ms,
            frozen_until_ms=freeze.frozen_until_ms,
            asked_seconds=freeze.asked_seconds,
            applied_seconds=freeze.applied_seconds,
            adjusted=freeze.adjusted,
            at_ms=at_ms,
        )
        key = account_id.encode()
        # An account's statuses stay in one partition, in order, so that compaction keeps the last: CRC-32, as
        # librdkafka's default partitioner.
        return self._status_topic, crc32(key) % self._status_partitions, key, value, None

    def _count(self, found: Announcements) -> None:
        for adjusted, count in found.pressed.items():
            self._metrics.presses.labels(adjusted).inc(count)
        for reason, count in found.faults.items():
            self._metrics.dead_letters.labels(panic_button.TOPIC, reason).inc(count)


def reminder_ms(freeze: Freeze) -> int | None:
    """Return when the reminder of an end is due; a freeze that the press set for no longer than that has none."""
    due_ms = freeze.frozen_until_ms - REMINDER_MS
    return due_ms if due_ms > freeze.pressed_ms else None


def _first(due: Iterator[tuple[int, Status, str, Freeze]]) -> list[tuple[int, Status, str, Freeze]]:
    """Take a transaction's worth, and every further one of the same moment."""
    taken: list[tuple[int, Status, str, Freeze]] = []
    for one in due:
        if len(taken) >= MAX_ENDS and one[0] != taken[-1][0]:
            break
        taken.append(one)
    return taken
