"""panic-button: which freeze was known of an account once a `freeze_view` had been applied.

    n<account>                             for each partition: its last press of the account, with the fold up to it
    a<account's digest>p<partition><offset>  each press, with the fold of the account's presses in its partition

Presses fold by maximum (`streams/rule.py`), so the fold of what lies below a view is made of one fold a partition.
`--since` bounds which presses are held against the statuses, never which are folded.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

import orjson
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from schemas import panic_button
from schemas.panic_button import Press, parse_press
from streams.inspect.audit.findings import Kind, place
from streams.inspect.audit.ledger import PLACE, pack
from streams.inspect.retained import ALL, Span
from streams.rule import Freeze, fold, freeze_of_press

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confluent_kafka import Message

    from schemas.wire import FaultReason
    from streams.inspect.audit.announced import Announced
    from streams.inspect.audit.extent import Topics
    from streams.inspect.audit.findings import Findings
    from streams.inspect.audit.ledger import Ledger
    from streams.inspect.audit.letters import Letters
    from streams.rule import FreezePolicy

_NEWEST = b"n"
_OF_ACCOUNT = b"a"
PRESS_TAG, STATUS_TAG = b"p", b"s"
DIGEST_BYTES = 16


class Pressed(NamedTuple):
    """A press, and the fold of its account's presses in this partition up to it; times in ms.

    `untimed` when it, `fold_untimed` when one of those folded carries no broker time: it froze from a moment that the
    topics don't tell, so more may have been frozen than the fold says, never less.
    """

    pressed_ms: int
    press_id: str
    until_ms: int
    untimed: bool
    fold_until_ms: int
    fold_press_id: str
    fold_untimed: bool


class State(NamedTuple):
    """A partition's fold of an account's presses, up to the one at `offset`; `until_ms` 0 when none carries a time."""

    offset: int
    until_ms: int
    press_id: str
    untimed: bool

    def freeze(self) -> Freeze | None:
        """Return it as the rule folds it; since when it lasts plays no part here."""
        return Freeze(self.until_ms, self.press_id, 0, 0, None, 0, None) if self.until_ms else None


class Known(NamedTuple):
    """The freeze that was known of an account; `frozen_until_ms` 0 for none."""

    frozen_until_ms: int
    press_id: str
    untimed: bool


NO_STATE = State(-1, 0, "", untimed=False)
NOT_PRESSED = Known(0, "", untimed=False)


class Presses:
    """Reads all presses; afterwards says what was known of an account."""

    def __init__(  # noqa: PLR0913  (its collaborators, each by name)
        self,
        *,
        topics: Topics,
        policy: FreezePolicy,
        ledger: Ledger,
        letters: Letters,
        announced: Announced,
        findings: Findings,
    ) -> None:
        """Take what it reads, folds by, keeps, compares, hands on and tells."""
        self._topics = topics
        self._policy = policy
        self._ledger = ledger
        self._letters = letters
        self._findings = findings
        self._announced = announced
        self._starts: Mapping[int, int] = {}
        self._ends: Mapping[int, int] = {}

    def read(self, span: Span) -> None:
        """Fold every press that the topic retains; only those of the span must have their dead letters."""
        self._starts, self._ends = self._topics.span(panic_button.TOPIC, span)
        for message in self._topics.read(panic_button.TOPIC, ALL):
            self._findings.audited["presses"] += 1
            partition, offset = message.partition() or 0, message.offset() or 0
            press = parse_press(message.key(), message.value(), partition, offset)
            fault = press.fault if isinstance(press, Press) else press
            self._compare_letters(message, None if fault is None else fault.reason)
            if isinstance(press, Press):
                self._fold(message, press)
        self._ledger.flush()

    def _compare_letters(self, message: Message, expected: FaultReason | None) -> None:
        letters = self._letters.of(panic_button.TOPIC, message)
        partition, offset = message.partition() or 0, message.offset() or 0
        for letter in letters:
            if letter.reason != expected:
                detail = f"{place(panic_button.TOPIC, partition, offset)} is {expected or 'a good press'}"
                self._findings.add(Kind.LETTER_UNFOUNDED, letter.at, detail)
        if len(letters) > 1:
            at = place(panic_button.TOPIC, partition, offset)
            self._findings.add(Kind.LETTER_TWICE, letters[-1].at, f"{at} has {len(letters)} dead letters")
        if expected is not None and not letters and self.in_span(partition, offset):
            self._announced.lacks_letter(partition, offset, message.timestamp()[1])

    def in_span(self, partition: int, offset: int) -> bool:
        """Tell whether a press is one of the span."""
        return self._starts.get(partition, 0) <= offset < self._ends.get(partition, 0)

    def _fold(self, message: Message, press: Press) -> None:
        partition, offset = message.partition() or 0, message.offset() or 0
        kind, append_ms = message.timestamp()
        timed = kind == TIMESTAMP_LOG_APPEND_TIME
        alone = freeze_of_press(self._policy, press.press_id, press.asked_seconds, append_ms)
        newest_key = _NEWEST + press.account_id.encode()
        newest = orjson.loads(self._ledger.get(newest_key) or b"{}")
        before = State(*newest.get(str(partition), NO_STATE))
        folded = fold(before.freeze(), alone)[0] if timed else before.freeze()
        untimed = before.untimed or not timed
        until_ms, press_id = (folded.frozen_until_ms, folded.press_id) if folded is not None else (0, "")
        newest[str(partition)] = State(offset, until_ms, press_id, untimed)
        self._ledger.put(newest_key, pack(newest))
        pressed = Pressed(append_ms, press.press_id, alone.frozen_until_ms, not timed, until_ms, press_id, untimed)
        key = account_prefix(press.account_id) + PRESS_TAG + PLACE.pack(partition, offset)
        self._ledger.put(key, pack(pressed))

    def known(self, account_id: str, view: Mapping[int, int]) -> Known:
        """Return the freeze that the presses below a view make, whether it has ended or not."""
        stored = self._ledger.get(_NEWEST + account_id.encode())
        if stored is None:
            return NOT_PRESSED
        known: Freeze | None = None
        untimed = False
        for name, newest in orjson.loads(stored).items():
            partition, below = int(name), view.get(int(name), 0)
            latest = State(*newest)
            state = latest if latest.offset < below else self._fold_below(account_id, partition, below)
            if state is None:
                continue
            untimed = untimed or state.untimed
            freeze = state.freeze()
            known = known if freeze is None else fold(known, freeze)[0]
        return Known(0, "", untimed) if known is None else Known(known.frozen_until_ms, known.press_id, untimed)

    def _fold_below(self, account_id: str, partition: int, below: int) -> State | None:
        if below == 0:
            return None
        prefix = account_prefix(account_id) + PRESS_TAG + PLACE.pack(partition, 0)[:4]
        value = self._ledger.last_at(prefix + PLACE.pack(0, below - 1)[4:], prefix)
        if value is None:
            return None
        pressed = Pressed._make(orjson.loads(value))
        return State(0, pressed.fold_until_ms, pressed.fold_press_id, pressed.fold_untimed)


def account_prefix(account_id: str) -> bytes:
    """Return what the keys of an account's presses and statuses begin with; of one length for each account."""
    return _OF_ACCOUNT + blake2b(account_id.encode(), digest_size=DIGEST_BYTES).digest()
