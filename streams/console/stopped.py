"""How many requests this worker stopped, account by account: for the console, in memory, within a bound.

Only this worker's, since nothing else is at hand without reading all decisions: each number comes with the moment from
which on it is whole. `evidence` counts what the topics hold, of all workers.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.rule import Freeze

# At a few hundred bytes each, some 20 MB. Only accounts whose requests are stopped take a place.
MAX_ACCOUNTS = 50_000


@dataclass(frozen=True, slots=True)
class StoppedCount:
    """Requests stopped by a freeze; none is missing from `since_ms` on."""

    count: int
    since_ms: int


@dataclass(frozen=True, slots=True)
class _Entry:
    count: int
    since_ms: int
    frozen_since_ms: int


class Stopped:
    """Thread-safe: the gate counts, the console asks."""

    def __init__(self, now_ms: int, max_accounts: int = MAX_ACCOUNTS) -> None:
        """Start with nobody, now."""
        self._lock = threading.Lock()
        self._max_accounts = max_accounts
        # In the order of the last stop, the oldest first.
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        # From here on no stop of an account without an entry is missing.
        self._whole_since_ms = now_ms

    def add(self, stops: Iterable[tuple[str, Freeze]], now_ms: int) -> None:
        """Count decisions that have committed: the account, and the freeze that stopped it."""
        with self._lock:
            for account_id, freeze in stops:
                entry = self._entries.pop(account_id, None)
                if entry is None:
                    entry = _Entry(0, self._whole_since_ms, freeze.frozen_since_ms)
                elif entry.frozen_since_ms < freeze.frozen_since_ms:  # another freeze, after that one ended
                    entry = replace(entry, count=0, frozen_since_ms=freeze.frozen_since_ms)
                self._entries[account_id] = replace(entry, count=entry.count + 1)
            while len(self._entries) > self._max_accounts:
                self._entries.popitem(last=False)
                self._whole_since_ms = now_ms

    def of(self, account_id: str, freeze: Freeze) -> StoppedCount:
        """Return what is known of a freeze."""
        with self._lock:
            entry = self._entries.get(account_id)
            if entry is None:
                return StoppedCount(0, self._whole_since_ms)
            # What was counted belongs to a freeze before, which may have been folded into this one since.
            counted = entry.count if entry.frozen_since_ms >= freeze.frozen_since_ms else 0
            return StoppedCount(counted, entry.since_ms)
