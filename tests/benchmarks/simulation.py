"""Does the simulation (queueing.py) tell what is measured? What each step takes is noted once, of an idle worker.

With these times alone it then has to tell the latencies at other rates, with other numbers of workers and in a storm,
which are measured beside it. Where it is near, it tells of the deployments of docs/capacity.md.
"""

from __future__ import annotations

import json
import time
from bisect import bisect_left
from dataclasses import asdict, dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from confluent_kafka import Producer

from schemas import withdrawal_request
from streams.capacity import DECISION_RATE, FOLLOW_RATE
from streams.metrics import LATENCY_BUCKETS_SECONDS
from streams.settings import Settings
from streams.size import load_of, size
from tests.benchmarks import latency, storm
from tests.benchmarks.load import PARTITIONS, SEED, account, deployment, request
from tests.benchmarks.meter import Spread
from tests.benchmarks.queueing import Commit, Load, Times, simulate
from tests.benchmarks.report import Part, Table, Target, spread_row
from tests.benchmarks.traffic import LATE_SECONDS, Flow, Traffic

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from threading import Event

    from tests.deployment import Deployment

MODULE = "tests.benchmarks.timed_gate"
# A broker that has just started is slow until its code is compiled.
WARM_UP_PER_SECOND = 1_000
CALIBRATION_WARM_UP_SECONDS = 10
PULSES = 600
PULSE_SECONDS = 0.03
# The worker is busy with a request for some milliseconds.
BUSY_SECONDS = 0.003
WORKERS = (1, 2)
PERCENTILES = ("p50", "p99")
STORM_SECONDS = 10
LATENCY_BUCKETS_MS = [seconds * 1000 for seconds in LATENCY_BUCKETS_SECONDS]
SIMULATED_SECONDS = 30.0
TOLD_SECONDS = 600.0
USERS = (1_000_000, 300_000_000)
# What is told is near when it is at most so many times what is measured, and at least that part of it.
NEAR = 2.0
NOTE = (
    f"Seed {SEED}. Times of fetch, barrier and commit are those of an idle worker on a broker that is warm; a decision "
    "takes what it takes at full speed, a followed press too (streams/capacity.py)."
)


@dataclass(frozen=True, slots=True)
class Pair:
    """What was simulated beside what was measured, in ms."""

    what: str
    simulated: Spread
    measured: Spread
    # Bounds of a histogram, below which it lies.
    bounds: bool = False

    def factor(self, percentile: str) -> float:
        """Return how many times what was measured is told."""
        told: float = getattr(self.simulated, percentile)
        return told / float(getattr(self.measured, percentile))


def measure(bootstrap: str, asked: argparse.Namespace, say: Callable[[str], None]) -> Part:
    """Note the times of the steps, then compare."""
    say("simulation: noting what each step takes")
    times = calibrate(bootstrap)
    calm: list[Pair] = []
    for rate, workers in product(asked.rates, WORKERS):
        say(f"simulation: {rate:,} requests/s on {workers} workers, to compare")
        found = latency.trial(bootstrap, rate, workers, asked.seconds)
        load = Load(rate, latency.PROBES_PER_SECOND, workers, PARTITIONS, SIMULATED_SECONDS, evenly=True)
        told, _ = simulate(load, times, SEED).spreads()
        calm.append(Pair(latency.name_of(found), told, found.request_appended))
    say(f"simulation: {asked.storm_rate:,} presses/s, to compare")
    stormy = storm_pairs(bootstrap, asked.storm_rate, times)
    noted = {"pairs": [asdict(pair) for pair in (*calm, *stormy)], "times": asdict(times)}
    compare = product((("without a storm", calm), ("in a storm", stormy)), PERCENTILES)
    targets = [target(when, percentile, pairs) for (when, pairs), percentile in compare]
    return Part([compared([*calm, *stormy]), deployments(times)], targets, [NOTE], noted)


def calibrate(bootstrap: str) -> Times:
    """Return what each step takes, of a worker that has nothing else to do when a pulse comes."""
    with deployment(bootstrap, "steps") as made:
        steps_file = made.folder / "steps.json"
        made.environment["STEPS_FILE"] = str(steps_file)
        worker = made.worker(module=MODULE).wait_ready()
        traffic = Traffic(made)
        warm_up = Flow.of_requests(made, WARM_UP_PER_SECOND, CALIBRATION_WARM_UP_SECONDS)
        with traffic.running(warm_up) as sending:
            traffic.join(sending, 2 * CALIBRATION_WARM_UP_SECONDS + 30)
            traffic.wait_decided(warm_up.count)
            began_ms = time.time() * 1000
            traffic.wait_decided(warm_up.count + pulse(made, warm_up.count, traffic.stop))
        worker.stop()
        noted = json.loads(steps_file.read_text())["batches"]
    pulses = [batch for batch in noted if batch["asked"] > began_ms and "free" in batch]
    return times_of(pulses, traffic.readable_ms)


