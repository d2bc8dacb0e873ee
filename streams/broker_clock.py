"""The brokers' time, as far as this worker can know it.

Freezes and requests are compared by the brokers' append times, so leases, reminders and ends are cut by the same clock
and not by this machine's, which may be wrong by hours. A record says that the brokers' clock had reached its append
time when it was appended; from there on this machine's monotonic clock counts. What is known that way is never ahead
of the brokers by more than their clocks differ, so no lease is too long (G7) and no end is announced early (G3).
"""

from __future__ import annotations

import threading
import time

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

# How long an observation counts: brokers' clocks are set back now and then, and the greatest must not stay for ever.
WINDOW_MS = 60_000


class BrokerClock:
    """Thread-safe. Until a delivery report has told the brokers' time, this machine's clock may be ahead of it."""

    def __init__(self) -> None:
        """Start without an observation."""
        self._lock = threading.Lock()
        self._window_start_ms = 0
        self._told = False
        # Broker time minus monotonic time: the greatest seen in this window and in the one before.
        self._offset_ms = self._offset_before_ms = -_monotonic_ms()

    def told(self, timestamp: tuple[int, int]) -> None:
        """Take the (type, milliseconds) of a record that was appended just now: of its delivery report."""
        kind, append_ms = timestamp
        if kind != TIMESTAMP_LOG_APPEND_TIME:
            return
        now_ms = _monotonic_ms()
        with self._lock:
            if not self._told or now_ms - self._window_start_ms > WINDOW_MS:
                self._offset_before_ms, self._window_start_ms = self._offset_ms, now_ms
                self._offset_ms = append_ms - now_ms
                self._told = True
            else:
                self._offset_ms = max(self._offset_ms, append_ms - now_ms)

    def observe(self, timestamp: tuple[int, int]) -> None:
        """Take the (type, milliseconds) of a record that was read, which may be old: it can only raise the time."""
        kind, append_ms = timestamp
        if kind != TIMESTAMP_LOG_APPEND_TIME:
            return
        with self._lock:
            self._offset_ms = max(self._offset_ms, append_ms - _monotonic_ms())

    def known_ms(self) -> int:
        """Return the time, in milliseconds since 1970, that the brokers' clocks have certainly reached.

        What can't be taken back (an end announced, a freeze dropped) is done by this time. It may be long past on a
        worker that has read nothing recent and was not told.
        """
        with self._lock:
            return _monotonic_ms() + max(self._offset_ms, self._offset_before_ms)

    def now_ms(self) -> int:
        """Return the brokers' time as well as it is known; this machine's, if later, until a broker has told."""
        with self._lock:
            told = self._told
        return self.known_ms() if told else max(self.known_ms(), time.time_ns() // 1_000_000)


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
