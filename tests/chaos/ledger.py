"""Keeps the history of a long run on disk, and hands it to the judge piece by piece.

What the judge looks at together is a request, its outcomes and the other decisions of its id, all in one partition. So
a piece holds a share of a partition's ids; dead letters, which name none, are few and come with each piece of theirs.
Memory holds what is on its way, a byte for each request, and one piece while it is judged.
"""

from __future__ import annotations

import json
import threading
import zlib
from typing import TYPE_CHECKING, Any

from streams.judge import History, Outcome, PressRecord, RequestSent, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.deployment import Deployment

# So many requests are on their way before those that have arrived are written down.
ON_WAY = 2_000
# All that the judge reads of a decision; the rest, the request above all, is most of it.
READ_BY_JUDGE = ("withdrawal_id", "decision", "reason", "freeze_view")
ASKED, ANSWERED = 1, 2
PIECES = 8  # of each partition


class Shelf:
    """A row of files of JSON lines."""

    def __init__(self, folder: Path, name: str, files: int) -> None:
        """Make them."""
        folder.mkdir(parents=True, exist_ok=True)
        self._files = [(folder / f"{name}-{number}.jsonl").open("w+") for number in range(files)]

    def put(self, number: int, *line: Any) -> None:
        """Add a line."""
        self._files[number].write(json.dumps(line) + "\n")

    def lines(self, number: int) -> Iterator[list[Any]]:
        """Read them all, from the first."""
        self._files[number].seek(0)
        return map(json.loads, self._files[number])

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files:
            file.close()


class Ledger(list[RequestSent]):
    """The requests of a history: on disk those whose place is known, in the list the others; all outcomes on disk."""

    def __init__(self, folder: Path, partitions: int) -> None:
        """Begin with nothing."""
        super().__init__()
        self.accounts: set[str] = set()
        self._requests = Shelf(folder, "requests", partitions * PIECES)
        self._decisions = Shelf(folder, "decisions", partitions * PIECES)
        self._letters = Shelf(folder, "letters", partitions)
        # What has become of each offset.
        self._marks = [bytearray() for _ in range(partitions)]
        self._next: dict[str, dict[int, int]] = {"withdrawal-decision": {}, "dead-letter": {}}
        self._lock = threading.Lock()
        self._most = ON_WAY

    def append(self, sent: RequestSent) -> None:
        """Take a request that is about to be sent."""
        with self._lock:
            super().append(sent)
            if len(self) > self._most:
                self._put_away()

    def put_away(self) -> None:
        """Write down every request whose place is known; the others stay in the list."""
        with self._lock:
            self._put_away()

    def _put_away(self) -> None:
        on_way = []
        for sent in self:
            if sent.offset < 0 or sent.append_ms < 0:  # set last, and told without an offset now and then
                on_way.append(sent)
                continue
            self.accounts.add(sent.account_id)
            self._mark(sent.partition, sent.offset, ASKED)
            piece = _piece(sent.partition, sent.withdrawal_id)
            self._requests.put(piece, sent.offset, sent.append_ms, sent.sent_at, sent.withdrawal_id, sent.account_id)
        self[:] = on_way
        self._most = len(on_way) + ON_WAY

    def answer(self, outcome: Outcome) -> None:
        """Take an outcome that was read."""
        self._mark(outcome.partition, outcome.offset, ANSWERED)
        if outcome.decision is None:
            self._letters.put(outcome.partition, outcome.offset, outcome.dead_letter, outcome.read_partition)
        else:
            piece = _piece(outcome.partition, outcome.decision["withdrawal_id"])
            read = [outcome.decision[name] for name in READ_BY_JUDGE]
            self._decisions.put(piece, outcome.offset, outcome.read_partition, *read)

    def _mark(self, partition: int, offset: int, what: int) -> None:
        marks = self._marks[partition]
        if offset >= len(marks):
            marks.extend(bytes(offset + 1 - len(marks)))
        marks[offset] |= what

    def asked(self, partition: int, offset: int) -> bool:
        """Tell whether a request is known to lie there."""
        marks = self._marks[partition]
        return offset < len(marks) and bool(marks[offset] & ASKED)

    def missing(self) -> int:
        """Count the requests without an outcome."""
        return len(self) + sum(marks.count(ASKED) for marks in self._marks)

    def read(self, gate: Deployment) -> None:
        """Take the outcomes that the topics hold beyond those taken already."""
        for message in gate.records("withdrawal-decision", start=self._next["withdrawal-decision"]):
            self.answer(Outcome.of_decision(message))
        for message in gate.records("dead-letter", start=self._next["dead-letter"]):
            if (outcome := Outcome.of_dead_letter(message)) is not None:
                self.answer(outcome)

    def judge(self, history: History) -> Verdict:
        """Judge the history whose requests these are; its own outcomes are not looked at."""
        whole = Verdict()
        for piece in range(len(self._marks) * PIECES):
            partition = piece // PIECES
            outcomes = [*self._decisions_of(piece, partition), *self._letters_of(partition)]
            requests = list(self._requests_of(piece, partition))
            _add(whole, judge(History(history.presses, requests, history.press_records, outcomes, history.policy)))
        _add(whole, judge(History(requests=list(self))))  # whose place nobody knows
        return whole

    def _requests_of(self, piece: int, partition: int) -> Iterator[RequestSent]:
        for offset, append_ms, sent_at, withdrawal_id, account_id in self._requests.lines(piece):
            yield RequestSent(withdrawal_id, account_id, sent_at, partition, offset, append_ms)

    def _decisions_of(self, piece: int, partition: int) -> Iterator[Outcome]:
        for offset, read_partition, *read in self._decisions.lines(piece):
            yield Outcome(partition, offset, dict(zip(READ_BY_JUDGE, read, strict=True)), None, read_partition)

    def _letters_of(self, partition: int) -> Iterator[Outcome]:
        for offset, reason, read_partition in self._letters.lines(partition):
            yield Outcome(partition, offset, None, reason, read_partition)

    def press_records(self, gate: Deployment, accounts: Iterable[str]) -> list[PressRecord]:
        """Read the presses of these accounts and of all that asked: the judge looks at no others."""
        wanted = self.accounts.union(accounts)
        records = (PressRecord.of(message) for message in gate.records("panic-button"))
        return [record for record in records if record is not None and record.press.account_id in wanted]

    def close(self) -> None:
        """Let go of the files."""
        for shelf in (self._requests, self._decisions, self._letters):
            shelf.close()


def _piece(partition: int, withdrawal_id: str) -> int:
    """Return where everything of an id lies."""
    return partition * PIECES + zlib.crc32(withdrawal_id.encode()) % PIECES


def _add(whole: Verdict, part: Verdict) -> None:
    """Add what was found in a part; a press that is lost is found in each, and counts once."""
    whole.findings += [one for one in part.findings if not (one.startswith("lost:") and one in whole.findings)]
    whole.counts.update(part.counts)
