"""The design explored to its bounds, and every wrong variant found out."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import pytest

from tests.model.catalogue import DESIGN, WRONG, Case
from tests.model.documented import states
from tests.model.explorer import Kind, Step, explore


@pytest.mark.parametrize("case", DESIGN, ids=lambda case: case.name)
def test_the_design_keeps_its_promises_in_every_reachable_state(case: Case) -> None:
    """No order of steps and faults within the bounds breaks a promise, and from each state all gets its outcome."""
    found = explore(case.model)
    print(f"{case.name}: {found.states:,} states ({case.model.bounds})")
    assert found.broken is None, f"\n{found}"
    assert found.states == states(case.name)


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.name)
def test_a_wrong_variant_is_found_out_by_the_search(case: Case) -> None:
    """It breaks the promise that it is known to break; what other safeguards make good breaks none."""
    found = explore(case.model)
    print(f"{case.name}: {found.states:,} states\n{found}")
    assert found.promise == case.breaks, f"\n{found}"
    assert found.states == states(case.name)


def test_every_thing_that_can_be_left_out_is_left_out_in_some_variant() -> None:
    """A safeguard of the model that no variant leaves out was never seen to matter."""
    left_out = Counter(
        one.name for case in WRONG for one in getattr(case.model, "without", None) or [case.model.left_out]
    )
    kinds = {type(one) for case in WRONG for one in getattr(case.model, "without", None) or [case.model.left_out]}
    assert {one.name for kind in kinds for one in kind} - {"NOTHING"} == set(left_out)


class Counting(NamedTuple):
    """A model of a counter from 0 to 3, to see the explorer itself at work."""

    steps_to: dict[int, list[tuple[Kind, int]]]
    bad: int = -1
    name: str = "counting"
    bounds: str = "4 states"

    def initial(self) -> int:
        """Return zero."""
        return 0

    def steps(self, state: int) -> list[Step]:
        """Return what the table says."""
        return [Step(kind, f"to {after}", after) for kind, after in self.steps_to.get(state, [])]

    def broken(self, state: int) -> str | None:
        """Return whether this is the bad one."""
        return "G0: bad" if state == self.bad else None

    def done(self, state: int) -> bool:
        """Tell whether this is the last one."""
        return state == 3


@pytest.mark.parametrize(
    ("steps", "bad", "broken", "story"),
    [
        pytest.param({0: [(0, 1)], 1: [(0, 2)], 2: [(0, 3)]}, -1, None, [], id="kept"),
        pytest.param({0: [(0, 1), (0, 2)], 1: [(0, 3)], 2: [(0, 3)]}, 3, "G0", ["to 1", "to 3"], id="shortest way"),
        pytest.param({0: [(0, 1), (0, 3)], 1: [(0, 1)]}, -1, "never", ["to 1"], id="goes round for ever"),
        pytest.param({0: [(0, 3), (2, 1)], 1: [(2, 3)]}, -1, "never", ["to 1"], id="only a fault leads on"),
        pytest.param({0: [(0, 3), (2, 1)], 1: [(1, 3)]}, -1, "late", ["to 1"], id="only a time-out leads on"),
        pytest.param({0: [(2, 1), (0, 3)], 1: [(0, 0)]}, -1, None, [], id="back and then on"),
    ],
)
def test_the_explorer_finds_the_first_state_that_breaks_or_stays_behind(
    steps: dict[int, list[tuple[int, int]]], bad: int, broken: str | None, story: list[str]
) -> None:
    """A search that could not find anything would acquit everybody."""
    found = explore(Counting({state: [(Kind(k), to) for k, to in after] for state, after in steps.items()}, bad))
    assert (found.promise, found.story) == (broken, story)
