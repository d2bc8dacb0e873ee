"""The rule, by properties over any presses and policies, and by small tables at its boundaries. No I/O, no clock."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.freeze_status import Adjusted, Status
from streams import rule
from streams.rule import (
    BUILT_IN_POLICY,
    DEFAULT_SECONDS,
    MAX_POLICY_SECONDS,
    MAX_SECONDS,
    MIN_SECONDS,
    Freeze,
    FreezePolicy,
    PolicyEntry,
    fold,
    freeze_of_press,
    is_frozen,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

HOUR_MS = 3_600_000
any_run = settings(max_examples=300, deadline=None, print_blob=True)

# Few and small, so that presses meet: windows that touch, overlap, contain one another and end together.
times_ms = st.integers(0, 40).map(lambda seconds: seconds * 1000)
press_ids = st.sampled_from(("a", "b", "c", "panic-button:0:7", "é"))
asked = st.none() | st.integers(-3, 40)
presses = st.tuples(press_ids, asked, times_ms)
Pressed = tuple[str, int | None, int]


@st.composite
def policies(draw: st.DrawFn) -> FreezePolicy:
    """Any history of bounds."""
    entries = []
    for effective_from_ms in sorted(draw(st.sets(times_ms, min_size=1, max_size=4))):
        least, default, most = sorted(draw(st.tuples(*[st.integers(1, 30)] * 3)))
        entries.append(PolicyEntry(effective_from_ms, least, default, most))
    return FreezePolicy(tuple(entries))


def freezes(policy: FreezePolicy, pressed: Iterable[Pressed]) -> list[Freeze]:
    """Return the freeze that each press makes alone."""
    return [freeze_of_press(policy, press_id, seconds, time_ms) for press_id, seconds, time_ms in pressed]


def fold_all(pressed: Iterable[Freeze]) -> list[Freeze]:
    """Return the freeze in force after each press."""
    current: Freeze | None = None
    history = []
    for one in pressed:
        current, _ = fold(current, one)
        history.append(current)
    return history


@any_run
@given(policies(), st.lists(presses, min_size=1, max_size=12))
def test_an_end_never_moves_earlier_along_the_fold(policy: FreezePolicy, pressed: list[Pressed]) -> None:
    """Whatever is pressed, in whatever order, no step of the fold shortens a freeze (G2)."""
    ends = [freeze.frozen_until_ms for freeze in fold_all(freezes(policy, pressed))]
    assert ends == sorted(ends)


@any_run
@given(st.data(), policies(), st.lists(presses, min_size=1, max_size=10))
def test_the_outcome_is_the_same_in_every_order_and_with_any_duplicates(
    data: st.DataObject, policy: FreezePolicy, pressed: list[Pressed]
) -> None:
    """The end is the latest of all presses, set by the same press, however they are repeated and shuffled (G2, G8)."""
    alone = freezes(policy, pressed)
    repeated = data.draw(st.lists(st.sampled_from(alone), max_size=6), label="repeated")
    shuffled = data.draw(st.permutations(alone + repeated), label="shuffled")
    expected = max(freeze.set_by for freeze in alone)
    assert fold_all(alone)[-1].set_by == fold_all(shuffled)[-1].set_by == expected


@any_run
@given(policies(), st.lists(presses, min_size=1, max_size=10))
def test_folding_a_history_again_changes_nothing(policy: FreezePolicy, pressed: list[Pressed]) -> None:
    """A replay of the whole topic, or of its end, leaves the end and the press that set it (G2)."""
    alone = freezes(policy, pressed)
    assert fold_all(alone + alone)[-1].set_by == fold_all(alone)[-1].set_by
    assert fold_all(alone + alone[-3:])[-1].set_by == fold_all(alone)[-1].set_by


@any_run
@given(policies(), st.lists(presses, min_size=1, max_size=10))
def test_every_end_lies_within_the_bounds_that_some_press_had(policy: FreezePolicy, pressed: list[Pressed]) -> None:
    """No freeze is shorter or longer than the policy allowed when the press that set its end was made."""
    for freeze in fold_all(freezes(policy, pressed)):
        bounds = policy.at(freeze.pressed_ms)
        assert any(press_id == freeze.press_id and time_ms == freeze.pressed_ms for press_id, _, time_ms in pressed)
        earliest_ms = freeze.pressed_ms + bounds.min_seconds * 1000
        assert earliest_ms <= freeze.frozen_until_ms <= freeze.pressed_ms + bounds.max_seconds * 1000
        assert freeze.frozen_until_ms == freeze.pressed_ms + freeze.applied_seconds * 1000
        assert freeze.frozen_since_ms <= freeze.pressed_ms


@any_run
@given(policies(), st.lists(presses, min_size=1, max_size=10).map(lambda found: sorted(found, key=lambda one: one[2])))
def test_a_status_says_what_the_press_did(policy: FreezePolicy, pressed: list[Pressed]) -> None:
    """In the order of their times: frozen starts anew, extended moves the end, unchanged leaves it."""
    current: Freeze | None = None
    for one in freezes(policy, pressed):
        after, status = fold(current, one)
        if current is None or not is_frozen(current.frozen_until_ms, one.pressed_ms):
            assert (status, after) == (Status.FROZEN, one)
        elif one.frozen_until_ms > current.frozen_until_ms:
            assert (status, after.frozen_until_ms) == (Status.EXTENDED, one.frozen_until_ms)
            assert after.frozen_since_ms == current.frozen_since_ms
        else:
            assert (status, after.frozen_until_ms) == (Status.UNCHANGED, current.frozen_until_ms)
            assert after.frozen_since_ms == current.frozen_since_ms
        current = after


@any_run
@given(policies(), presses, st.lists(st.tuples(st.integers(1, 50), *[st.integers(1, 90)] * 3), max_size=4))
def test_a_later_policy_changes_no_window_that_was_given(
    policy: FreezePolicy, press: Pressed, later: list[tuple[int, int, int, int]]
) -> None:
    """A press keeps its window for ever, whatever entries with a later effective_from are appended (G2)."""
    time_ms = press[2]
    entries = list(policy.entries)
    for after_seconds, *bounds in later:
        effective_from_ms = max(time_ms, entries[-1].effective_from_ms) + after_seconds * 1000
        entries.append(PolicyEntry(effective_from_ms, *sorted(bounds)))
    changed = FreezePolicy(tuple(entries))
    assert freezes(changed, [press]) == freezes(policy, [press])


@any_run
@given(policies(), asked, asked, times_ms)
def test_asking_for_longer_never_gives_less(
    policy: FreezePolicy, one: int | None, other: int | None, time_ms: int
) -> None:
    """Bounds keep the order of what was asked for."""
    if one is not None and other is not None:
        ends = [freeze.frozen_until_ms for freeze in freezes(policy, [("a", s, time_ms) for s in sorted((one, other))])]
        assert ends == sorted(ends)


@any_run
@given(st.integers(-(2**53), 2**53), st.integers(0, 2**42))
def test_no_length_that_can_be_asked_for_leaves_the_built_in_bounds(seconds: int, pressed_ms: int) -> None:
    """24 hours to 7 days, whatever is asked for."""
    freeze = freeze_of_press(BUILT_IN_POLICY, "p-7", seconds, pressed_ms)
    assert pressed_ms + 24 * HOUR_MS <= freeze.frozen_until_ms <= pressed_ms + 7 * 24 * HOUR_MS
    assert freeze.asked_seconds == seconds


@pytest.mark.parametrize(
    ("requested_ms", "frozen"),
    [(0, True), (999, True), (1_000, False), (1_001, False), (-1, True), (2**62, False)],
)
def test_a_request_at_the_very_end_is_not_frozen(requested_ms: int, frozen: bool) -> None:  # noqa: FBT001  (a table's column)
    """Frozen exactly when the end lies later than the request: at the equal instant the freeze is over (G3)."""
    assert is_frozen(1_000, requested_ms) is frozen


@pytest.mark.parametrize(
    ("seconds", "applied", "adjusted"),
    [
        (None, DEFAULT_SECONDS, Adjusted.DEFAULTED),
        (-1, MIN_SECONDS, Adjusted.RAISED),
        (0, MIN_SECONDS, Adjusted.RAISED),
        (MIN_SECONDS - 1, MIN_SECONDS, Adjusted.RAISED),
        (MIN_SECONDS, MIN_SECONDS, None),
        (MIN_SECONDS + 1, MIN_SECONDS + 1, None),
        (DEFAULT_SECONDS, DEFAULT_SECONDS, None),
        (MAX_SECONDS - 1, MAX_SECONDS - 1, None),
        (MAX_SECONDS, MAX_SECONDS, None),
        (MAX_SECONDS + 1, MAX_SECONDS, Adjusted.LOWERED),
        (2**53 - 1, MAX_SECONDS, Adjusted.LOWERED),
    ],
)
def test_a_length_out_of_bounds_is_moved_to_the_nearest_bound(
    seconds: int | None, applied: int, adjusted: Adjusted | None
) -> None:
    """What was asked for, what was applied and how the two differ are all told."""
    freeze = freeze_of_press(BUILT_IN_POLICY, "p-7", seconds, 5_000)
    assert freeze == Freeze(5_000 + applied * 1000, "p-7", 5_000, 5_000, seconds, applied, adjusted)


HISTORY = FreezePolicy((PolicyEntry(1_000, 1, 2, 3), PolicyEntry(2_000, 4, 5, 6), PolicyEntry(3_000, 7, 8, 9)))


@pytest.mark.parametrize(
    ("pressed_ms", "entry"),
    [(-1, 0), (0, 0), (999, 0), (1_000, 0), (1_999, 0), (2_000, 1), (2_999, 1), (3_000, 2), (3_001, 2), (2**62, 2)],
)
def test_an_entry_is_in_force_from_its_own_instant_on(pressed_ms: int, entry: int) -> None:
    """The new bounds hold at `effective_from` itself; before the first entry, the first holds."""
    assert HISTORY.at(pressed_ms) is HISTORY.entries[entry]


def test_the_built_in_policy_is_the_announced_one() -> None:
    """24 hours at least, 48 by default, 7 days at most, from 1970 on."""
    assert FreezePolicy((PolicyEntry(0, 24 * 3600, 48 * 3600, 7 * 24 * 3600),)) == BUILT_IN_POLICY
    assert BUILT_IN_POLICY.longest_seconds == 604_800
    assert HISTORY.longest_seconds == 9


CURRENT = Freeze(10_000, "m", 1_000, 4_000, 6, 6, None)


@pytest.mark.parametrize(
    ("pressed", "status", "end", "since"),
    [
        pytest.param(("a", 7, 4_000), Status.EXTENDED, (11_000, "a"), 1_000, id="later end"),
        pytest.param(("a", 1, 9_999), Status.EXTENDED, (10_999, "a"), 1_000, id="pressed a moment before the end"),
        pytest.param(("a", 1, 10_000), Status.FROZEN, (11_000, "a"), 10_000, id="pressed at the end"),
        pytest.param(("a", 1, 60_000), Status.FROZEN, (61_000, "a"), 60_000, id="pressed long after the end"),
        pytest.param(("z", 2, 4_000), Status.UNCHANGED, (10_000, "m"), 1_000, id="earlier end"),
        pytest.param(("z", 6, 4_000), Status.UNCHANGED, (10_000, "z"), 1_000, id="same end, greater press id"),
        pytest.param(("a", 6, 4_000), Status.UNCHANGED, (10_000, "m"), 1_000, id="same end, smaller press id"),
        pytest.param(("m", 6, 4_000), Status.UNCHANGED, (10_000, "m"), 1_000, id="the very same press"),
        pytest.param(("a", 2, 0), Status.UNCHANGED, (10_000, "m"), 0, id="out of order, earlier start that overlaps"),
        pytest.param(("a", 1, 0), Status.UNCHANGED, (10_000, "m"), 0, id="out of order, ended as this one began"),
        pytest.param(("a", 11, 0), Status.EXTENDED, (11_000, "a"), 0, id="out of order, earlier start and later end"),
    ],
)
def test_a_press_freezes_extends_or_leaves_unchanged(
    pressed: Pressed, status: Status, end: tuple[int, str], since: int
) -> None:
    """The account is frozen from 1 s to 10 s by press m: what the next press does."""
    policy = FreezePolicy((PolicyEntry(0, 1, 2, 100),))
    after, found = fold(CURRENT, freezes(policy, [pressed])[0])
    assert (found, after.set_by, after.frozen_since_ms) == (status, end, since)


def test_an_earlier_freeze_that_was_over_leaves_the_start() -> None:
    """Out of order, a freeze that ended before this one began is none of its beginning."""
    current = CURRENT._replace(frozen_since_ms=4_000)
    earlier = freeze_of_press(FreezePolicy((PolicyEntry(0, 1, 1, 1),)), "a", None, 2_999)
    assert fold(current, earlier) == (current, Status.UNCHANGED)


def test_the_first_press_freezes() -> None:
    """An account that nothing is known of takes the press's freeze as it is."""
    pressed = freeze_of_press(BUILT_IN_POLICY, "p-7", None, 0)
    assert fold(None, pressed) == (pressed, Status.FROZEN)


