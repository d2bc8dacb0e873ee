"""Run `python -m tests.fuzz [--records N] [--seed S] [--first F]`: ends at the first record that escapes, with 1."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from secrets import randbelow

from tests.fuzz.mutations import record
from tests.fuzz.records import check_record

PROGRESS_SECONDS = 10.0
# What is shown of a key or value; the command makes all of it anew.
SHOWN_CHARACTERS = 2_000


def fuzz(seed: int, first: int, records: int) -> int | None:
    """Put the records through; return the number of the first that escapes, None when there is none."""
    began = said = time.monotonic()
    for number in range(first, first + records):
        key, value = record(seed, number)
        try:
            check_record(key, value)
        except Exception:  # noqa: BLE001  (any exception at all is an escape, and what this looks for)
            traceback.print_exc()
            print(f"key   {key!r:.{SHOWN_CHARACTERS}}\nvalue {value!r:.{SHOWN_CHARACTERS}}")
            return number
        now = time.monotonic()
        if now - said > PROGRESS_SECONDS:
            said, done = now, number - first + 1
            print(f"{done:,} of {records:,} records, {done / (now - began):,.0f} a second", flush=True)
    return None


def main(arguments: list[str]) -> int:
    """Read the arguments, print the seed, the progress and the verdict; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz everything that reads a record.")
    parser.add_argument("--records", type=int, default=100_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="a whole number from 0 on (default: a random one)")
    parser.add_argument("--first", type=int, default=0, help="number of the first record (default: %(default)s)")
    asked = parser.parse_args(arguments)
    seed = randbelow(2**32) if asked.seed is None else asked.seed
    if min(seed, asked.first, asked.records) < 0:
        parser.error("--records, --seed and --first must be whole numbers from 0 on")
    print(f"seed {seed}, records {asked.first:,} to {asked.first + asked.records - 1:,}", flush=True)
    escaped = fuzz(seed, asked.first, asked.records)
    if escaped is None:
        print(f"no escape in {asked.records:,} records")
        return 0
    print(f"record {escaped} escaped; again: python -m tests.fuzz --seed {seed} --first {escaped} --records 1")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
