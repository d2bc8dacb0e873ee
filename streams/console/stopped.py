"""How many requests each freeze stopped, by whichever worker: counted from decisions, in memory, within a bound.

A decision names the end of the freeze that stopped its request, as it was then. Freezes of an account don't overlap, so
it belongs to the freeze in force exactly when that end lies behind the beginning of that freeze: in whatever order
decisions are read, and also when the end has moved since.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.rule import Freeze

# Ends of freezes that stopped something. At a few hundred bytes each, some 20 MB.
MAX_ENDS = 50_000
# Ends are asked for every second; past this the reader is behind, or can't read.
FRESH_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Stop:
    """A rejection: whose, the end (ms) of the freeze that caused it, and when it was appended (ms)."""

    account_id: str
    frozen_until_ms: int
    appended_ms: int


@dataclass(frozen=True, slots=True)
class StoppedCount:
    """Requests stopped by a freeze: whole from `since_ms` to `until_ms`; of later ones some may be counted."""

    count: int
    since_ms: int
    # None until everything has been read once.
    until_ms: int | None
    # Whether `until_ms` is as good as now.
    fresh: bool
    readable: bool
    # Offsets of decisions not read yet.
    left: int


@dataclass(slots=True)
class _Entry:
    since_ms: int
    # How many stops, by the end that they named.
    counts: Counter[int] = field(default_factory=Counter)


class Stopped:
    """Thread-safe: one thread reads decisions, the console asks."""

    def __init__(self, max_ends: int = MAX_ENDS) -> None:
        """Start with nothing read."""
        self._lock = threading.Lock()
        self._max_ends = max_ends
        self._readable = True
        self._left = 0
        self.begin(0)

    def begin(self, since_ms: int) -> None:
        """Forget all; what is added from here on begins with the decisions of `since_ms`."""
        with self._lock:
            # In the order of the last stop, the oldest first.
            self._entries: OrderedDict[str, _Entry] = OrderedDict()
            self._ends = 0
            # From here on no stop of an account without an entry is missing.
            self._whole_since_ms = since_ms
            self._newest_ms = since_ms
            self._until_ms: int | None = None
            self._until_s = -FRESH_SECONDS

    def lacks_before(self, time_ms: int) -> None:
        """Take note that decisions from before that time are no longer there to be read."""
        with self._lock:
            self._whole_since_ms = max(self._whole_since_ms, time_ms)
            for entry in self._entries.values():
                entry.since_ms = max(entry.since_ms, time_ms)

    def add(self, stops: Iterable[Stop]) -> None:
        """Count them; over the bound, the accounts that were stopped longest ago are forgotten."""
        with self._lock:
            for stop in stops:
                entry = self._entries.setdefault(stop.account_id, _Entry(self._whole_since_ms))
                self._entries.move_to_end(stop.account_id)
                self._ends += stop.frozen_until_ms not in entry.counts
                entry.counts[stop.frozen_until_ms] += 1
                self._newest_ms = max(self._newest_ms, stop.appended_ms)
            while self._ends > self._max_ends:
                _, forgotten = self._entries.popitem(last=False)
                self._ends -= len(forgotten.counts)
                self._whole_since_ms = max(self._whole_since_ms, self._newest_ms + 1)

    def read_until(self, time_ms: int, asked_s: float) -> None:
        """Take note that all that was decided until then has been added; `asked_s` is the same by `time.monotonic`."""
        with self._lock:
            self._until_ms, self._until_s = time_ms, asked_s

    def reading(self, left: int, *, readable: bool) -> None:
        """Take note of how much is left to read, and whether it can be read."""
        with self._lock:
            self._left, self._readable = left, readable

    def of(self, account_id: str, freeze: Freeze) -> StoppedCount:
        """Return what is known of a freeze in force."""
        with self._lock:
            entry = self._entries.get(account_id) or _Entry(self._whole_since_ms)
            fresh = self._readable and time.monotonic() - self._until_s < FRESH_SECONDS
            count = sum(count for end_ms, count in entry.counts.items() if end_ms > freeze.frozen_since_ms)
            return StoppedCount(count, entry.since_ms, self._until_ms, fresh, self._readable, self._left)
