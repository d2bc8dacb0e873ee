"""Everybody presses: so many presses a second for a minute, then a million as fast as they come; requests go on."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tests.benchmarks.latency import check
from tests.benchmarks.load import deployment
from tests.benchmarks.matrix import announced
from tests.benchmarks.meter import PRESS_IN_FORCE, Meter, Spent, Spread, buckets, spread_of_buckets
from tests.benchmarks.report import Part, Table, Target, at_most, spread_row
from tests.benchmarks.traffic import WARM_UP_SECONDS, Flow, Traffic
from tests.processes import wait_for

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

REQUESTS_PER_SECOND = 1_000
# Requests go on for so long after a storm without a rate, whose length nobody knows before.
POUR_SECONDS = 60
PATIENCE_SECONDS = 240.0
IN_FORCE_TARGET_MS = 1_000
# Decisions that go on never stop for longer than this; the target names no figure of its own.
GAP_TARGET_MS = 1_000
NOTE = (
    f"One worker, {REQUESTS_PER_SECOND:,} requests/s all the while. A gap is the longest time without a new decision. "
    "CPU per 100,000 decisions is of all that the worker did, following and announcing presses too."
)


@dataclass(frozen=True, slots=True)
class Storm:
    """What a storm did to a worker; times in ms where not said otherwise."""

    name: str
    presses: int
    publish_seconds: float
    # From the first press sent to the last in force, and announced on freeze-status.
    in_force_seconds: float
    announced_seconds: float
    # Bounds of the worker's histogram, below which the percentiles lie.
    press_in_force_at_most: Spread
    request_appended: Spread
    longest_gap_ms: float
    sender_late_ms: float
    decisions: int
    spent: Spent


def measure(bootstrap: str, asked: argparse.Namespace, say: Callable[[str], None]) -> Part:
    """Run both storms, each against a worker of its own."""
    rate, seconds, pour = asked.storm_rate, asked.storm_seconds, asked.pour
    say(f"storm: {rate:,} presses/s for {seconds} s")
    steady = run(bootstrap, f"{rate:,} presses/s for {seconds} s", rate, rate * seconds, seconds)
    say(f"storm: {pour:,} presses as fast as they come")
    storms = [steady, run(bootstrap, f"{pour:,} presses at once", None, pour, POUR_SECONDS)]
    return Part(
        [table(one) for one in storms] + [cost_table(storms)],
        targets(steady),
        [NOTE],
        {"storms": [asdict(one) for one in storms]},
    )


def run(bootstrap: str, name: str, rate: int | None, presses: int, seconds: int) -> Storm:
    """Let presses come while requests do."""
    with deployment(bootstrap, "storm") as made:
        worker = made.worker().wait_ready()
        meter, traffic = Meter([worker]), Traffic(made)
        requests = Flow.of_requests(made, REQUESTS_PER_SECOND, WARM_UP_SECONDS + seconds)
        storm = Flow.of_presses(made, rate, presses)
        with traffic.running(requests) as sending:
            traffic.stop.wait(max(0.0, traffic.starts_at + WARM_UP_SECONDS - time.time()))
            before, spent, done = buckets(worker, PRESS_IN_FORCE), meter.cpu_seconds(), traffic.decided()
            began_at = time.time()
            storm.run(made, began_at, traffic.stop)
            wait_for(
                lambda: traffic.failures or worker.metric("gate_frozen_accounts") >= presses,
                "the presses to be in force",
                PATIENCE_SECONDS,
            )
            in_force_seconds = time.time() - began_at
            wait_for(lambda: announced(worker) >= presses, "the presses to be announced", PATIENCE_SECONDS)
            announced_seconds = time.time() - began_at
            traffic.join(sending, PATIENCE_SECONDS)
            traffic.wait_decided(requests.count, PATIENCE_SECONDS)
            used = Spent(time.time() - began_at, meter.cpu_seconds() - spent, meter.resident_mb())
        check([worker], requests.count, 0)
        appended, _ = traffic.request_spreads(REQUESTS_PER_SECOND)
        return Storm(
            name,
            presses,
            storm.seconds,
            in_force_seconds,
            announced_seconds,
            spread_of_buckets(before, buckets(worker, PRESS_IN_FORCE)),
            appended,
            traffic.longest_gap_ms(from_ms=began_at * 1000),
            max(storm.latest_ms, requests.latest_ms),
            traffic.decided() - done,
            used,
        )


def table(storm: Storm) -> Table:
    """Put a storm's latencies below each other."""
    rows = [
        spread_row("press appended - in force on the worker, by its histogram", storm.press_in_force_at_most, "≤ "),
        spread_row("request appended - decision readable", storm.request_appended),
    ]
    return Table(f"Storm: {storm.name}, in ms", ["from - to", "p50", "p99", "p99.9", "max", "of"], rows)


def cost_table(storms: list[Storm]) -> Table:
    """Show how far the worker kept up, and what it spent."""
    heading = [
        "storm", "published, s", "in force, s", "announced, s", "longest gap, ms", "cores busy", "CPU s / 100,000",
        "resident MB", "sender late, ms at most",
    ]  # fmt: skip
    rows = [
        [
            one.name,
            f"{one.publish_seconds:.1f}",
            f"{one.in_force_seconds:.1f}",
            f"{one.announced_seconds:.1f}",
            f"{one.longest_gap_ms:,.0f}",
            f"{one.spent.cores:.2f}",
            f"{one.spent.per(one.decisions):.2f}",
            f"{one.spent.resident_mb:.0f}",
            f"{one.sender_late_ms:,.1f}",
        ]
        for one in storms
    ]
    return Table("How the worker kept up", heading, rows)


def targets(storm: Storm) -> list[Target]:
    """Hold the steady storm against what was to be reached; for all presses at once nothing was asked."""
    in_force = storm.press_in_force_at_most.p99
    return [
        at_most(f"{storm.name}: press - in force, p99", IN_FORCE_TARGET_MS, in_force, "ms", bound=True),
        at_most(f"{storm.name}: decisions go on, longest gap", GAP_TARGET_MS, storm.longest_gap_ms, "ms"),
    ]
