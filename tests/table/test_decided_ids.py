"""Which withdrawal ids were decided, on a real RocksDB: remembered for as long as promised, and no longer kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.decided_ids import DecidedIds
from streams.errors import FolderFault
from streams.store import scan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IDENTITY = {"cluster": "cluster-1", "withdrawal-request": "topic-1", "withdrawal-decision": "topic-2"}
MEMORY_SECONDS = 100
MEMORY_MS = MEMORY_SECONDS * 1000
any_run = settings(max_examples=60, deadline=None, print_blob=True)


@pytest.fixture
def ids(tmp_path: Path) -> Iterator[DecidedIds]:
    """Return an empty memory of 100 seconds."""
    opened = DecidedIds(tmp_path / "decided", IDENTITY, MEMORY_SECONDS)
    yield opened
    opened.close()


def decide(ids: DecidedIds, withdrawal_id: str, requested_ms: int, partition: int = 0, next_offset: int = 1) -> None:
    """Remember one decision."""
    ids.remember({partition: ([(withdrawal_id, requested_ms)], next_offset)})


def remembers(ids: DecidedIds, withdrawal_id: str, requested_ms: int, partition: int = 0) -> bool:
    """Tell whether a request of that id, at that time, is a duplicate."""
    return ids.seen(partition, [(withdrawal_id, requested_ms)]) == {withdrawal_id}


@pytest.mark.parametrize("requested_ms", [0, 1, 50_000, 99_999, 100_000, 149_999, 150_000, 1_795_338_000_000])
def test_an_id_is_remembered_within_the_window_and_not_after_it(ids: DecidedIds, requested_ms: int) -> None:
    """From the request on for the memory's length, wherever in a bucket it was made."""
    decide(ids, "w-1", requested_ms)
    for later_ms in (0, 1, MEMORY_MS // 2, MEMORY_MS - 1, MEMORY_MS):
        assert remembers(ids, "w-1", requested_ms + later_ms), later_ms
    for later_ms in (MEMORY_MS + 1, 2 * MEMORY_MS, 100 * MEMORY_MS):
        assert not remembers(ids, "w-1", requested_ms + later_ms), later_ms


def test_an_id_is_itself_and_not_a_prefix_of_another(ids: DecidedIds) -> None:
    """Ids that begin alike, hold NUL, or are as long as is answered to are told apart."""
    decide(ids, "w-1", 5)
    decide(ids, "w\0", 5)
    decide(ids, "🧊" * 1024, 5)
    names = ["w-1", "w\0", "🧊" * 1024, "w", "w-", "w-11", "W-1", "w\0\0", "🧊" * 1023, ""]
    assert ids.seen(0, [(name, 6) for name in names]) == set(names[:3])


def test_an_id_is_of_its_own_partition(ids: DecidedIds) -> None:
    """Duplicates are told within a partition: it is the unit that moves between workers."""
    decide(ids, "w-1", 5, partition=1)
    assert remembers(ids, "w-1", 6, partition=1)
    assert not any(remembers(ids, "w-1", 6, partition=p) for p in (0, 2, 256))


def test_several_requests_are_looked_up_at_once(ids: DecidedIds) -> None:
    """Each with its own time, an id may stand twice."""
    ids.remember({0: ([("w-1", 0), ("w-2", 50_000)], 2), 7: ([("w-3", 0)], 9)})
    asked = [("w-1", 100_001), ("w-2", 100_001), ("w-2", 60_000), ("w-3", 1), ("w-4", 1)]
    assert ids.seen(0, asked) == {"w-2"}
    assert ids.seen(0, []) == set()
    assert ids.seen(7, asked) == {"w-3"}


def test_a_memory_survives_a_reopening(tmp_path: Path) -> None:
    """A restart forgets no id, and not up to where the folder knows."""
    ids = DecidedIds(tmp_path, IDENTITY, MEMORY_SECONDS)
    assert ids.known(3) == (0, 0)
    ids.restore(3, [], 40, 17)
    decide(ids, "w-1", 150_000, partition=3, next_offset=43)
    ids.close()
    ids = DecidedIds(tmp_path, IDENTITY, MEMORY_SECONDS)
    assert remembers(ids, "w-1", 250_000, partition=3)
    assert not remembers(ids, "w-1", 250_001, partition=3)
    assert ids.known(3) == (43, 17)
    assert ids.known(0) == (0, 0)
    ids.close()


@pytest.mark.parametrize(("before_seconds", "after_seconds"), [(3_600, 7_200), (7_200, 3_600), (3_600, 3_601)])
def test_an_id_is_remembered_when_the_window_is_changed(
    tmp_path: Path, before_seconds: int, after_seconds: int
) -> None:
    """Another GATE_DUPLICATE_SECONDS after a restart forgets no id that lies within both (G4)."""
    ids = DecidedIds(tmp_path, IDENTITY, before_seconds)
    ids.restore(0, [], 42, 17)
    decide(ids, "w-1", 1_795_338_000_000, next_offset=43)
    ids.close()
    ids = DecidedIds(tmp_path, IDENTITY, after_seconds)
    # Forgetting up to where it knows would do as well: the decisions are then read back (resume.py).
    _, decisions_end = ids.known(0)
    assert remembers(ids, "w-1", 1_795_338_060_000) or decisions_end == 0
    ids.close()


def test_what_others_decided_is_restored(ids: DecidedIds) -> None:
    """A worker that takes a partition over knows its ids, and that it knows them."""
    ids.restore(2, iter([("w-1", 5_000), ("w-2", 120_000)]), 44, 12)
    assert ids.known(2) == (44, 12)
    assert ids.known(0) == (0, 0)
    assert ids.seen(2, [("w-1", 105_000), ("w-2", 105_000 + 100_000)]) == {"w-1", "w-2"}
    assert not remembers(ids, "w-1", 105_001, partition=2)
    decide(ids, "w-3", 130_000, partition=2, next_offset=45)
    assert ids.known(2) == (45, 12)
    ids.restore(2, [], 50, 20)
    assert ids.known(2) == (50, 20)
    assert remembers(ids, "w-2", 130_000, partition=2)


def test_an_id_that_is_restored_later_than_it_was_asked_for_is_still_known(ids: DecidedIds) -> None:
    """The brokers' clock is set back now and then: a little later in the past is no other bucket's business (G4)."""
    ids.restore(0, [("w-1", MEMORY_MS + 1)], 1, 1)
    assert remembers(ids, "w-1", MEMORY_MS - 1)
    decide(ids, "w-2", 3 * MEMORY_MS)
    assert remembers(ids, "w-2", 3 * MEMORY_MS - 1)


def test_a_batch_without_decisions_moves_the_offset(ids: DecidedIds) -> None:
    """Dead letters alone are an outcome too."""
    decide(ids, "w-1", 5)
    ids.remember({0: ([], 8), 1: ([], 3)})
    assert (ids.known(0), ids.known(1)) == ((8, 0), (3, 0))
    assert remembers(ids, "w-1", 6)
    ids.remember({})
    assert ids.known(0) == (8, 0)


def kept(ids: DecidedIds) -> int:
    """Return how many ids lie in the folder."""
    return sum(1 for _ in scan(ids._database, b"i", b"j"))  # noqa: SLF001  (what is kept has no other way to be seen)


def test_spent_buckets_are_dropped(ids: DecidedIds) -> None:
    """The folder holds about three windows of ids, however long the worker runs."""
    for hundredth in range(2_000):
        decide(ids, f"w-{hundredth}", hundredth * MEMORY_MS // 100)
    assert 100 <= kept(ids) <= 300
    assert remembers(ids, "w-1999", 1_999 * MEMORY_MS // 100)
    assert remembers(ids, "w-1899", 1_999 * MEMORY_MS // 100)


def test_dropping_spent_buckets_leaves_other_partitions_alone(ids: DecidedIds) -> None:
    """A partition that lags keeps its ids while another runs ahead."""
    for partition in (0, 1, 2):
        decide(ids, "w-1", 5, partition=partition)
    for bucket in range(2, 9):
        decide(ids, f"w-{bucket}", bucket * MEMORY_MS, partition=1)
    assert remembers(ids, "w-1", 6, partition=0)
    assert remembers(ids, "w-1", 6, partition=2)
    assert kept(ids) == 2 + 3


def test_spent_buckets_are_dropped_after_a_reopening_too(tmp_path: Path) -> None:
    """What a worker did not drop before it ended, the next one drops."""
    ids = DecidedIds(tmp_path, IDENTITY, MEMORY_SECONDS)
    for number in range(50):
        decide(ids, f"w-{number}", number)
    ids.close()
    ids = DecidedIds(tmp_path, IDENTITY, MEMORY_SECONDS)
    decide(ids, "w-x", 10 * MEMORY_MS)
    assert kept(ids) == 1
    ids.close()


@any_run
@given(
    st.integers(1, 7),
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 1), st.integers(0, 6_000), st.booleans()), max_size=30),
)
def test_any_course_of_requests_agrees_with_a_dict(
    tmp_path_factory: pytest.TempPathFactory, seconds: int, course: list[tuple[str, int, int, bool]]
) -> None:
    """In the order of their times, with restarts in between: a request is a duplicate exactly within the window."""
    folder = tmp_path_factory.mktemp("decided")
    ids = DecidedIds(folder, IDENTITY, seconds)
    model: dict[tuple[int, str], int] = {}
    now_ms = 0
    for number, (withdrawal_id, partition, passed_ms, reopened) in enumerate(course):
        now_ms += passed_ms
        if reopened:
            ids.close()
            ids = DecidedIds(folder, IDENTITY, seconds)
        decided_ms = model.get((partition, withdrawal_id))
        duplicate = decided_ms is not None and now_ms - decided_ms <= seconds * 1000
        assert remembers(ids, withdrawal_id, now_ms, partition) is duplicate
        if not duplicate:
            decide(ids, withdrawal_id, now_ms, partition, number + 1)
            model[partition, withdrawal_id] = now_ms
    ids.close()


def test_a_folder_of_other_topics_is_refused(tmp_path: Path) -> None:
    """Ids of requests that were made anew are not remembered from before."""
    DecidedIds(tmp_path, IDENTITY, MEMORY_SECONDS).close()
    with pytest.raises(FolderFault, match=r"withdrawal-decision topic-2 there, topic-3 here") as refused:
        DecidedIds(tmp_path, {**IDENTITY, "withdrawal-decision": "topic-3"}, MEMORY_SECONDS)
    assert refused.value.exit_code == 4


def test_a_folder_in_use_by_another_memory_is_refused(ids: DecidedIds, tmp_path: Path) -> None:
    """One worker per folder."""
    with pytest.raises(FolderFault, match="in use by another worker"):
        DecidedIds(tmp_path / "decided", IDENTITY, MEMORY_SECONDS)
    decide(ids, "w-1", 5)
