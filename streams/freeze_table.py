"""The freeze table: a fold over `panic-button`, in RocksDB. Every worker holds all of it.

What lies in the folder (one key space, the first byte says which):

    a<account>                      the account's freeze
    e<until><account>               each freeze by its end, with the panic-button partition of its press
    s<partition><offset>            what the press at that place did, until it has been announced
    m:identity  m:applied  m:count  cluster and topic; next offset of each partition; accounts frozen

A batch of presses and the offsets behind it are one WriteBatch: a crash leaves both or neither, so a restart goes on
where the table stands, and an empty folder replays the topic. A fold never moves an end earlier, so a record that is
applied again changes nothing.
"""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import orjson

from schemas.freeze_status import Adjusted, Status
from streams.rule import Freeze, fold
from streams.store import get_many, open_store, scan, write_batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from rocksdict import WriteBatch

_ACCOUNT, _END, _STATUS = b"a", b"e", b"s"
_APPLIED_KEY, _COUNT_KEY = b"m:applied", b"m:count"
# until, since, pressed (ms), asked, applied (s), adjusted, panic-button partition; the press id follows.
_FREEZE = struct.Struct(">qqqqqBi")
_STATUS_VALUE = struct.Struct(">Bqq")
_TIME = struct.Struct(">q")
_PLACE = struct.Struct(">iq")
_NOT_ASKED = -(2**63)
# Folders without one may lack freezes that a purge before 1970 dropped: they are refused, and rebuilt from the topic.
_FORMAT = "2"
_ADJUSTED = (None, Adjusted.DEFAULTED, Adjusted.RAISED, Adjusted.LOWERED)
# Bounds the time for which a purge holds decisions up; what is left is purged the next time.
PURGE_AT_ONCE = 5_000
_STATUSES = (Status.FROZEN, Status.EXTENDED, Status.UNCHANGED)


class AppliedPress(NamedTuple):
    """A press with its place in `panic-button` and the freeze that it alone makes."""

    account_id: str
    partition: int
    offset: int
    freeze: Freeze


@dataclass(frozen=True, slots=True)
class PressOutcome:
    """What a press did: its status, and the account's freeze as it stood right after."""

    status: Status
    frozen_since_ms: int
    frozen_until_ms: int


