"""Looks for a record that escapes, on one or more processes.

Apart from the command: what a new process is to run can't be found in a `__main__`.
"""

from __future__ import annotations

import multiprocessing
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from tests.fuzz.mutations import record
from tests.fuzz.records import check_record

if TYPE_CHECKING:
    from collections.abc import Iterator

# A second's work or two, so that the cores end together and progress is told often.
BLOCK = 20_000
PROGRESS_SECONDS = 10.0


def escape_among(seed: int, numbers: range) -> int | None:
    """Put the records through; return the number of the first that escapes, None when there is none."""
    for number in numbers:
        try:
            check_record(*record(seed, number))
        except Exception:  # noqa: BLE001  (any exception at all is an escape, and what this looks for)
            return number
    return None


def fuzz(seed: int, numbers: range, processes: int) -> int | None:
    """Do the same with many, in blocks on as many processes; say how far it is."""
    began = said = time.monotonic()
    blocks = [numbers[at : at + BLOCK] for at in range(0, len(numbers), BLOCK)]
    with searched(seed, blocks, processes) as escapes:
        for block, escaped in zip(blocks, escapes, strict=True):
            if escaped is not None:
                return escaped
            now = time.monotonic()
            if now - said > PROGRESS_SECONDS:
                said, done = now, block.stop - numbers.start
                print(f"{done:,} of {len(numbers):,} records, {done / (now - began):,.0f} a second", flush=True)
    return None


@contextmanager
def searched(seed: int, blocks: list[range], processes: int) -> Iterator[Iterator[int | None]]:
    """Return what comes of each block, in their order; leaving ends what still runs."""
    if processes == 1:
        yield map(partial(escape_among, seed), blocks)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield pool.imap(partial(escape_among, seed), blocks)
