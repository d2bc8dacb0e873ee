"""freeze-status: each press has one status, each freeze one reminder and one end, and no end moved earlier.

    a<account's digest>s<partition><offset>   each status, beside the account's presses

Accounts are judged one after the other, once all presses and statuses have been read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, NamedTuple

import orjson

from schemas import freeze_status, panic_button
from schemas.freeze_status import REMINDER_MS, Status
from schemas.topics import REQUEST_RETENTION_MS
from schemas.wire import Fault, parse_object, parse_rfc3339
from streams.inspect.audit.announced import ENDS, PRESS, Lacking
from streams.inspect.audit.extent import CLOCK_STEP_MS
from streams.inspect.audit.findings import Kind, Unjudged, place
from streams.inspect.audit.ledger import PLACE, pack
from streams.inspect.audit.presses import DIGEST_BYTES, PRESS_TAG, STATUS_TAG, Pressed, account_prefix
from streams.inspect.retained import ALL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from confluent_kafka import Message

    from streams.inspect.audit.announced import Announced
    from streams.inspect.audit.extent import Topics
    from streams.inspect.audit.findings import Findings
    from streams.inspect.audit.ledger import Ledger
    from streams.inspect.audit.presses import Presses

_ACCOUNTS = b"a"
_PREFIX_BYTES = 1 + DIGEST_BYTES
# An account is judged in memory: one with more presses and statuses than this, some 20 MB, is counted and left out.
MAX_OF_ACCOUNT = 50_000


class Told(NamedTuple):
    """A status record: where it lies, when it was appended, and what it says; times in ms."""

    partition: int
    offset: int
    appended_ms: int
    status: str
    at_ms: int
    until_ms: int
    press_id: str

    @property
    def at(self) -> str:
        """Its place."""
        return place(freeze_status.TOPIC, self.partition, self.offset)


@dataclass(slots=True)
class Account:
    """An account's presses, by place, and statuses, in the order of their offsets."""

    presses: list[tuple[tuple[int, int], Pressed]] = field(default_factory=list)
    statuses: list[Told] = field(default_factory=list)


