"""What the audit remembers, in RocksDB: memory stays bounded however many records there are.

The first byte of a key says what it is about; each module of the audit has its own (`m` is the store's).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import orjson

from streams.store import scan, write_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rocksdict import Rdict

# How many writes are held back, to be written at once.
HELD_WRITES = 20_000
PLACE = struct.Struct(">IQ")
# All of them fit into the 64 bits of Kafka's offsets.
MAX_DIGITS = 18


def parse_number(text: str) -> int | None:
    """Read a partition or an offset, None for what can be neither: outputs can be forged."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS else None


def pack(value: object) -> bytes:
    """Return JSON; named tuples become arrays."""
    return orjson.dumps(value, default=tuple)


class Ledger:
    """Keys and values; what was put is seen by `get` at once and by `scan` and `last_at` after `flush`."""

    def __init__(self, database: Rdict) -> None:
        """Take an open, empty database."""
        self._database = database
        self._held: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """Return a value, None when there is none."""
        held = self._held
        return held[key] if key in held else self._database.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Keep a value."""
        self._held[key] = value
        if len(self._held) >= HELD_WRITES:
            self.flush()

    def delete(self, key: bytes) -> None:
        """Forget a value."""
        self._held[key] = None

    def flush(self) -> None:
        """Write what is held back."""
        batch = write_batch()
        for key, value in self._held.items():
            if value is None:
                batch.delete(key)
            else:
                batch[key] = value
        self._database.write(batch)
        self._held = {}

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield what begins with the prefix, whose last byte is below 255, in the order of the keys."""
        self.flush()
        return scan(self._database, prefix, prefix[:-1] + bytes([prefix[-1] + 1]))

    def last_at(self, key: bytes, prefix: bytes) -> bytes | None:
        """Return the value of the greatest key that is not above `key` and begins with `prefix`."""
        entries = self._database.iter()
        entries.seek_for_prev(key)
        return entries.value() if entries.valid() and entries.key().startswith(prefix) else None
