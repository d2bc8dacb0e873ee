"""What processes spend: CPU time and memory; and percentiles, of samples or of a worker's histogram."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from tests.benchmarks.load import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.processes import Worker

SHARES = (0.50, 0.99, 0.999, 1.0)
# Press appended to in force.
PRESS_IN_FORCE = "gate_freeze_latency_seconds"
PER_DECISIONS = 100_000


@dataclass(frozen=True, slots=True)
class Spread:
    """Latencies in milliseconds."""

    count: int
    p50: float
    p99: float
    p999: float
    max: float

    @classmethod
    def of(cls, milliseconds: Iterable[float]) -> Spread:
        """Return percentiles by nearest rank, of every sample: exact, so no histogram of classes is needed."""
        ordered = sorted(milliseconds)
        if not ordered:
            message = "nothing was measured"
            raise BenchmarkError(message)
        return cls(len(ordered), *(ordered[math.ceil(share * len(ordered)) - 1] for share in SHARES))


@dataclass(frozen=True, slots=True)
class Spent:
    """What some processes spent over a time: CPU seconds of all of them, memory of the largest."""

    seconds: float
    cpu_seconds: float
    resident_mb: float

    @property
    def cores(self) -> float:
        """Return how many cores were busy on average."""
        return self.cpu_seconds / self.seconds

    def per(self, decisions: int) -> float:
        """Return CPU seconds per 100,000 decisions."""
        return self.cpu_seconds / decisions * PER_DECISIONS


class Meter:
    """Reads what processes spend from now on."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        """Begin with these."""
        self._processes = [psutil.Process(worker.process.pid) for worker in workers]

    def cpu_seconds(self) -> float:
        """Return the CPU time that they have used so far."""
        return sum(cpu_seconds(process) for process in self._processes)

    def resident_mb(self) -> float:
        """Return the memory of the largest."""
        return max(process.memory_info().rss for process in self._processes) / 1e6


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time that a process has used."""
    times = process.cpu_times()
    return times.user + times.system


def buckets(worker: Worker, histogram: str) -> dict[float, float]:
    """Return a worker's histogram: cumulative counts by upper bound in seconds."""
    pattern = re.compile(rf'^{histogram}_bucket\{{le="([^"]+)"\}} (\S+)$', re.MULTILINE)
    return {float(bound): float(count) for bound, count in pattern.findall(worker.get("/metrics")[1])}


def spread_of_buckets(before: dict[float, float], after: dict[float, float]) -> Spread:
    """Return the bounds, in milliseconds, below which the percentiles of what came in between lie."""
    grown = {bound: after[bound] - before[bound] for bound in after}
    total = max(grown.values(), default=0)
    if not total:
        message = "the worker counted nothing"
        raise BenchmarkError(message)
    bounds = [min(bound for bound, count in grown.items() if count >= total * share) for share in SHARES]
    return Spread(int(total), *(bound * 1000 for bound in bounds))


def worst(spreads: Sequence[Spread]) -> Spread:
    """Return the largest of each figure: what holds on every worker."""
    return Spread(
        min(one.count for one in spreads),
        *(max(getattr(one, name) for one in spreads) for name in ("p50", "p99", "p999", "max")),
    )
