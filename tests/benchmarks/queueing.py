"""A simulation of the queue from press and request to decision, on N workers: seeded, no Kafka, no clock.

    fetch     the client fetches all that was appended, one fetch after the other; the worker takes all that is there
    follow    presses, by every worker, folded in one go
    barrier   ask the brokers for ends, then wait until presses appended before that are in the table
    decide    so many microseconds a request, more while presses are followed: one interpreter does both
    commit    a transaction for each partition; large batches commit while the next one is decided (streams/gate.py)

What a step takes is drawn from what was noted of it in an idle worker (`Times`). What comes out is what a client sees.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import cycle

from streams.follow import MAX_BATCH_RECORDS as MAX_PRESSES
from streams.gate import COMMIT_ASIDE_FROM, MAX_BATCH_RECORDS
from tests.benchmarks.meter import Spread

# One interpreter that follows presses all the time would decide nothing.
MOST_FOLLOWING = 0.95


@dataclass(frozen=True, slots=True)
class Commit:
    """How a batch ended, in ms from its decision: the worker asks for the next one; each partition is readable."""

    free: float
    readable: list[float]


@dataclass(frozen=True, slots=True)
class Times:
    """What each step takes, in ms: samples to draw from, or the time of one record."""

    # Appended to handed over.
    fetch: list[float]
    # Handed over to passed.
    barrier: list[float]
    # Of batches from so many partitions; what comes from more takes as long as from the most that was noted.
    commits: dict[int, list[Commit]]
    decide_one: float
    follow_one: float


@dataclass(frozen=True, slots=True)
class Load:
    """What comes in each second, and who takes it."""

    requests_per_second: float
    presses_per_second: float
    workers: int
    partitions: int
    seconds: float
    # As the benchmarks send them; clients come at random.
    evenly: bool = False


@dataclass
class Simulated:
    """Latencies: request appended - decision readable, and press appended - in force on every worker."""

    requests: list[float] = field(default_factory=list)
    presses: list[float] = field(default_factory=list)

    def spreads(self) -> tuple[Spread, Spread | None]:
        """Return both; None where nobody pressed."""
        return Spread.of(self.requests), Spread.of(self.presses) if self.presses else None


def simulate(load: Load, times: Times, seed: int) -> Simulated:
    """Run it once."""
    chance = random.Random(seed)
    presses = _arrivals(chance, load.presses_per_second, load)
    asked: list[list[tuple[float, int]]] = [[] for _ in range(load.workers)]
    for at in _arrivals(chance, load.requests_per_second, load):
        # Partitions are dealt out in turn, so that some workers may have one more than others.
        partition = chance.randrange(load.partitions)
        asked[partition % load.workers].append((at, partition))
    result = Simulated()
    in_force = [0.0] * len(presses)
    following = min(MOST_FOLLOWING, load.presses_per_second * times.follow_one / 1000)
    for requests in asked:
        folded = _follow(chance, presses, times)
        in_force = [max(pair) for pair in zip(in_force, folded, strict=True)]
        result.requests += _decide(chance, requests, (presses, folded), times, times.decide_one / (1 - following))
    result.presses = [done - at for done, at in zip(in_force, presses, strict=True)]
    return result


def _arrivals(chance: random.Random, per_second: float, load: Load) -> list[float]:
    """Return times in ms."""
    if load.evenly:
        return [number * 1000 / per_second for number in range(int(per_second * load.seconds))]
    times: list[float] = []
    at = 0.0
    while per_second and (at := at + chance.expovariate(per_second / 1000)) < load.seconds * 1000:
        times.append(at)
    return times


def _there(chance: random.Random, appended: list[float], times: Times) -> list[float]:
    """Return when each record is there for a worker: what is appended during a fetch comes with the next one."""
    there: list[float] = []
    done_at = 0.0
    while len(there) < len(appended):
        begin = max(done_at, appended[len(there)])
        done_at = begin + chance.choice(times.fetch)
        there += [done_at] * (bisect_right(appended, begin) - len(there))
    return there


def _follow(chance: random.Random, presses: list[float], times: Times) -> list[float]:
    """Return when each press is in the table of one worker."""
    there = _there(chance, presses, times)
    done: list[float] = []
    free_at = 0.0
    while len(done) < len(presses):
        begin = max(free_at, there[len(done)])
        come = min(bisect_right(there, begin) - len(done), MAX_PRESSES)
        free_at = begin + come * times.follow_one
        done += [free_at] * come
    return done


def _decide(
    chance: random.Random,
    requests: list[tuple[float, int]],
    followed: tuple[list[float], list[float]],
    times: Times,
    decide_one: float,
) -> list[float]:
    """Return request appended - decision readable, of one worker's requests."""
    presses, folded = followed
    there = _there(chance, [at for at, _ in requests], times)
    latencies: list[float] = []
    free_at = committed_at = 0.0
    while (first := len(latencies)) < len(requests):
        begin = max(free_at, there[first])
        last = min(bisect_right(there, begin), first + MAX_BATCH_RECORDS)
        asked_at = begin + chance.choice(times.barrier)
        known = bisect_right(presses, asked_at)
        passed = max(asked_at, folded[known - 1] if known else 0.0)
        decided_at = max(passed + (last - first) * decide_one, committed_at)
        committing = {partition for _, partition in requests[first:last]}
        commit = chance.choice(times.commits[min(len(committing), max(times.commits))])
        readable = dict(zip(committing, cycle(commit.readable)))
        committed_at = decided_at + commit.free
        free_at = decided_at if last - first >= COMMIT_ASIDE_FROM else committed_at
        latencies += [decided_at + readable[partition] - at for at, partition in requests[first:last]]
    return latencies
