"""Run `python -m tests.fuzz [--records N] [--seed S] [--first F]`: ends at the first record that escapes, with 1."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from secrets import randbelow

from tests.arguments import between
from tests.fuzz.mutations import NUMBERS, record
from tests.fuzz.records import check_record
from tests.fuzz.search import fuzz

CORES = len(os.sched_getaffinity(0))
# What is shown of a key or value; the command makes all of it anew.
SHOWN_CHARACTERS = 2_000


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