class FreezeTable:
    """Thread-safe: one thread applies presses, others look accounts up."""

    def __init__(self, folder: Path, identity: dict[str, str]) -> None:
        """Open the folder; raise FolderFault when it is damaged, in use or another topic's."""
        self.folder = folder
        self._database = open_store(folder, {**identity, "format": _FORMAT})
        self._lock = threading.Lock()
        stored = self._database.get(_APPLIED_KEY)
        self._applied = {int(p): offset for p, offset in orjson.loads(stored).items()} if stored else {}
        count = self._database.get(_COUNT_KEY)
        # How many accounts are frozen, and the moment up to which the ended ones have been taken out.
        self._count: int = 0
        self._counted_ms: int = 0
        if count:
            self._count, self._counted_ms = orjson.loads(count)

    @property
    def applied(self) -> dict[int, int]:
        """The next offset of each followed partition: everything below is in the table."""
        with self._lock:
            return dict(self._applied)

    def apply(self, presses: Sequence[AppliedPress], positions: Mapping[int, int]) -> None:
        """Fold presses and move the followed offsets to `positions`, both or neither."""
        with self._lock:
            batch = write_batch()
            folded: dict[str, tuple[Freeze, int]] = {}
            count = self._count
            before = get_many(self._database, [_ACCOUNT + press.account_id.encode() for press in presses])
            for press, stored in zip(presses, before, strict=True):
                known = folded.get(press.account_id) or (_unpack(stored) if stored else None)
                count += self._fold(batch, press, known, folded)
            applied = {**self._applied, **positions}
            batch[_APPLIED_KEY] = orjson.dumps({str(p): offset for p, offset in applied.items()})
            batch[_COUNT_KEY] = orjson.dumps((count, self._counted_ms))
            self._database.write(batch)
            self._applied, self._count = applied, count

    def _fold(
        self,
        batch: WriteBatch,
        press: AppliedPress,
        known: tuple[Freeze, int] | None,
        folded: dict[str, tuple[Freeze, int]],
    ) -> int:
        """Put the press's effect into the batch; return by how many the number of frozen accounts grows."""
        account = press.account_id.encode()
        current = known[0] if known else None
        freeze, status = fold(current, press.freeze)
        outcome = _STATUS_VALUE.pack(_STATUSES.index(status), freeze.frozen_since_ms, freeze.frozen_until_ms)
        batch[_STATUS + _PLACE.pack(press.partition, press.offset)] = outcome
        if current is not None and freeze == current:
            return 0
        same_end = known is not None and (freeze.frozen_until_ms, freeze.press_id) == known[0].set_by
        partition = known[1] if known is not None and same_end else press.partition
        value = _pack(freeze, partition)
        batch[_ACCOUNT + account] = value
        # A freeze that ended by itself keeps its entry, for its end is still to be announced; an extended one does not.
        if current is not None and status is not Status.FROZEN:
            batch.delete(_END + _TIME.pack(current.frozen_until_ms) + account)
        batch[_END + _TIME.pack(freeze.frozen_until_ms) + account] = value
        folded[press.account_id] = (freeze, partition)
        was_counted = current is not None and current.frozen_until_ms > self._counted_ms
        return int(freeze.frozen_until_ms > self._counted_ms and not (was_counted and status is not Status.FROZEN))

    def gather(self, account_ids: Sequence[str]) -> tuple[dict[str, Freeze], dict[int, int]]:
        """Look accounts up at one moment: the freezes known of them, and the offsets that were applied then."""
        with self._lock:
            values = get_many(self._database, [_ACCOUNT + account_id.encode() for account_id in account_ids])
            applied = dict(self._applied)
        found = zip(account_ids, values, strict=True)
        return {account_id: _unpack(value)[0] for account_id, value in found if value is not None}, applied

    def get(self, account_id: str) -> Freeze | None:
        """Return the last freeze known of an account, which may have ended."""
        value = self._database.get(_ACCOUNT + account_id.encode())
        return None if value is None else _unpack(value)[0]

    def outcome(self, partition: int, offset: int) -> PressOutcome | None:
        """Return what the press at that place did, None when it was announced long ago or is not applied yet."""
        value = self._database.get(_STATUS + _PLACE.pack(partition, offset))
        if value is None:
            return None
        status, since_ms, until_ms = _STATUS_VALUE.unpack(value)
        return PressOutcome(_STATUSES[status], since_ms, until_ms)

    def ends(self, partition: int, after_ms: int, until_ms: int) -> Iterator[tuple[str, Freeze]]:
        """Yield the freezes, pressed in that partition, whose end lies in (after_ms, until_ms], by end."""
        for key, value in scan(self._database, *_end_range(after_ms, until_ms)):
            freeze, pressed_in = _unpack(value)
            if pressed_in == partition:
                yield key[1 + _TIME.size :].decode(), freeze

    def count_frozen(self, now_ms: int) -> int:
        """Return how many accounts are frozen at `now_ms`."""
        with self._lock:
            return self._count_up_to(now_ms)

    def _count_up_to(self, now_ms: int) -> int:
        if now_ms > self._counted_ms:
            ended = sum(1 for _ in scan(self._database, *_end_range(self._counted_ms, now_ms)))
            self._count, self._counted_ms = self._count - ended, now_ms
        return self._count

    def purge(self, before_ms: int, announced: Mapping[int, int]) -> int:
        """Drop freezes that ended at `before_ms` or earlier and outcomes below `announced`; return how many freezes.

        The caller answers for `before_ms`: no undecided request may be older.
        """
        with self._lock:
            batch = write_batch()
            purged = 0
            # What is purged must have left the count, on disk too: nothing could take it out later.
            batch[_COUNT_KEY] = orjson.dumps((self._count_up_to(before_ms), self._counted_ms))
            for key, value in islice(scan(self._database, *_end_range(0, before_ms)), PURGE_AT_ONCE):
                account = key[1 + _TIME.size :]
                current = self._database.get(_ACCOUNT + account)
                if current is not None and current[: _TIME.size] == value[: _TIME.size]:
                    batch.delete(_ACCOUNT + account)
                batch.delete(key)
                purged += 1
            for partition, offset in announced.items():
                batch.delete_range(_STATUS + _PLACE.pack(partition, 0), _STATUS + _PLACE.pack(partition, offset))
            self._database.write(batch)
            return purged

    def close(self) -> None:
        """Close the folder, so that the next worker can have it."""
        with self._lock:
            self._database.close()


def _pack(freeze: Freeze, partition: int) -> bytes:
    return (
        _FREEZE.pack(
            freeze.frozen_until_ms,
            freeze.frozen_since_ms,
            freeze.pressed_ms,
            _NOT_ASKED if freeze.asked_seconds is None else freeze.asked_seconds,
            freeze.applied_seconds,
            _ADJUSTED.index(freeze.adjusted),
            partition,
        )
        + freeze.press_id.encode()
    )


def _unpack(value: bytes) -> tuple[Freeze, int]:
    until_ms, since_ms, pressed_ms, asked, applied, adjusted, partition = _FREEZE.unpack_from(value)
    freeze = Freeze(
        frozen_until_ms=until_ms,
        press_id=value[_FREEZE.size :].decode(),
        frozen_since_ms=since_ms,
        pressed_ms=pressed_ms,
        asked_seconds=None if asked == _NOT_ASKED else asked,
        applied_seconds=applied,
        adjusted=_ADJUSTED[adjusted],
    )
    return freeze, partition


def _end_range(after_ms: int, until_ms: int) -> tuple[bytes, bytes]:
    """Return the keys between which ends in (after_ms, until_ms] lie.

    A time before 1970 is no end of a freeze, but a worker that has not been told the time yet can ask for one; packed,
    it would sort behind every other, and a purge up to it would drop all freezes there are.
    """
    return _END + _TIME.pack(max(0, after_ms + 1)), _END + _TIME.pack(max(0, until_ms + 1))