class Statuses:
    """Reads all of freeze-status, however it was compacted, and judges account by account."""

    def __init__(
        self, *, topics: Topics, ledger: Ledger, presses: Presses, announced: Announced, findings: Findings
    ) -> None:
        """Take what it reads, keeps, asks, hands on and tells."""
        self._topics = topics
        self._ledger = ledger
        self._presses = presses
        self._announced = announced
        self._findings = findings
        self._settled = topics[freeze_status.TOPIC].settled
        self._now_ms = 0

    def read(self) -> None:
        """Keep every status by its account."""
        for message in self._topics.read(freeze_status.TOPIC, ALL):
            self._findings.audited["statuses"] += 1
            self._keep(message)

    def _keep(self, message: Message) -> None:
        partition, offset, appended_ms = message.partition() or 0, message.offset() or 0, message.timestamp()[1]
        self._now_ms = max(self._now_ms, appended_ms)
        body = parse_object(message.value())
        try:
            if isinstance(body, Fault):
                raise TypeError(body.detail)  # noqa: TRY301  (told with the others below)
            told = Told(
                partition,
                offset,
                appended_ms,
                Status(body["status"]),
                parse_rfc3339(body["at"]),
                parse_rfc3339(body["frozen_until"]),
                str(body["press_id"]),
            )
            prefix = account_prefix(str(body["account_id"]))
        except (KeyError, TypeError, ValueError):
            at = place(freeze_status.TOPIC, partition, offset)
            self._findings.add(Kind.UNREADABLE, at, "no JSON object with account, status, press and times")
            return
        self._ledger.put(prefix + STATUS_TAG + PLACE.pack(partition, offset), pack(told))

    def conclude(self) -> None:
        """Judge every account; only presses of the span must have a status."""
        for account in self._accounts():
            self._judge(account)

    def _accounts(self) -> Iterator[Account]:
        for _, entries in groupby(self._ledger.scan(_ACCOUNTS), lambda entry: entry[0][:_PREFIX_BYTES]):
            account = Account()
            count = 0
            for count, (key, value) in enumerate(entries, start=1):
                if count > MAX_OF_ACCOUNT:
                    continue
                if key[_PREFIX_BYTES:].startswith(PRESS_TAG):
                    where = PLACE.unpack(key[_PREFIX_BYTES + 1 :])
                    account.presses.append((where, Pressed._make(orjson.loads(value))))
                else:
                    account.statuses.append(Told._make(orjson.loads(value)))
            # When a press froze that carries no broker time, the topics don't tell.
            if count > MAX_OF_ACCOUNT or any(pressed.untimed for _, pressed in account.presses):
                self._findings.not_judged[Unjudged.ACCOUNT] += 1
            else:
                yield account

    def _judge(self, account: Account) -> None:
        seen: set[int] = set()
        for told in account.statuses:
            if told.partition in seen:
                self._announced.second_of_account(told.partition, told.offset, told.appended_ms)
            seen.add(told.partition)
        ends = [told for told in account.statuses if told.status in ENDS]
        self._judge_presses(account, [told for told in account.statuses if told.status not in ENDS])
        self._judge_ends(account, ends)

    def _judge_presses(self, account: Account, statuses: Iterable[Told]) -> None:
        told_of: defaultdict[tuple[str, int], list[Told]] = defaultdict(list)
        for told in statuses:
            told_of[told.press_id, told.at_ms].append(told)
        # Nothing forbids to press twice under one id, in the same millisecond even.
        pressed_as: defaultdict[tuple[str, int], list[tuple[tuple[int, int], Pressed]]] = defaultdict(list)
        for where, pressed in account.presses:
            pressed_as[pressed.press_id, pressed.pressed_ms].append((where, pressed))
        for cause, presses in pressed_as.items():
            found = told_of.pop(cause, [])
            self._judge_press(account, presses, found)
        extent = self._topics[panic_button.TOPIC]
        for (_, at_ms), found in told_of.items():
            if extent.cut and at_ms < extent.gone_before_ms:
                self._findings.not_judged[Unjudged.PRESS_GONE] += len(found)
            else:
                self._findings.add(Kind.STATUS_UNFOUNDED, found[0].at, "panic-button holds no such press")

    def _judge_press(self, account: Account, presses: list[tuple[tuple[int, int], Pressed]], found: list[Told]) -> None:
        if len(found) > len(presses):
            where = place(panic_button.TOPIC, *presses[0][0])
            self._findings.add(Kind.STATUS_TWICE, found[-1].at, f"{where} had its status before")
        if all(map(self._is_settled, found)):
            for place_of, _ in presses[: len(found)]:
                self._announced.press(*place_of)
        for place_of, pressed in presses[len(found) :]:
            if self._presses.in_span(*place_of):
                self._lacks(account, PRESS, place_of, pressed.pressed_ms)
        least_ms = min(pressed.fold_until_ms for _, pressed in presses)
        for told in found:
            if told.until_ms < least_ms:
                detail = (
                    f"it ends {least_ms - told.until_ms} ms earlier than a press up to this one in its partition says"
                )
                self._findings.add(Kind.FREEZE_MOVED_EARLIER, told.at, detail)

    def _judge_ends(self, account: Account, ends: list[Told]) -> None:
        for cause, times in Counter((told.status, told.at_ms) for told in ends).items():
            if times > 1:
                last = [told for told in ends if (told.status, told.at_ms) == cause][-1]
                self._findings.add(Kind.STATUS_TWICE, last.at, f"this {cause[0]} was announced before")
        by_time = sorted((pressed.pressed_ms, pressed.until_ms) for _, pressed in account.presses)
        pressed_ms = [one for one, _ in by_time]
        until_ms = list(accumulate((until for _, until in by_time), max))
        set_in = {(pressed.press_id, pressed.until_ms): where[0] for where, pressed in account.presses}
        for told in ends:
            partition = set_in.get((told.press_id, told.until_ms))
            if partition is not None and self._is_settled(told):
                self._announced.end(Status(told.status), partition, told.at_ms)
            # Announced ends wait for every press appended before them.
            before = bisect_left(pressed_ms, told.at_ms - CLOCK_STEP_MS)
            if before and until_ms[before - 1] > told.until_ms:
                detail = f"an earlier press froze for {until_ms[before - 1] - told.until_ms} ms longer"
                self._findings.add(Kind.FREEZE_MOVED_EARLIER, told.at, detail)
        self._judge_last_end(account, {(told.status, told.at_ms) for told in ends})

    def _judge_last_end(self, account: Account, told: set[tuple[str, int]]) -> None:
        """Of the last freeze alone the end must be there: what came of the account later can have replaced others."""
        if not account.presses:
            return
        where, last = max(account.presses, key=lambda one: (one[1].until_ms, one[1].press_id))
        # What ended so long ago may have been dropped before a group made anew could announce it.
        if not self._presses.in_span(*where) or last.until_ms < self._now_ms - REQUEST_RETENTION_MS:
            return
        reminder_ms = last.until_ms - REMINDER_MS
        due = [(Status.ENDED, last.until_ms)]
        if reminder_ms > last.pressed_ms:
            due.append((Status.ENDING, reminder_ms))
        for status, due_ms in due:
            if (status, due_ms) not in told and due_ms <= self._now_ms:
                self._lacks(account, status, where, due_ms)

    def _is_settled(self, told: Told) -> bool:
        return told.offset < self._settled.get(told.partition, 0)

    def _lacks(self, account: Account, what: str, where: tuple[int, int], due_ms: int) -> None:
        later = [told.partition for told in account.statuses if told.appended_ms >= due_ms - CLOCK_STEP_MS]
        self._announced.lacks(Lacking(what, *where, due_ms, later[-1] if later else -1))
