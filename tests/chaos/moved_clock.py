"""Runs a worker whose wall clock is off by what a file says, in seconds; the file may change while the worker runs.

Moved is what Python code sees of the wall clock, the gate's and its packages'. libfaketime would move it for librdkafka
and RocksDB as well, but they do not go together: under its version 0.9.10, `time.sleep` of Python 3.11 fails, and a
client of librdkafka 2.16 hangs in its first question.
"""

from __future__ import annotations

import os
import runpy
import time
from pathlib import Path

MODULE, OFFSET_FILE = "CHAOS_MODULE", "CHAOS_CLOCK_FILE"
_time, _time_ns = time.time, time.time_ns


def _seconds_off() -> int:
    return int(Path(os.environ[OFFSET_FILE]).read_text())


def _moved() -> float:
    return _time() + _seconds_off()


def _moved_ns() -> int:
    return _time_ns() + _seconds_off() * 1_000_000_000


if __name__ == "__main__":
    time.time, time.time_ns = _moved, _moved_ns
    runpy.run_module(os.environ[MODULE], run_name="__main__", alter_sys=True)
