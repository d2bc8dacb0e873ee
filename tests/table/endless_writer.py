"""A process that folds presses until it is killed: `python -m tests.table.endless_writer FOLDER [BATCHES]`.

Batch n holds a press of account `a-<partition>-<n>` at offset n of each of three partitions. After it, n is printed.
With BATCHES it rests after so many and waits to be killed, so that its log ends with a whole batch.
"""

from __future__ import annotations

import signal
import sys
from itertools import count
from pathlib import Path

from streams.freeze_table import FreezeTable
from tests.table.places import IDENTITY, press

PARTITIONS = 3


def main() -> None:
    """Write until killed."""
    table = FreezeTable(Path(sys.argv[1]), IDENTITY)
    for number in range(int(sys.argv[2])) if sys.argv[2:] else count():
        presses = [press(f"a-{p}-{number}", number, at_ms=number, partition=p) for p in range(PARTITIONS)]
        table.apply(presses, dict.fromkeys(range(PARTITIONS), number + 1))
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
    signal.pause()


if __name__ == "__main__":
    main()
