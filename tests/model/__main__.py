"""Explore everything and tell the stories: `python -m tests.model [WORDS]`, all cases or those named so."""

from __future__ import annotations

import sys
import time

from tests.model.catalogue import DESIGN, WIDE, WRONG
from tests.model.explorer import explore


def main(words: str) -> int:
    """Print each case with its states and its story; return 1 when the search found something else than expected."""
    surprises = 0
    for case in (*DESIGN, *WRONG, WIDE):
        if words not in case.name:
            continue
        began = time.monotonic()
        found = explore(case.model)
        print(f"{case.name} ({case.model.bounds}): {found.states:,} states, {time.monotonic() - began:.1f} s")
        print(found, end="\n\n")
        surprises += found.promise != case.breaks
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
