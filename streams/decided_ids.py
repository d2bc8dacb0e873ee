"""Which withdrawal ids have been decided, for as long as they are remembered, in RocksDB.

    i<partition><bucket><withdrawal id>   when it was requested, ms (read back from the decisions: at the latest)
    p<partition>                          up to where this folder knows: the next request, the end of the decisions
    m:memory                              how long ids are remembered, which is the length of a bucket

Ids lie in buckets as long as the memory, so a look-up reads two of them and a spent bucket goes in one operation.
Decisions lie in the partition of the same number as their requests, so a worker that is given a partition reads back
what others decided there (`restore`). What is remembered is written after its transaction has committed; a crash in
between is made good by the same reading back.
"""

from __future__ import annotations

import struct
from itertools import groupby, islice
from typing import TYPE_CHECKING

import orjson

from streams.store import get_many, open_store, write_batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from rocksdict import Rdict, WriteBatch

_ID, _ID_END, _KNOWN, _KNOWN_END = b"i", b"j", b"p", b"q"
_MEMORY_KEY = b"m:memory"
_PREFIX = struct.Struct(">iq")
_TIME = struct.Struct(">q")
_PARTITION = struct.Struct(">i")
# When the lead of a partition moves to another broker, append times may go back by as much as their clocks differ.
CLOCK_STEP_MS = 1_000
# Bounds the memory that reading back takes.
RESTORE_AT_ONCE = 20_000


class DecidedIds:
    """For one thread at a time a partition."""

    def __init__(self, folder: Path, identity: dict[str, str], remember_seconds: int) -> None:
        """Open the folder; raise FolderFault when it is damaged, in use or another topic's."""
        self._database = open_store(folder, identity)
        self._memory_ms = remember_seconds * 1000
        self._spent_bucket: dict[int, int] = {}
        stored = self._database.get(_MEMORY_KEY)
        if stored != _TIME.pack(self._memory_ms):
            # Buckets of another length can't be looked up: start anew, the decisions tell all of it again.
            batch = write_batch()
            batch.delete_range(_ID, _ID_END)
            batch.delete_range(_KNOWN, _KNOWN_END)
            batch[_MEMORY_KEY] = _TIME.pack(self._memory_ms)
            self._database.write(batch)

    def known(self, partition: int) -> tuple[int, int]:
        """Return up to where this folder knows: (next request offset, end of the decisions when last looked at)."""
        stored = self._database.get(_KNOWN + _PARTITION.pack(partition))
        if stored is None:
            return 0, 0
        next_offset, decisions_end = orjson.loads(stored)
        return next_offset, decisions_end

    def restore(self, partition: int, decided: Iterable[tuple[str, int]], next_offset: int, decisions_end: int) -> None:
        """Take (id, requested at or before, in ms) read back from the decisions, and up to where that is all."""
        remaining = iter(decided)
        # A memory's worth may be millions. A crash between two batches leaves ids without the place that says so:
        # they are read back again.
        while chunk := list(islice(remaining, RESTORE_AT_ONCE)):
            batch = write_batch()
            self._put(batch, partition, chunk)
            self._database.write(batch)
        _put_known(self._database, partition, next_offset, decisions_end)

    def seen(self, partition: int, requests: Sequence[tuple[str, int]]) -> set[str]:
        """Return those ids of (id, requested at in ms) that were decided no longer ago than the memory."""
        found: set[str] = set()
        for bucket, run in self._by_bucket(requests):
            raw_ids = [withdrawal_id.encode() for withdrawal_id, _ in run]
            last = (max(requested_ms for _, requested_ms in run) + CLOCK_STEP_MS) // self._memory_ms
            for looked_at in range(bucket - 1, last + 1):
                values = get_many(self._database, [*map(_prefix(partition, looked_at).__add__, raw_ids)])
                if values.count(None) < len(values):
                    found.update(self._within_memory(run, values))
        return found

    def _by_bucket(self, decided: Sequence[tuple[str, int]]) -> Iterator[tuple[int, Sequence[tuple[str, int]]]]:
        """Split into runs of one bucket each: thousands of records in a row share one, as a rule all of a batch."""
        memory_ms = self._memory_ms
        times_ms = [time_ms for _, time_ms in decided]
        if times_ms and min(times_ms) // memory_ms == max(times_ms) // memory_ms:
            yield times_ms[0] // memory_ms, decided
            return
        for bucket, run in groupby(decided, lambda one: one[1] // memory_ms):
            yield bucket, list(run)

    def _within_memory(self, run: Iterable[tuple[str, int]], values: Iterable[bytes | None]) -> Iterator[str]:
        for (withdrawal_id, requested_ms), value in zip(run, values, strict=True):
            if value is not None and requested_ms - _TIME.unpack(value)[0] <= self._memory_ms:
                yield withdrawal_id

    def remember(self, decided: Mapping[int, tuple[Sequence[tuple[str, int]], int]]) -> None:
        """Take, by partition, the (id, requested at in ms) just decided and the next request offset."""
        batch = write_batch()
        for partition, (requests, next_offset) in decided.items():
            _, decisions_end = self.known(partition)
            self._put(batch, partition, requests)
            _put_known(batch, partition, next_offset, decisions_end)
            if requests:
                self._drop_spent(batch, partition, requests[-1][1] // self._memory_ms - 3)
        self._database.write(batch)

    def _put(self, batch: WriteBatch, partition: int, decided: Sequence[tuple[str, int]]) -> None:
        for bucket, run in self._by_bucket(decided):
            prefix = _prefix(partition, bucket)
            for withdrawal_id, time_ms in run:
                batch[prefix + withdrawal_id.encode()] = _TIME.pack(time_ms)

    def _drop_spent(self, batch: WriteBatch, partition: int, bucket: int) -> None:
        """Drop what nothing can ask for any more: requests of a partition come in the order of their times."""
        if self._spent_bucket.get(partition, -1) < bucket:
            batch.delete_range(_prefix(partition, 0), _prefix(partition, bucket + 1))
            self._spent_bucket[partition] = bucket

    def close(self) -> None:
        """Close the folder."""
        self._database.close()


def _put_known(store: Rdict | WriteBatch, partition: int, next_offset: int, decisions_end: int) -> None:
    store[_KNOWN + _PARTITION.pack(partition)] = orjson.dumps((next_offset, decisions_end))


def _prefix(partition: int, bucket: int) -> bytes:
    """Return what the keys of a bucket's ids begin with."""
    return _ID + _PREFIX.pack(partition, bucket)
