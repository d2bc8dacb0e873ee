"""Latency at fixed rates, open loop, and at four fifths of what the same machine does at most with a sender beside."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tests.benchmarks.load import BenchmarkError, deployment
from tests.benchmarks.matrix import shared
from tests.benchmarks.meter import PRESS_IN_FORCE, Meter, Spent, Spread, buckets, spread_of_buckets, worst
from tests.benchmarks.report import Part, Table, Target, spread_row
from tests.benchmarks.throughput import decided
from tests.benchmarks.traffic import WARM_UP_SECONDS, Flow, Traffic
from tests.processes import wait_for

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from tests.processes import Worker

PROBES_PER_SECOND = 10
# More than any gate decides here: what comes out is the most there is.
FLOOD_PER_SECOND = 150_000
FLOOD_SECONDS = 10
LOAD_SHARE = 0.8
FULL_LOAD_WORKERS = 2
# p50 and p99 (ms) to be reached at a rate.
REQUEST_TARGETS = {100: (5, 20), 1_000: (10, 40), 10_000: (50, 150)}
IN_FORCE_TARGET_MS = 100


@dataclass(frozen=True, slots=True)
class Found:
    """One trial: latencies in ms, and what the workers spent meanwhile."""

    rate: int
    workers: int
    request_appended: Spread
    request_due: Spread
    press_acknowledged: Spread
    # Of the worker on which it was worst: bounds of its histogram, below which the percentiles lie.
    press_in_force_at_most: Spread
    sender_late_ms: float
    decisions: int
    spent: Spent


def measure(bootstrap: str, asked: argparse.Namespace, say: Callable[[str], None]) -> Part:
    """Run one worker at each rate, then one and two at four fifths of the most that one does."""
    most, flood = flood_rate(bootstrap)
    full = round(most * LOAD_SHARE)
    say(f"latency: at most {most:,} decisions/s with a sender beside, so {full:,} requests/s are full load")
    found = []
    for rate, workers in [*((rate, 1) for rate in asked.rates), (full, 1), (full, FULL_LOAD_WORKERS)]:
        say(f"latency: {rate:,} requests/s and {PROBES_PER_SECOND} presses/s on {workers} workers, {asked.seconds} s")
        found.append(trial(bootstrap, rate, workers, asked.seconds))
    raw = {"most_decisions_per_second": most, "flood": asdict(flood), "trials": [asdict(one) for one in found]}
    return Part([*map(table, found), cost_table(found)], targets(found), [note(most)], raw)


def flood_rate(bootstrap: str) -> tuple[int, Spent]:
    """Return how many decisions one worker makes each second while more requests are sent than it can decide."""
    with deployment(bootstrap, "flood") as made:
        worker = made.worker().wait_ready()
        meter = Meter([worker])
        traffic = Traffic(made)
        with traffic.running(Flow.of_requests(made, FLOOD_PER_SECOND, FLOOD_SECONDS)):
            traffic.wait_decided(1)
            traffic.stop.wait(FLOOD_SECONDS / 3)
            before, began_at, spent = traffic.decided(), time.monotonic(), meter.cpu_seconds()
            traffic.stop.wait(FLOOD_SECONDS / 2)
            seconds = time.monotonic() - began_at
            most = round((traffic.decided() - before) / seconds)
            return most, Spent(seconds, meter.cpu_seconds() - spent, meter.resident_mb())


def trial(bootstrap: str, rate: int, workers: int, seconds: int) -> Found:
    """Let requests come at that rate, and a press and its request now and then."""
    with deployment(bootstrap, "latency") as made:
        running = [made.worker() for _ in range(workers)]
        for worker in running:
            worker.wait_ready()
        wait_for(lambda: shared(running), "the workers to share the partitions")
        meter, traffic = Meter(running), Traffic(made)
        flow = Flow.of_requests(made, rate, WARM_UP_SECONDS + seconds)
        with traffic.running(flow, probes_per_second=PROBES_PER_SECOND, seconds=WARM_UP_SECONDS + seconds) as sending:
            traffic.stop.wait(max(0.0, traffic.starts_at + WARM_UP_SECONDS - time.time()))
            before = [buckets(worker, PRESS_IN_FORCE) for worker in running]
            began_at, spent, done = time.monotonic(), meter.cpu_seconds(), traffic.decided()
            traffic.join(sending, 2 * (WARM_UP_SECONDS + seconds) + 30)
            traffic.wait_decided(flow.count + len(traffic.probes))
            used = Spent(time.monotonic() - began_at, meter.cpu_seconds() - spent, meter.resident_mb())
        in_force = [
            spread_of_buckets(earlier, buckets(worker, PRESS_IN_FORCE))
            for worker, earlier in zip(running, before, strict=True)
        ]
        check(running, flow.count, len(traffic.probes))
        appended, due = traffic.request_spreads(rate)
        decisions = traffic.decided() - done
        acknowledged = traffic.probe_spread()
        return Found(rate, workers, appended, due, acknowledged, worst(in_force), flow.latest_ms, decisions, used)


def check(workers: list[Worker], approved: int, rejected: int) -> None:
    """Refuse figures with a wrong decision: what was asked upon an acknowledged press is rejected, nothing else."""
    wait_for(lambda: sum(map(decided, workers)) == approved + rejected, "the workers to have counted their decisions")
    found = sum(w.metric('gate_decisions_total{decision="rejected",reason="account_frozen"}') for w in workers)
    if found != rejected:
        message = f"{found:,.0f} requests were rejected, {rejected:,} were sent after an acknowledged press"
        raise BenchmarkError(message)


def name_of(found: Found) -> str:
    """Say which trial it was."""
    return f"{found.rate:,} requests/s, {found.workers} worker{'s' if found.workers > 1 else ''}"


def table(found: Found) -> Table:
    """Put a trial's latencies below each other."""
    rows = [
        spread_row("request appended - decision readable", found.request_appended),
        spread_row("request due to be sent - decision readable", found.request_due),
        spread_row("press acknowledged - rejection readable, of a request sent upon it", found.press_acknowledged),
        spread_row("press appended - in force on every worker, by its histogram", found.press_in_force_at_most, "≤ "),
    ]
    title = f"Latency, open loop: {name_of(found)}, {PROBES_PER_SECOND} presses/s, in ms"
    return Table(title, ["from - to", "p50", "p99", "p99.9", "max", "of"], rows)


