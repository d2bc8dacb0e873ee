"""A history that was kept on disk is judged as one in memory is."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from streams.judge import History, Outcome, RequestSent, judge
from tests.chaos import ledger as ledgers
from tests.chaos.ledger import Ledger
from tests.rule.test_judge import FAULTS, good

if TYPE_CHECKING:
    from pathlib import Path

PARTITIONS = 2


def both_partitions(history: History) -> History:
    """Return the history with the same again in partition 1: what is found there must not get lost or counted twice."""
    again = [replace(sent, partition=1) for sent in history.requests]
    moved = [replace(one, partition=1, read_partition=1 - one.read_partition) for one in history.outcomes]
    return replace(history, requests=history.requests + again, outcomes=history.outcomes + moved)


def kept(history: History, folder: Path) -> Ledger:
    """Return a ledger that was told all of it."""
    ledger = Ledger(folder, PARTITIONS)
    for sent in history.requests:
        ledger.append(sent)
    ledger.put_away()
    for outcome in history.outcomes:
        ledger.answer(outcome)
    return ledger


@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_what_the_judge_finds_in_a_history_it_finds_in_the_ledger(fault: str | None, tmp_path: Path) -> None:
    """Every fault that the judge knows, in two partitions, and the good history: findings and counts are the same."""
    history = good()
    if fault is not None:
        FAULTS[fault][0](history)
    history = both_partitions(history)
    expected = judge(history)
    with closing(kept(history, tmp_path)) as ledger:
        found = ledger.judge(history)
        assert ledger.missing() == expected.counts["without outcome"]
    assert sorted(found.findings) == sorted(expected.findings)
    assert +found.counts == +expected.counts


def test_requests_leave_memory_once_their_place_is_known_and_no_earlier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those on their way stay however many come after them, and one that never gets a place has no outcome."""
    monkeypatch.setattr(ledgers, "ON_WAY", 3)
    with closing(Ledger(tmp_path, 1)) as ledger:
        slow = RequestSent("w-slow", "acc", 1.0, 0, 99)  # as another thread may see it: half acknowledged
        nowhere = RequestSent("w-nowhere", "acc", 1.0, 0, -1, 1_000)  # acknowledged, without an offset
        ledger.append(slow)
        ledger.append(nowhere)
        for offset in range(10):
            ledger.append(RequestSent(f"w-{offset}", "acc", 1.0, 0, offset, 1_000))
            assert len(ledger) <= 6
        assert ledger[0] is slow
        ledger.put_away()
        assert list(ledger) == [slow, nowhere]
        assert ledger.asked(0, 9)
        assert not ledger.asked(0, 10)
        assert ledger.missing() == 12
        verdict = ledger.judge(History())
        assert verdict.counts["requests"] == verdict.counts["without outcome"] == 12
        ledger.answer(Outcome(0, 9, None, "unreadable", 0))
        assert ledger.missing() == 11
        assert ledger.asked(0, 9)
