"""The gate, noting what each step takes; written to the file that STEPS_FILE names, when the worker ends.

`spent` is CPU time of the thread that does the step (`time.thread_time`): waiting for Kafka, for a lock or for the
interpreter is not in it. A step that calls another one counts it, too. The other lists are of the wall clock.
"""

from __future__ import annotations

import atexit
import json
import os
import time
from collections import Counter
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas import withdrawal_request
from streams.barrier import Barrier
from streams.cli import main
from streams.decided_ids import DecidedIds
from streams.exactly_once import ExactlyOnce
from streams.freeze_table import FreezeTable
from streams.gate import Gate
from streams.lane import Lane

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.exactly_once import Batch
    from streams.lane import LaneWork

STEPS: dict[str, tuple[type, str]] = {
    "fetch": (ExactlyOnce, "fetch"),
    "process": (Gate, "process"),
    "barrier": (Barrier, "wait"),
    "gather": (Gate, "_gather"),
    "look accounts up": (FreezeTable, "gather"),
    "look ids up": (DecidedIds, "seen"),
    "decide": (Gate, "_decide"),
    "commit": (Lane, "commit"),
    "produce": (Lane, "_produce"),
    "account": (Gate, "_account_for"),
    "remember ids": (DecidedIds, "remember"),
}
spent: Counter[str] = Counter()
# When it was noted, of the wall clock, and what it took; both in ms.
waited: dict[str, list[tuple[float, float]]] = {"barrier": [], "commit": [], "fetch": []}
# Partition, next offset, and when that was committed, ms.
committed: list[tuple[int, int, float]] = []


def _timed(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(step)
    def timed(*arguments: object, **options: object) -> object:
        began, began_at = time.thread_time_ns(), time.monotonic()
        try:
            return step(*arguments, **options)
        finally:
            spent[name] += time.thread_time_ns() - began
            if name in waited:
                waited[name].append((time.time() * 1000, (time.monotonic() - began_at) * 1000))

    return timed


def _note_fetched(fetch: Callable[..., Batch]) -> Callable[..., Batch]:
    """Note how long after its append a request was handed to a worker that was waiting for it."""

    @wraps(fetch)
    def noting(*arguments: Any, **options: Any) -> Batch:
        asked_ms = time.time() * 1000
        batch = fetch(*arguments, **options)
        now_ms = time.time() * 1000
        for messages in batch.records.values():
            append_ms = messages[0].timestamp()[1]
            if append_ms > asked_ms:
                waited["fetch"].append((now_ms, now_ms - append_ms))
        return batch

    return noting


def _note_committed(commit: Callable[..., None]) -> Callable[..., None]:
    @wraps(commit)
    def noting(lane: Lane, work: LaneWork, *arguments: Any) -> None:
        commit(lane, work, *arguments)
        if lane.topic.endswith(withdrawal_request.TOPIC):
            committed.append((lane.partition, work.next_offset, time.time() * 1000))

    return noting


def write() -> None:
    """Write down what was noted."""
    noted = {"spent": spent, "waited_ms": waited, "committed": committed}
    Path(os.environ["STEPS_FILE"]).write_text(json.dumps(noted), encoding="utf-8")


for step_name, (owner, method) in STEPS.items():
    setattr(owner, method, _timed(step_name, getattr(owner, method)))
setattr(ExactlyOnce, "fetch", _note_fetched(ExactlyOnce.fetch))  # noqa: B010  (mypy allows no assignment)
setattr(Lane, "commit", _note_committed(Lane.commit))  # noqa: B010  (as above)

if __name__ == "__main__":
    atexit.register(write)
    main()
