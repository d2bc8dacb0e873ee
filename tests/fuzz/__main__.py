"""Run `python -m tests.fuzz [--records N] [--seed S] [--first F]`: ends at the first record that escapes, with 1."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from contextlib import contextmanager
from functools import partial
from secrets import randbelow
from typing import TYPE_CHECKING

from tests.arguments import between
from tests.fuzz.mutations import NUMBERS, record
from tests.fuzz.records import check_record

if TYPE_CHECKING:
    from collections.abc import Iterator


CORES = len(os.sched_getaffinity(0))
# A second's work or two, so that the cores end together and progress is told often.
BLOCK = 20_000
PROGRESS_SECONDS = 10.0
# What is shown of a key or value; the command makes all of it anew.
SHOWN_CHARACTERS = 2_000


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


def show(seed: int, number: int) -> None:
    """Put an escaped record through once more, and print where it escapes and what it holds."""
    key, value = record(seed, number)
    try:
        check_record(key, value)
    except Exception:  # noqa: BLE001  (the same one)
        traceback.print_exc()
    print(f"key   {key!r:.{SHOWN_CHARACTERS}}\nvalue {value!r:.{SHOWN_CHARACTERS}}")


def main(arguments: list[str]) -> int:
    """Read the arguments, print the seed, the progress and the verdict; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz everything that reads a record.")
    number, seeds = between(0, NUMBERS - 1), between(0, 2**32 - 1)
    parser.add_argument("--records", type=number, default=100_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=seeds, default=None, help="a whole number from 0 on (default: a random one)")
    parser.add_argument("--first", type=number, default=0, help="number of the first record (default: %(default)s)")
    cores = between(1, 256)
    parser.add_argument("--processes", type=cores, default=CORES, help="how many (default: %(default)s, the cores)")
    asked = parser.parse_args(arguments)
    seed = randbelow(2**32) if asked.seed is None else asked.seed
    print(f"seed {seed}, records {asked.first:,} to {asked.first + asked.records - 1:,}", flush=True)
    began = time.monotonic()
    escaped = fuzz(seed, range(asked.first, asked.first + asked.records), asked.processes)
    if escaped is None:
        print(f"no escape in {asked.records:,} records, {time.monotonic() - began:,.0f} s")
        return 0
    show(seed, escaped)
    print(f"record {escaped} escaped; again: python -m tests.fuzz --seed {seed} --first {escaped} --records 1")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
