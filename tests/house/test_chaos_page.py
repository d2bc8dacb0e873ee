"""docs/chaos.md, held against the faults and the results that it tells of."""

from __future__ import annotations

import re
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.results import RESULTS, table

PAGE = Path(__file__).parents[2] / "docs" / "chaos.md"


def test_every_fault_has_its_row_on_the_page() -> None:
    """In the order of the code."""
    before_the_runs = PAGE.read_text("utf-8").partition("## What was run")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", before_the_runs, re.MULTILINE) == list(FAULTS)


def test_the_table_of_runs_is_the_one_that_the_results_give() -> None:
    """`python -m tests.chaos --table` prints it."""
    assert table(RESULTS) in PAGE.read_text("utf-8")
