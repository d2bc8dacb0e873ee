"""docs/proof.md, held against the model, the controls and the tests that it names."""

from __future__ import annotations

import re
from pathlib import Path

from tests.model.catalogue import DESIGN, WRONG
from tests.model.documented import PROOF, proof, rows

ROOT = Path(__file__).parents[2]


def named(pattern: str) -> list[str]:
    """Return what stands in backticks and has that form."""
    return re.findall(rf"`({pattern})`", proof())


def test_the_scenarios_of_the_page_are_those_of_the_model() -> None:
    """By name and bounds, in their order; the numbers of states are held by tests/model/test_model.py."""
    assert [row[:2] for row in rows("scenario")] == [(case.name, case.model.bounds) for case in DESIGN]


def test_the_variants_of_the_page_are_those_of_the_model() -> None:
    """By name, by what is left out, and by what the search finds broken."""
    expected = []
    for case in WRONG:
        left_out = getattr(case.model, "without", None) or {case.model.left_out}
        in_order = [one for one in type(next(iter(left_out))) if one in left_out]
        words = "; ".join(one.value for one in in_order)
        expected.append((case.name, words, case.breaks or "nothing"))
    assert [row[:3] for row in rows("variant")] == expected


def test_every_control_stands_on_the_page_and_is_run_by_the_test_beside_it() -> None:
    """A control that nobody convicts proves nothing; one that the page does not name is not part of the proof."""
    controls = {str(path.relative_to(ROOT)) for path in (ROOT / "tests/controls").glob("*.py")}
    assert set(named(r"tests/controls/\w+\.py")) == controls - {"tests/controls/__init__.py"}
    for table in ("variant", "control that leaves nothing out"):
        for row in rows(table):
            line = " ".join(row)
            for control in re.findall(r"`tests/controls/(\w+)\.py`", line):
                tests = re.findall(r"`(tests/broker/\w+\.py)`", line)
                assert any(f"tests.controls.{control}" in (ROOT / test).read_text("utf-8") for test in tests), line


def test_every_file_test_and_page_that_is_named_exists() -> None:
    """What the page points to can be opened."""
    paths = named(r"(?:streams|schemas|tests|docs|deploy)/[\w./-]+")
    pages = [
        str((PROOF.parent / link).resolve().relative_to(ROOT)) for link in re.findall(r"\]\(([\w./-]+)\)", proof())
    ]
    assert len(paths) > 50
    assert [path for path in paths + pages if not (ROOT / path).exists()] == []
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in named(r"test_\w+") if f"def {name}(" not in tests] == []


def test_every_promise_has_its_row() -> None:
    """G1 to G8, each with how it is kept, tested, run, mended, and what is not covered."""
    promises = rows("promise")
    assert [row[0].partition(":")[0] for row in promises] == [f"G{number}" for number in range(1, 9)]
    assert all(cell for row in promises for cell in row)
