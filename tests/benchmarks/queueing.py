"""A simulation of the queue from press and request to decision, on N workers: seeded, no Kafka, no clock.

    follow    a worker reads every press, and folds what has come in one go
    fetch     a worker takes the requests of its partitions that have come while it was busy
    barrier   ask the brokers for ends, then wait until presses appended before that are in the table
    decide    so many microseconds a request, more while presses are followed: one interpreter does both
    commit    small batches are waited for, large ones commit while the next one is decided (streams/gate.py)

What a step takes is drawn from what was measured of it alone (`Times`). What comes out is what a client sees.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from dataclasses import dataclass, field

from streams.gate import COMMIT_ASIDE_FROM, MAX_BATCH_RECORDS
from tests.benchmarks.meter import Spread


@dataclass(frozen=True, slots=True)
class Times:
    """What each step takes, in ms: samples to draw from, or the time of one record."""

    # Appended to handed to an idle worker.
    fetch: list[float]
    barrier: list[float]
    commit: list[float]
    # Committed to readable.
    read: list[float]
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
    presses = _arrivals(chance, load.presses_per_second, load.seconds)
    asked: list[list[float]] = [[] for _ in range(load.workers)]
    for at in _arrivals(chance, load.requests_per_second, load.seconds):
        # Partitions are dealt out in turn, so that some workers may have one more than others.
        asked[chance.randrange(load.partitions) % load.workers].append(at)
    result = Simulated()
    in_force = [0.0] * len(presses)
    for requests in asked:
        folded = _follow(chance, presses, times)
        in_force = [max(pair) for pair in zip(in_force, folded, strict=True)]
        following = min(0.95, load.presses_per_second * times.follow_one / 1000)
        result.requests += _decide(chance, requests, (presses, folded), times, times.decide_one / (1 - following))
    result.presses = [done - at for done, at in zip(in_force, presses, strict=True)]
    return result


def _arrivals(chance: random.Random, per_second: float, seconds: float) -> list[float]:
    """Return times in ms, at random but for their rate."""
    times: list[float] = []
    at = 0.0
    while per_second and (at := at + chance.expovariate(per_second / 1000)) < seconds * 1000:
        times.append(at)
    return times


def _follow(chance: random.Random, presses: list[float], times: Times) -> list[float]:
    """Return when each press is in the table of one worker."""
    done: list[float] = []
    free_at = 0.0
    while len(done) < len(presses):
        begin = max(free_at, presses[len(done)] + chance.choice(times.fetch))
        come = max(bisect_right(presses, begin), len(done) + 1)
        free_at = begin + (come - len(done)) * times.follow_one
        done += [free_at] * (come - len(done))
    return done


def _decide(
    chance: random.Random,
    requests: list[float],
    followed: tuple[list[float], list[float]],
    times: Times,
    decide_one: float,
) -> list[float]:
    """Return request appended - decision readable, of one worker's requests."""
    presses, folded = followed
    latencies: list[float] = []
    free_at = committed_at = 0.0
    while len(latencies) < len(requests):
        first = len(latencies)
        begin = max(free_at, requests[first] + chance.choice(times.fetch))
        last = min(max(bisect_right(requests, begin), first + 1), first + MAX_BATCH_RECORDS)
        known = bisect_right(presses, begin)
        passed = max(begin + chance.choice(times.barrier), folded[known - 1] if known else 0.0)
        decided_at = max(passed + (last - first) * decide_one, committed_at)
        committed_at = decided_at + chance.choice(times.commit)
        free_at = decided_at if last - first >= COMMIT_ASIDE_FROM else committed_at
        readable_at = committed_at + chance.choice(times.read)
        latencies += [readable_at - at for at in requests[first:last]]
    return latencies
