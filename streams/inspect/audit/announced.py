"""What should have been announced and was not, kept until it is known how far the announcing has come.

    l<number>   what is lacking, where its press lies, when it was due, and whether compaction can have removed it

Presses of a partition are announced in order, and so are the ends of the freezes that they set. So what is missing
before something of the same partition that was announced is a finding; what comes later is not announced yet.

freeze-status is compacted: of an account's records only the last is sure to stay. That one is missing can be told when
the account has no later record, or when the record would lie where nothing was compacted yet: behind the first place
where the second record of an account still has the first before it.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import orjson

from schemas import dead_letter, freeze_status, panic_button
from schemas.freeze_status import Status
from streams.inspect.audit.extent import CLOCK_STEP_MS
from streams.inspect.audit.findings import Kind, Unjudged, place
from streams.inspect.audit.ledger import pack

if TYPE_CHECKING:
    from streams.inspect.audit.extent import Topics
    from streams.inspect.audit.findings import Findings
    from streams.inspect.audit.ledger import Ledger

_LACKING = b"l"
_NUMBER = struct.Struct(">Q")
LETTER, PRESS = "letter", "press"
ENDS = (Status.ENDING, Status.ENDED)


class Lacking(NamedTuple):
    """A record that was not found: a dead letter, the status of a press, a reminder or an end.

    `status_partition` is where the account's later statuses lie, -1 when there are none: nothing can have taken the
    missing one's place.
    """

    what: str
    partition: int
    offset: int
    due_ms: int
    status_partition: int


class Announced:
    """How far each partition of `panic-button` has been announced, and what lacks below."""

    def __init__(self, topics: Topics, ledger: Ledger, findings: Findings) -> None:
        """Take what it asks, keeps and tells."""
        self._topics = topics
        self._ledger = ledger
        self._findings = findings
        self._kept = 0
        # The last press announced, and the last moment of an end or reminder, by panic-button partition.
        self._presses: defaultdict[int, int] = defaultdict(lambda: -1)
        self._ends: defaultdict[tuple[str, int], int] = defaultdict(int)
        # When the first record was appended behind which nothing was compacted, by partition of freeze-status.
        self._whole_from_ms: dict[int, tuple[int, int]] = {}

    def press(self, partition: int, offset: int) -> None:
        """Note that the press at a place has been announced."""
        self._presses[partition] = max(self._presses[partition], offset)

    def end(self, status: Status, partition: int, at_ms: int) -> None:
        """Note that the reminder or end due at `at_ms`, of a freeze set in that partition, has been announced."""
        self._ends[status, partition] = max(self._ends[status, partition], at_ms)

    def second_of_account(self, status_partition: int, offset: int, appended_ms: int) -> None:
        """Note a status that has an earlier one of the same account before it in its partition."""
        known = self._whole_from_ms.get(status_partition)
        if known is None or offset < known[0]:
            self._whole_from_ms[status_partition] = (offset, appended_ms)

    def lacks(self, lacking: Lacking) -> None:
        """Keep what was not found."""
        self._ledger.put(_LACKING + _NUMBER.pack(self._kept), pack(lacking))
        self._kept += 1

    def lacks_letter(self, partition: int, offset: int, pressed_ms: int) -> None:
        """Keep a press that should have a dead letter and has none."""
        self.lacks(Lacking(LETTER, partition, offset, pressed_ms, -1))

    def conclude(self) -> None:
        """Tell what is missing although it has been passed by."""
        letters, statuses = self._topics[dead_letter.TOPIC], self._topics[freeze_status.TOPIC]
        for _, value in self._ledger.scan(_LACKING):
            lacking = Lacking._make(orjson.loads(value))
            if not self._passed(lacking):
                # Of an end, it may as well not have come yet.
                self._findings.not_judged[Unjudged.NOT_ANNOUNCED] += lacking.what not in ENDS
            elif lacking.what == LETTER:
                self._tell_letter(lacking, gone=letters.cut and lacking.due_ms < letters.gone_before_ms)
            elif statuses.cut or not self._stays(lacking):
                self._findings.not_judged[Unjudged.COMPACTED] += 1
            else:
                at = place(panic_button.TOPIC, lacking.partition, lacking.offset)
                what = "what became of it" if lacking.what == PRESS else f"that its freeze was {lacking.what}"
                self._findings.add(Kind.STATUS_MISSING, at, f"freeze-status does not say {what}")

    def _passed(self, lacking: Lacking) -> bool:
        if lacking.what in ENDS:
            return lacking.due_ms < self._ends[lacking.what, lacking.partition]
        return lacking.offset < self._presses[lacking.partition]

    def _tell_letter(self, lacking: Lacking, *, gone: bool) -> None:
        if gone:
            self._findings.not_judged[Unjudged.OUTCOME_GONE] += 1
            return
        at = place(panic_button.TOPIC, lacking.partition, lacking.offset)
        self._findings.add(Kind.LETTER_MISSING, at, "the record has a fault, and no dead letter says so")

    def _stays(self, lacking: Lacking) -> bool:
        if lacking.status_partition < 0:
            return True
        whole = self._whole_from_ms.get(lacking.status_partition)
        return whole is not None and lacking.due_ms > whole[1] + CLOCK_STEP_MS
