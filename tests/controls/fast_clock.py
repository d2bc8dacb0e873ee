"""No safeguard is left out here: the gate on a machine whose clock is nine days ahead, longer than anything is kept."""

from __future__ import annotations

import time

from streams.cli import main

_AHEAD_NS = 9 * 86_400 * 1_000_000_000
_time_ns = time.time_ns


def _ahead() -> int:
    return _time_ns() + _AHEAD_NS


time.time_ns = _ahead

if __name__ == "__main__":
    main()