def cost_table(found: list[Found]) -> Table:
    """Show what the workers spent, and whether the sender kept up."""
    rows = [
        [
            name_of(one),
            f"{one.spent.cores:.2f}",
            f"{one.spent.per(one.decisions):.2f}",
            f"{one.spent.resident_mb:.0f}",
            f"{one.sender_late_ms:.1f}",
        ]
        for one in found
    ]
    heading = ["trial", "cores busy", "CPU s / 100,000", "resident MB", "sender late, ms at most"]
    return Table("What the workers spent", heading, rows)


def targets(found: list[Found]) -> list[Target]:
    """Hold the trials against what was to be reached."""
    reached = []
    for one in found:
        wanted = REQUEST_TARGETS.get(one.rate)
        if wanted is not None and one.workers == 1:
            p50, p99 = one.request_appended.p50, one.request_appended.p99
            what = f"request append - decision readable at {one.rate:,}/s"
            limits = f"p50 ≤ {wanted[0]} ms, p99 ≤ {wanted[1]} ms"
            met = p50 <= wanted[0] and p99 <= wanted[1]
            reached.append(Target(what, limits, f"{p50:.1f} ms, {p99:.1f} ms", met))
    p99 = found[-1].press_in_force_at_most.p99
    limit = f"p99 ≤ {IN_FORCE_TARGET_MS} ms"
    what = "press append - in force on every worker, full load"
    reached.append(Target(what, limit, f"≤ {p99:.0f} ms", p99 <= IN_FORCE_TARGET_MS))
    return reached


def note(most: int) -> str:
    """Say what the figures rest on."""
    return (
        "Append times are the broker's, in whole milliseconds; it shares this machine's clock with the reader. "
        f"Full load is {LOAD_SHARE:.0%} of {most:,} decisions/s: the most that one worker did in this run while "
        "requests were sent faster than it decides, sender and reader on the same cores."
    )
