"""The simulation of the queue, where the answer can be reckoned; that it tells what is measured, `make bench` shows."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.benchmarks.queueing import Commit, Load, Simulated, Times, simulate
from tests.benchmarks.simulation import times_of

PARTITIONS = 4
FETCH, BARRIER, COMMIT = 2.0, 3.0, 5.0
# Each step takes always the same, and a record by itself takes nothing.
CONSTANT = Times(
    fetch=[FETCH],
    barrier=[BARRIER],
    commits={number: [Commit(COMMIT, [COMMIT] * number)] for number in range(1, PARTITIONS + 1)},
    decide_one=0.0,
    follow_one=0.0,
)
VARYING = replace(
    CONSTANT,
    fetch=[0.5, 2.0, 9.0],
    barrier=[1.0, 40.0],
    commits={1: [Commit(3.0, [2.0])], 2: [Commit(60.0, [5.0, 9.0])], 3: [Commit(6.0, [2.0, 4.0, 6.0])]},
    decide_one=0.02,
    follow_one=0.03,
)
CALM = Load(requests_per_second=20, presses_per_second=0, workers=1, partitions=PARTITIONS, seconds=100, evenly=True)
BUSY = Load(requests_per_second=2_000, presses_per_second=500, workers=3, partitions=7, seconds=10)


def mean(times: list[float]) -> float:
    """Return the mean."""
    return math.fsum(times) / len(times)


def test_a_request_that_meets_an_idle_worker_takes_the_sum_of_the_steps() -> None:
    """One in 50 ms never waits for another."""
    assert simulate(CALM, CONSTANT, 1).requests == pytest.approx([FETCH + BARRIER + COMMIT] * 2_000)


@pytest.mark.parametrize("requests_per_second", [20, 200, 2_000])
def test_constant_steps_take_the_mean_that_can_be_reckoned(requests_per_second: int) -> None:
    """At random: who comes while d ms are served waits d/2 of them and is served with all others; or meets it idle."""
    # r = rate x d come meanwhile. Nobody does with probability exp(-r), and then the next one does not wait: so the
    # mean is d + (r x d/2) / (r + exp(-r)).
    serving = BARRIER + COMMIT
    come = requests_per_second / 1000 * serving
    reckoned = serving + come * serving / 2 / (come + math.exp(-come))
    load = replace(CALM, requests_per_second=requests_per_second, evenly=False, seconds=40_000 / requests_per_second)
    assert mean(simulate(load, replace(CONSTANT, fetch=[0.0]), 1).requests) == pytest.approx(reckoned, rel=0.02)


def test_what_is_appended_during_a_fetch_comes_with_the_next_one() -> None:
    """A press each millisecond and fetches of two: two come at a time, one at once and one a millisecond late."""
    told = simulate(replace(CALM, presses_per_second=1_000, seconds=1), CONSTANT, 1)
    assert told.presses[:5] == pytest.approx([FETCH, FETCH + 1, FETCH, FETCH + 1, FETCH])


def test_a_worker_at_full_load_falls_behind_by_what_it_can_not_decide() -> None:
    """Twice as many as 1 / decide_one come: the last waits as long as the run lasted."""
    load = replace(CALM, requests_per_second=20_000, seconds=5)
    slow = replace(CONSTANT, decide_one=0.1)
    assert simulate(load, slow, 1).requests[-1] == pytest.approx(5_000, rel=0.02)


def test_presses_that_come_twice_as_fast_as_they_are_followed_wait_as_long_as_they_came() -> None:
    """The last of five seconds' presses is in force five seconds later."""
    load = replace(CALM, presses_per_second=2_000, seconds=5)
    assert simulate(load, replace(CONSTANT, follow_one=1.0), 1).presses[-1] == pytest.approx(5_000, rel=0.02)


def test_the_same_seed_tells_the_same_and_another_one_something_else() -> None:
    """Whoever runs it again can check it."""
    assert simulate(BUSY, VARYING, 7) == simulate(BUSY, VARYING, 7)
    assert simulate(BUSY, VARYING, 7) != simulate(BUSY, VARYING, 8)


def test_every_request_is_decided_once_and_every_press_comes_into_force_once() -> None:
    """None is lost between workers, none counted twice, none done before it was there."""
    load = replace(BUSY, evenly=True)
    told = simulate(load, VARYING, 7)
    assert (len(told.requests), len(told.presses)) == (2_000 * 10, 500 * 10)
    assert min(told.requests) >= min(VARYING.fetch) + min(VARYING.barrier) + 2.0
    assert min(told.presses) == pytest.approx(min(VARYING.fetch) + VARYING.follow_one)


def test_no_request_passes_the_barrier_before_the_presses_that_came_earlier_are_in_force() -> None:
    """A press that takes a second to fold holds back the requests that come meanwhile."""
    slow = replace(CONSTANT, follow_one=1_000.0)
    load = replace(CALM, presses_per_second=0.1, seconds=20)
    told = simulate(load, slow, 1)
    assert max(told.requests) == pytest.approx(FETCH + 1_000 + COMMIT, rel=0.1)
    assert told.presses == pytest.approx([FETCH + 1_000] * 2)


def test_more_workers_shorten_the_queue_and_share_its_requests() -> None:
    """Four workers with a partition each, and one with all of them."""
    load = replace(CALM, requests_per_second=8_000, seconds=5)
    slow = replace(CONSTANT, decide_one=0.1)

    def of(workers: int) -> Simulated:
        return simulate(replace(load, workers=workers), slow, 1)

    assert len(of(4).requests) == len(of(1).requests)
    assert mean(of(4).requests) < mean(of(1).requests) / 2


def test_what_waited_for_the_worker_is_no_delay_of_a_fetch() -> None:
    """Only of a request that was appended after the worker had asked is the time until it is handed over a fetch's."""
    moments = {"asked": 100.0, "handed": 112.0, "passed": 115.0, "decided": 116.0, "free": 121.0}
    waited = {**moments, "appended": 90, "last_offsets": [[0, 0], [1, 0]]}
    met_it_idle = {**moments, "appended": 110, "last_offsets": [[0, 1]]}
    times = times_of([waited, met_it_idle], [[122.0, 123.0], [124.0]])
    assert times.fetch == [2.0]
    assert times.barrier == [3.0, 3.0]
    assert times.commits == {2: [Commit(5.0, [6.0, 8.0])], 1: [Commit(5.0, [7.0])]}
