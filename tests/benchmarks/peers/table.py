"""The peers' figures as Markdown: how fast, and what is kept."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from tests.benchmarks.peers.contenders import GATE, PEERS
from tests.benchmarks.report import Target, at_least
from tests.benchmarks.throughput import BARE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.peers.measure import Found
    from tests.benchmarks.throughput import Run

# What the gate's rate was to be, by the peer's.
TARGETS = {"Kafka Streams, exactly once": 1.5, "Quix Streams, exactly once": 3, "plain Faust": 50}


def markdown(found: Found) -> str:
    """Return both tables, and who failed."""
    parts = ["\n".join(_speeds(found)), "\n".join(_kept(found))]
    if found.failures:
        parts.append("Failed:\n\n" + "\n".join(f"- {failure.splitlines()[0]}" for failure in found.failures))
    return "\n\n".join(parts)


def _speeds(found: Found) -> Iterator[str]:
    yield "| | requests | decisions/s: median (least to most) | the gate to it | CPU s / 100,000 | resident MB |"
    yield "|---|---|---|---|---|---|"
    for name in (BARE, GATE.name, *(peer.name for peer in PEERS)):
        runs = [run for run in found.runs if run.contender == name]
        if runs:
            rates = [run.decisions_per_second for run in runs]
            times = ratios(found.runs, name)
            yield (
                f"| {name} | {runs[0].requests:,} | {median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) "
                f"| {median(times):.2f} ({min(times):.2f} to {max(times):.2f}) "
                f"| {median(run.cpu_seconds_per_100_000 for run in runs):.2f} "
                f"| {median(run.resident_mb for run in runs):.0f} |"
            )


def targets(found: Found) -> list[Target]:
    """Hold the gate against those peers that it was to be held against."""
    return [
        at_least(f"decisions/s to {name}", wanted, median(times))
        for name, wanted in TARGETS.items()
        if (times := ratios(found.runs, name))
    ]


def ratios(runs: list[Run], other: str) -> list[float]:
    """Return the gate's rate by another's of the same round, for each round in which both ran."""
    rates = {(run.contender, run.round): run.decisions_per_second for run in runs}
    rounds = sorted({run.round for run in runs})
    return [rates[GATE.name, number] / rates[other, number] for number in rounds if (other, number) in rates]


def _kept(found: Found) -> Iterator[str]:
    yield (
        "| | promises | frozen before the start: rejected | approved after an acknowledged press, keyed alike "
        "| … otherwise | decided twice, one kill -9 | never decided |"
    )
    yield "|---|---|---|---|---|---|---|"
    frozen = {each.contender: f"{each.rejected:,} of {each.of:,}" for each in found.frozen}
    promises = {contender.name: contender.promise for contender in (GATE, *PEERS)}
    for kept in found.kept:
        of = f"of {kept.presses_of_each_kind:,}"
        ended = ", it ended by itself" if kept.ended_by_itself else ""
        yield (
            f"| {kept.contender} | {promises[kept.contender]} | {frozen.get(kept.contender, 'failed')} "
            f"| {kept.approved_where_partitions_are_chosen_alike:,} {of} "
            f"| {kept.approved_where_partitions_are_chosen_otherwise:,} {of} "
            f"| {kept.decided_twice:,} of {kept.requests:,} | {kept.never_decided:,} of {kept.requests:,}{ended} |"
        )
