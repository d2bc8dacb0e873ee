"""The gate, noting what each step takes; written to the file that STEPS_FILE names, when the worker ends.

`spent` is CPU time of the thread that does the step (`time.thread_time`): waiting for Kafka, for a lock or for the
interpreter is not in it. A step that calls another one counts it, too. `batches` are moments of the wall clock.
"""

from __future__ import annotations

import atexit
import json
import os
import time
from collections import Counter
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas import withdrawal_request
from streams.barrier import Barrier
from streams.cli import main
from streams.decided_ids import DecidedIds
from streams.exactly_once import ExactlyOnce
from streams.freeze_table import FreezeTable
from streams.gate import COMMIT_ASIDE_FROM, Gate
from streams.lane import Lane

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.exactly_once import Batch

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
# The moments of a batch of requests, by its identity while it is in hand; and of all that are done. Wall clock, ms.
in_hand: dict[int, dict[str, Any]] = {}
batches: list[dict[str, Any]] = []


def _timed(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(step)
    def timed(*arguments: object, **options: object) -> object:
        began = time.thread_time_ns()
        try:
            return step(*arguments, **options)
        finally:
            spent[name] += time.thread_time_ns() - began

    return timed


def _note_fetched(fetch: Callable[..., Batch]) -> Callable[..., Batch]:
    """Note when requests were asked for and handed over, when the first was appended, and the last of each lane."""

    @wraps(fetch)
    def noting(intake: ExactlyOnce, *arguments: Any) -> Batch:
        if not intake.topic.endswith(withdrawal_request.TOPIC):
            return fetch(intake, *arguments)
        asked_ms = time.time() * 1000
        if batches:
            batches[-1].setdefault("free", asked_ms)
        batch = fetch(intake, *arguments)
        if batch.records:
            in_hand[id(batch)] = {
                "asked": asked_ms,
                "handed": time.time() * 1000,
                "appended": min(messages[0].timestamp()[1] for messages in batch.records.values()),
                "last_offsets": [(partition, messages[-1].offset()) for partition, messages in batch.records.items()],
            }
        return batch

    return noting


def _note_began(moment: str, step: Callable[..., Any]) -> Callable[..., Any]:
    """Note when a step of the gate began with a batch."""

    @wraps(step)
    def noting(gate: Gate, batch: Batch, *arguments: Any) -> object:
        if id(batch) in in_hand:
            in_hand[id(batch)][moment] = time.time() * 1000
        return step(gate, batch, *arguments)

    return noting


def _note_done(process: Callable[..., None]) -> Callable[..., None]:
    """Keep the moments of a batch that was decided and committed before the gate went on."""

    @wraps(process)
    def noting(gate: Gate, batch: Batch, *arguments: Any) -> None:
        process(gate, batch, *arguments)
        moments = in_hand.pop(id(batch), {})
        if "decided" in moments and len(batch) < COMMIT_ASIDE_FROM:
            batches.append(moments)

    return noting


def write() -> None:
    """Write down what was noted."""
    noted = {"spent": spent, "batches": batches}
    Path(os.environ["STEPS_FILE"]).write_text(json.dumps(noted), encoding="utf-8")


for step_name, (owner, method) in STEPS.items():
    setattr(owner, method, _timed(step_name, getattr(owner, method)))
NOTES: tuple[tuple[type, str, Callable[..., Any]], ...] = (
    (ExactlyOnce, "fetch", _note_fetched),
    (Gate, "_gather", partial(_note_began, "passed")),
    (Gate, "_commit", partial(_note_began, "decided")),
    (Gate, "process", _note_done),
)
for owner, method, note in NOTES:
    setattr(owner, method, note(getattr(owner, method)))

if __name__ == "__main__":
    atexit.register(write)
    main()