def pulse(made: Deployment, first_id: int, stop: Event) -> int:
    """Send pulses, each when the last one is long done with; return of how many requests.

    First a request for the idle worker, and while it is busy with it one to each of one, two, ... all partitions.
    """
    producer = Producer({"bootstrap.servers": made.bootstrap, "acks": "all", "linger.ms": 0, "log_level": 0})
    topic = made.topic(withdrawal_request.TOPIC)
    sent = 0
    for number in range(PULSES):
        meanwhile = range(number, number + 1 + number % PARTITIONS)
        for partitions, pause in (([number], BUSY_SECONDS), (meanwhile, PULSE_SECONDS)):
            for partition in partitions:
                key = account(sent)
                producer.produce(topic, request(first_id + sent, key), key, partition % PARTITIONS)
                sent += 1
            producer.flush(LATE_SECONDS)
            stop.wait(pause)
    return sent


def times_of(batches: list[dict[str, Any]], readable_ms: list[list[float]]) -> Times:
    """Return the times of the steps between the moments that were noted."""
    commits: dict[int, list[Commit]] = {}
    for batch in batches:
        readable = [readable_ms[partition][offset] - batch["decided"] for partition, offset in batch["last_offsets"]]
        commits.setdefault(len(readable), []).append(Commit(batch["free"] - batch["decided"], readable))
    return Times(
        # Of others it would count how long they waited for the worker, which is what the simulation has to tell.
        fetch=[batch["handed"] - batch["appended"] for batch in batches if batch["appended"] > batch["asked"]],
        barrier=[batch["passed"] - batch["handed"] for batch in batches],
        commits=commits,
        decide_one=1000 / DECISION_RATE.value,
        follow_one=1000 / FOLLOW_RATE.value,
    )


def storm_pairs(bootstrap: str, presses: int, times: Times) -> list[Pair]:
    """Compare in a storm: how long requests take, and presses."""
    found = storm.run(bootstrap, "storm", presses, presses * STORM_SECONDS, STORM_SECONDS)
    load = Load(storm.REQUESTS_PER_SECOND, presses, 1, PARTITIONS, STORM_SECONDS, evenly=True)
    told = simulate(load, times, SEED)
    what = f"{presses:,} presses/s, 1 worker"
    bounds = Spread.of(LATENCY_BUCKETS_MS[bisect_left(LATENCY_BUCKETS_MS, ms)] for ms in told.presses)
    return [
        Pair(f"{what}: {storm.REQUESTS_PER_SECOND:,} requests/s", Spread.of(told.requests), found.request_appended),
        Pair(f"{what}: press appended - in force", bounds, found.press_in_force_at_most, bounds=True),
    ]


def compared(pairs: list[Pair]) -> Table:
    """Put both side by side."""
    heading = ["load"]
    rows = [[pair.what] for pair in pairs]
    for percentile in PERCENTILES:
        heading += [f"{percentile} simulated", "measured", "factor"]
        for row, pair in zip(rows, pairs, strict=True):
            both = (getattr(pair.simulated, percentile), getattr(pair.measured, percentile))
            row += [f"≤ {ms:,.0f}" if pair.bounds else f"{ms:,.1f}" for ms in both]
            row.append(f"{pair.factor(percentile):.2f}")
    return Table("Simulated and measured, in ms", heading, rows)


def target(when: str, percentile: str, pairs: list[Pair]) -> Target:
    """Say between which factors what is told lies."""
    factors = [pair.factor(percentile) for pair in pairs]
    said = f"{min(factors):.2f} to {max(factors):.2f} times"
    met = all(1 / NEAR <= factor <= NEAR for factor in factors)
    return Target(f"{percentile} simulated {when}, to measured", f"{1 / NEAR:g} to {NEAR:g} times", said, met)


def deployments(times: Times) -> Table:
    """Tell what clients would see of the deployments in docs/capacity.md without a storm, each worker as the noted."""
    rows = []
    for users in USERS:
        load = load_of(
            Settings.from_environment({}),
            users,
            presses_per_day=None,
            requests_per_second=None,
            storm_presses_per_second=0,
            retention_days=30,
        )
        sized, asked = size(load), load.requests_per_second
        told, _ = simulate(Load(asked, 0, sized["workers"], sized["partitions"], TOLD_SECONDS), times, SEED).spreads()
        rows.append(spread_row(f"{users:,} users, {sized['workers']} workers, {asked:,} requests/s", told))
    heading = ["deployment", "p50", "p99", "p99.9", "max", "of"]
    return Table("Simulated, not measured: request appended - decision readable, in ms", heading, rows)
