"""The freeze table on a real RocksDB: what is folded stays folded, in step with its offsets."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.freeze_status import Adjusted, Status
from streams.freeze_table import PURGE_AT_ONCE, AppliedPress, FreezeTable, PressOutcome
from streams.rule import MAX_POLICY_SECONDS, Freeze, fold, is_frozen
from tests.table.places import IDENTITY, apply_one, ends_of, press

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

any_run = settings(max_examples=60, deadline=None, print_blob=True)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[FreezeTable]:
    """Return an empty table."""
    opened = FreezeTable(tmp_path / "freezes", IDENTITY)
    yield opened
    opened.close()


def test_a_fold_and_its_offsets_survive_a_reopening(tmp_path: Path) -> None:
    """Freezes, outcomes, ends and offsets are as they were, to the last field."""
    folder = tmp_path / "freezes"
    table = FreezeTable(folder, IDENTITY)
    assert table.applied == {}
    longest = Freeze(2**62, "🧊", 1, 2, -(2**53) + 1, MAX_POLICY_SECONDS, Adjusted.RAISED)
    presses = [
        press("acc-1", 4, at_ms=1_000, seconds=10),
        press("acc-2", 7, at_ms=2_000, partition=5),
        AppliedPress("счёт\0🧊", 0, 5, longest),
        AppliedPress("a" * 256, 0, 6, longest),
    ]
    table.apply(presses, {0: 7, 5: 8, 9: 0})
    before = {one.account_id: table.get(one.account_id) for one in presses}
    assert list(before.values()) == [one.freeze for one in presses]
    outcomes = [table.outcome(one.partition, one.offset) for one in presses]
    ends = list(table.ends(0, 0, 2**62))
    table.close()

    table = FreezeTable(folder, IDENTITY)
    assert table.applied == {0: 7, 5: 8, 9: 0}
    assert {account_id: table.get(account_id) for account_id in before} == before
    assert [table.outcome(one.partition, one.offset) for one in presses] == outcomes
    assert list(table.ends(0, 0, 2**62)) == ends
    assert table.count_frozen(3_000) == 4
    table.close()


def test_an_account_is_its_own_and_not_a_prefix_of_another(table: FreezeTable) -> None:
    """Accounts whose names begin alike, or hold what keys are made of, are told apart."""
    names = ["a", "aa", "a\0", "e", "m:applied", "m:identity", "A", "a ", "é", "e\u0301"]
    table.apply([press(name, offset, at_ms=offset) for offset, name in enumerate(names)], {0: len(names)})
    for offset, name in enumerate(names):
        found = table.get(name)
        assert found is not None
        assert found.pressed_ms == offset
    assert table.get("") is None
    assert table.get("b") is None
    assert len(ends_of(table, 0)) == len(names)


def test_positions_move_on_without_presses(table: FreezeTable) -> None:
    """Markers and records that freeze nobody move the offsets on too, and of other partitions nothing is lost."""
    table.apply([], {0: 5})
    table.apply([], {1: 2})
    table.apply([], {})
    assert table.applied == {0: 5, 1: 2}


def test_what_applied_returns_is_a_copy(table: FreezeTable) -> None:
    """Nobody can move the offsets by what they were told."""
    table.apply([], {0: 5})
    table.applied[0] = 99
    table.gather([])[1][0] = 99
    assert table.applied == {0: 5}


def test_an_account_that_is_pressed_many_times_in_one_batch_folds_as_one_by_one(table: FreezeTable) -> None:
    """Each press of a batch sees those before it."""
    table.apply(
        [
            press("acc", 0, at_ms=1_000, seconds=5),
            press("acc", 1, at_ms=2_000, seconds=1),
            press("acc", 2, at_ms=3_000, seconds=9),
            press("acc", 3, at_ms=20_000, seconds=1),
        ],
        {0: 4},
    )
    assert [table.outcome(0, offset) for offset in range(5)] == [
        PressOutcome(Status.FROZEN, 1_000, 6_000),
        PressOutcome(Status.UNCHANGED, 1_000, 6_000),
        PressOutcome(Status.EXTENDED, 1_000, 12_000),
        PressOutcome(Status.FROZEN, 20_000, 21_000),
        None,
    ]
    assert ends_of(table, 0) == [("acc", 12_000), ("acc", 21_000)]
    assert table.count_frozen(20_000) == 1


def test_an_outcome_is_of_its_place_only(table: FreezeTable) -> None:
    """Partition and offset name a press; what is not applied has no outcome."""
    apply_one(table, press("acc", 7, at_ms=1_000, seconds=3, partition=2))
    assert table.outcome(2, 7) == PressOutcome(Status.FROZEN, 1_000, 4_000)
    assert table.outcome(2, 6) is table.outcome(2, 8) is table.outcome(7, 2) is table.outcome(0, 7) is None


def test_a_record_that_is_applied_again_changes_nothing(table: FreezeTable) -> None:
    """A replay leaves the freeze, its end and the number of accounts."""
    presses = [press("acc-1", 0, at_ms=1_000, seconds=9), press("acc-2", 1, at_ms=1_500, seconds=1)]
    table.apply(presses, {0: 2})
    before = [table.get("acc-1"), table.get("acc-2"), ends_of(table, 0), table.count_frozen(1_500)]
    for _ in range(3):
        table.apply(presses, {0: 2})
    assert [table.get("acc-1"), table.get("acc-2"), ends_of(table, 0), table.count_frozen(1_500)] == before


def test_an_extended_freeze_has_one_end(table: FreezeTable) -> None:
    """Of an extended freeze only the new end is announced, in the partition of the press that set it."""
    apply_one(table, press("acc", 0, at_ms=1_000, seconds=5))
    apply_one(table, press("acc", 0, at_ms=2_000, seconds=10, partition=1))
    assert ends_of(table, 0) == []
    assert ends_of(table, 1) == [("acc", 12_000)]


def test_a_press_that_changes_nothing_leaves_the_end_where_it_was(table: FreezeTable) -> None:
    """A shorter press in another partition does not take the end over."""
    apply_one(table, press("acc", 0, at_ms=1_000, seconds=10))
    apply_one(table, press("acc", 0, at_ms=2_000, seconds=1, partition=1))
    assert ends_of(table, 0) == [("acc", 11_000)]
    assert ends_of(table, 1) == []


def test_of_two_presses_with_one_end_the_greater_id_has_it(table: FreezeTable) -> None:
    """The end is announced once, by the partition of the press that the rule names."""
    apply_one(table, press("acc", 0, at_ms=1_000, seconds=10, press_id="a"))
    apply_one(table, press("acc", 0, at_ms=2_000, seconds=9, press_id="b", partition=1))
    assert (ends_of(table, 0), ends_of(table, 1)) == ([], [("acc", 11_000)])
    apply_one(table, press("acc", 0, at_ms=3_000, seconds=8, press_id="a", partition=2))
    assert (ends_of(table, 1), ends_of(table, 2)) == ([("acc", 11_000)], [])


def test_a_freeze_that_ended_and_a_new_one_have_two_ends(table: FreezeTable) -> None:
    """The end of the first is still announced when the account was frozen anew before that."""
    apply_one(table, press("acc", 0, at_ms=1_000, seconds=1))
    apply_one(table, press("acc", 0, at_ms=2_000, seconds=1, partition=1))
    assert ends_of(table, 0) == [("acc", 2_000)]
    assert ends_of(table, 1) == [("acc", 3_000)]


def test_ends_come_in_their_order_and_within_their_bounds(table: FreezeTable) -> None:
    """After the first time, up to and with the second, by partition, earliest first."""
    lengths = (300, 1, 200, 100, 256)
    table.apply([press(f"acc-{s}", s, at_ms=0, seconds=s, partition=s % 2) for s in lengths], {0: 301, 1: 2})
    assert ends_of(table, 0) == [(f"acc-{s}", s * 1000) for s in (100, 200, 256, 300)]
    assert ends_of(table, 1) == [("acc-1", 1_000)]
    assert ends_of(table, 0, 100_000, 256_000) == [("acc-200", 200_000), ("acc-256", 256_000)]
    assert ends_of(table, 0, 99_999, 100_000) == [("acc-100", 100_000)]
    assert ends_of(table, 0, 100_000, 100_000) == ends_of(table, 2) == []


def test_gather_returns_what_is_known_and_the_offsets_behind_it(table: FreezeTable) -> None:
    """Accounts that nothing is known of are absent; names may stand twice."""
    table.apply([press("acc-1", 3, at_ms=1_000), press("acc-2", 9, at_ms=2_000, partition=1)], {0: 4, 1: 10})
    found, applied = table.gather(["acc-2", "nobody", "acc-1", "acc-2"])
    assert found == {"acc-1": table.get("acc-1"), "acc-2": table.get("acc-2")}
    assert applied == {0: 4, 1: 10}
    assert table.gather([]) == ({}, {0: 4, 1: 10})


def test_gather_never_sees_a_batch_by_halves(table: FreezeTable) -> None:
    """While batches are folded, freezes and offsets that are gathered belong to one moment (`freeze_view`)."""
    rounds = 400

    def write() -> None:
        for number in range(rounds):
            pair = [press(name, number * 2 + i, at_ms=number, seconds=number + 1) for i, name in enumerate("ab")]
            table.apply(pair, {0: number * 2 + 2})

    writer = threading.Thread(target=write)
    writer.start()
    torn, seen = [], 0
    while writer.is_alive() or not seen:
        found, applied = table.gather(["a", "b"])
        if applied:
            seen += 1
            asked = {name: freeze.asked_seconds for name, freeze in found.items()}
            if asked != dict.fromkeys("ab", applied[0] // 2):
                torn.append((asked, applied))
    writer.join()
    assert not torn


def test_a_purge_drops_what_ended_and_keeps_the_rest(table: FreezeTable) -> None:
    """A freeze in force is never dropped (G2), nor is one that an undecided request may still ask for."""
    for offset, seconds in enumerate((1, 2, 3, 4)):
        apply_one(table, press(f"acc-{seconds}", offset, at_ms=0, seconds=seconds))
    table.count_frozen(3_000)
    assert table.purge(1_999, {}) == 1
    assert [table.get(f"acc-{s}") is not None for s in (1, 2, 3, 4)] == [False, True, True, True]
    assert table.purge(3_000, {}) == 2
    assert [table.get(f"acc-{s}") is not None for s in (3, 4)] == [False, True]
    assert ends_of(table, 0) == [("acc-4", 4_000)]
    assert table.purge(3_999, {}) == 0


@pytest.mark.parametrize("before_ms", [-(7 * 86_400_000), -1, 0])
def test_a_purge_by_a_clock_that_knows_no_time_drops_nothing(table: FreezeTable, before_ms: int) -> None:
    """A worker that has read nothing since its start is in 1970, and what it may drop ended a week before (G2)."""
    apply_one(table, press("acc-1", 0, at_ms=0, seconds=1))
    assert table.purge(before_ms, {}) == 0
    assert table.get("acc-1") is not None
    assert ends_of(table, 0) == [("acc-1", 1_000)]
    assert ends_of(table, 0, after_ms=-9_000, until_ms=-1) == []


def test_a_purge_keeps_an_account_that_was_frozen_again(table: FreezeTable) -> None:
    """Of two freezes of an account only the one that ended is dropped."""
    apply_one(table, press("acc", 0, at_ms=0, seconds=1))
    apply_one(table, press("acc", 1, at_ms=5_000, seconds=3))
    before = table.get("acc")
    assert table.purge(7_999, {}) == 1
    assert table.get("acc") == before
    assert ends_of(table, 0) == [("acc", 8_000)]


def test_a_purge_keeps_what_an_extension_has_moved(table: FreezeTable) -> None:
    """An end that was moved later is not dropped at its first time."""
    apply_one(table, press("acc", 0, at_ms=0, seconds=1))
    apply_one(table, press("acc", 1, at_ms=500, seconds=9))
    assert table.purge(9_499, {}) == 0
    found = table.get("acc")
    assert found is not None
    assert is_frozen(found.frozen_until_ms, 9_499)


def test_a_purge_forgets_the_outcomes_that_were_announced(table: FreezeTable) -> None:
    """Below the announced offset of its own partition, and nothing else."""
    presses = [press(f"acc-{p}-{o}", o, at_ms=0, seconds=900, partition=p) for p in (0, 1, 2) for o in range(4)]
    table.apply(presses, {0: 4, 1: 4, 2: 4})
    table.purge(0, {0: 3, 1: 0, 7: 5})
    kept = {p: [o for o in range(4) if table.outcome(p, o) is not None] for p in (0, 1, 2)}
    assert kept == {0: [3], 1: [0, 1, 2, 3], 2: [0, 1, 2, 3]}
    assert all(table.get(one.account_id) is not None for one in presses)


def test_a_purge_is_bounded_and_the_next_one_goes_on(table: FreezeTable) -> None:
    """Decisions wait for no more than a few thousand freezes at a time."""
    table.apply([press(f"acc-{o}", o, at_ms=o, seconds=1) for o in range(PURGE_AT_ONCE + 7)], {0: PURGE_AT_ONCE + 7})
    assert [table.purge(10**6, {}) for _ in range(3)] == [PURGE_AT_ONCE, 7, 0]


def test_the_number_of_frozen_accounts_survives_a_reopening(tmp_path: Path) -> None:
    """What had ended at the last count, and what ends after, are each counted once."""
    folder = tmp_path / "freezes"
    table = FreezeTable(folder, IDENTITY)
    table.apply([press(f"acc-{s}", s, at_ms=0, seconds=s) for s in range(1, 10)], {0: 10})
    assert table.count_frozen(4_000) == 5
    table.close()
    table = FreezeTable(folder, IDENTITY)
    assert table.count_frozen(4_000) == 5
    apply_one(table, press("acc-x", 10, at_ms=4_000, seconds=1))
    assert table.count_frozen(4_500) == 6
    table.close()
    table = FreezeTable(folder, IDENTITY)
    assert table.count_frozen(5_000) == 4
    table.close()


def test_the_number_of_frozen_accounts_survives_a_purge_and_a_reopening(tmp_path: Path) -> None:
    """A freeze that ended, was counted out and purged does not come back into the number after a restart."""
    folder = tmp_path / "freezes"
    table = FreezeTable(folder, IDENTITY)
    apply_one(table, press("acc", 0, at_ms=0, seconds=1))
    assert table.count_frozen(2_000) == 0
    assert table.purge(1_500, {}) == 1
    table.close()
    table = FreezeTable(folder, IDENTITY)
    assert table.count_frozen(2_000) == 0
    table.close()


def test_a_purge_before_the_first_count_leaves_the_number_right(tmp_path: Path) -> None:
    """A worker that purges before anybody has asked for the number still tells it right."""
    table = FreezeTable(tmp_path / "freezes", IDENTITY)
    apply_one(table, press("acc-1", 0, at_ms=0, seconds=1))
    apply_one(table, press("acc-2", 1, at_ms=0, seconds=9))
    assert table.purge(1_500, {}) == 1
    assert table.count_frozen(2_000) == 1
    table.close()


# A step: milliseconds that pass, then a press (account, seconds, lateness of its partition), a count or a purge.
passing_ms = st.integers(0, 3_000)
pressing = st.tuples(
    st.just("press"),
    passing_ms,
    st.sampled_from("abc"),
    st.none() | st.integers(0, 8),
    st.sampled_from((0, 0, 0, 4_000)),
)
steps = st.lists(
    pressing
    | st.tuples(st.sampled_from(("count", "purge", "replay")), passing_ms, st.just("a"), st.none(), st.just(0)),
    max_size=25,
)


@any_run
@given(steps)
def test_any_course_of_events_agrees_with_a_dict(
    tmp_path_factory: pytest.TempPathFactory, course: list[tuple[str, int, str, int | None, int]]
) -> None:
    """Presses, some late, replays, counts and purges as time goes on: accounts, numbers and ends are the model's."""
    table = FreezeTable(tmp_path_factory.mktemp("freezes"), IDENTITY)
    model: dict[str, Freeze] = {}
    applied: list[AppliedPress] = []
    now_ms = purged_ms = 0

    def frozen() -> int:
        return sum(1 for freeze in model.values() if is_frozen(freeze.frozen_until_ms, now_ms))

    for kind, passed_ms, account_id, seconds, late_ms in course:
        now_ms += passed_ms
        if kind == "press":
            one = press(account_id, len(applied), at_ms=max(0, now_ms - late_ms), seconds=seconds)
            applied.append(one)
            model[account_id], status = fold(model.get(account_id), one.freeze)
            apply_one(table, one)
            outcome = table.outcome(0, one.offset)
            assert outcome == PressOutcome(status, model[account_id].frozen_since_ms, model[account_id].frozen_until_ms)
        elif kind == "count":
            assert table.count_frozen(now_ms) == frozen()
        elif kind == "replay":
            kept = [one for one in applied if one.freeze.frozen_until_ms > purged_ms]
            table.apply(kept, {0: len(applied)})
            for one in kept:
                model[one.account_id], _ = fold(model.get(one.account_id), one.freeze)
        else:
            table.count_frozen(now_ms)
            purged_ms = now_ms - 2_000  # before 1970, too: of a worker that has not been told the time
            table.purge(purged_ms, {})
            model = {name: freeze for name, freeze in model.items() if freeze.frozen_until_ms > purged_ms}
        assert {name: table.get(name) for name in "abc"} == {name: model.get(name) for name in "abc"}
    assert table.count_frozen(now_ms) == frozen()
    standing = {(name, freeze.frozen_until_ms) for name, freeze in model.items()}
    assert standing <= set(ends_of(table, 0))
    table.close()