@pytest.mark.parametrize(
    "bounds",
    [
        pytest.param((0, 1, 2), id="no minimum"),
        pytest.param((-1, 1, 2), id="negative minimum"),
        pytest.param((2, 1, 3), id="default below minimum"),
        pytest.param((1, 4, 3), id="default above maximum"),
        pytest.param((3, 3, 2), id="maximum below minimum"),
        pytest.param((1, 2, MAX_POLICY_SECONDS + 1), id="more than 100 years"),
    ],
)
def test_a_policy_entry_refuses_bounds_that_contradict_each_other(bounds: tuple[int, int, int]) -> None:
    """There is no entry that could give a window of no length, or none at all."""
    with pytest.raises(ValueError, match="min_seconds <= default_seconds <= max_seconds"):
        PolicyEntry(0, *bounds)


def test_a_policy_entry_may_allow_one_length_only() -> None:
    """Equal bounds are bounds; 100 years are the most."""
    assert PolicyEntry(0, 1, 1, 1).max_seconds == 1
    assert PolicyEntry(-(2**40), 1, 1, MAX_POLICY_SECONDS).max_seconds == MAX_POLICY_SECONDS


@pytest.mark.parametrize("times", [(), (1, 1), (2, 1), (0, 5, 4), (0, 0, 1)])
def test_a_policy_refuses_a_history_that_is_empty_or_out_of_order(times: tuple[int, ...]) -> None:
    """For every time there is exactly one entry in force."""
    with pytest.raises(ValueError, match="later effective_from"):
        FreezePolicy(tuple(PolicyEntry(time_ms, 1, 2, 3) for time_ms in times))


def test_values_of_the_rule_can_not_be_changed() -> None:
    """A freeze, once made, is a fact."""
    with pytest.raises(AttributeError):
        CURRENT.frozen_until_ms = 0  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        BUILT_IN_POLICY.entries = ()  # type: ignore[misc]


@pytest.mark.parametrize("word", ["unfreeze", "lift", "release", "cancel", "thaw", "shorten", "unlock", "remove"])
def test_there_is_no_way_to_end_a_freeze(word: str) -> None:
    """Nothing in the rule is named after ending a freeze (G2)."""
    names = [*vars(rule), *vars(Freeze), *vars(FreezePolicy)]
    assert not [name for name in names if word in name.lower()]
