"""Tables for a terminal or a file, JSON for machines."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from statistics import median
from typing import TYPE_CHECKING, Any

import confluent_kafka
import psutil

from tests.benchmarks.throughput import BARE, FAUST, FAUST_REQUESTS, GATE, SIGNED

if TYPE_CHECKING:
    from tests.benchmarks.audit import Audited
    from tests.benchmarks.meter import Spread
    from tests.benchmarks.throughput import Run

BARE_TARGET = 0.7


@dataclass
class Table:
    """A title, a heading and rows of text; the first column reads to the left, the others to the right."""

    title: str
    heading: list[str]
    rows: list[list[str]] = field(default_factory=list)

    def show(self) -> None:
        """Print it in Markdown, aligned, so that it reads as well on a terminal."""
        lines = [self.heading, *self.rows]
        widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(self.heading))]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        print(f"**{self.title}**\n")
        for line in (self.heading, rule, *self.rows):
            cells = [
                cell.rjust(width) if number else cell.ljust(width)
                for number, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            print(f"| {' | '.join(cells)} |")
        print()


@dataclass(frozen=True, slots=True)
class Target:
    """What was to be reached, what was, and whether that is enough."""

    what: str
    wanted: str
    measured: str
    met: bool


def at_most(what: str, limit: float, measured: float, unit: str, *, bound: bool = False) -> Target:
    """Return a target that is met from below; of a `bound` no more is known than that it was not passed."""
    digits = 0 if measured >= 100 or bound else 1
    said = f"{'≤ ' if bound else ''}{measured:,.{digits}f} {unit}"
    return Target(what, f"≤ {limit:,g} {unit}", said, measured <= limit)


def at_least(what: str, limit: float, measured: float) -> Target:
    """Return a target that a ratio meets from above."""
    return Target(what, f"≥ {limit:g}", f"{measured:.2f}", measured >= limit)


def target_table(targets: list[Target]) -> Table:
    """Put targets below each other, each with what was measured."""
    rows = [[one.what, one.wanted, one.measured, "met" if one.met else "not met"] for one in targets]
    return Table("Targets", ["what", "target", "measured", ""], rows)


@dataclass
class Part:
    """What a part of the benchmarks found: for people, and as it was measured."""

    tables: list[Table]
    targets: list[Target]
    notes: list[str]
    raw: dict[str, Any]

    def show(self) -> None:
        """Print everything; each target with what was measured."""
        for table in self.tables:
            table.show()
        for note in self.notes:
            print(f"{note}\n")
        if self.targets:
            target_table(self.targets).show()

    def as_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {**self.raw, "targets": [asdict(one) for one in self.targets]}


def machine(kafka: str) -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "load_1_minute_before": round(os.getloadavg()[0], 2),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "kafka": kafka,
        "confluent_kafka": version("confluent-kafka"),
        "librdkafka": confluent_kafka.libversion()[0],
        "faust_streaming": version("faust-streaming"),
    }


def throughput_table(runs: list[Run]) -> Table:
    """Put the contenders side by side."""
    table = Table(
        "Throughput, closed loop: decisions/s as a read_committed reader sees the second half arrive",
        ["contender", "median", "min", "max", "CPU s / 100,000", "resident MB"],
    )
    for contender in (BARE, GATE, SIGNED, FAUST):
        own = [run for run in runs if run.contender == contender]
        if own:
            rates = [run.decisions_per_second for run in own]
            name = f"{contender} ({FAUST_REQUESTS:,} requests)" if contender == FAUST else contender
            cpu = median(run.cpu_seconds_per_100_000 for run in own)
            resident = median(run.resident_mb for run in own)
            rounded = [f"{rate:,.0f}" for rate in (median(rates), min(rates), max(rates))]
            table.rows.append([name, *rounded, f"{cpu:.2f}", f"{resident:.0f}"])
    return table


def ratios(runs: list[Run]) -> dict[str, list[float]]:
    """Return one rate by another of the same round, round by round; each pair says what its difference costs."""
    rates = {(run.contender, run.round): run.decisions_per_second for run in runs}
    rounds = sorted({run.round for run in runs})
    return {
        f"{one} / {other}": [rates[one, number] / rates[other, number] for number in rounds]
        for one, other in ((GATE, BARE), (SIGNED, GATE), (GATE, FAUST))
        if rounds and all((contender, number) in rates for contender in (one, other) for number in rounds)
    }


def throughput_targets(runs: list[Run]) -> list[Target]:
    """Hold the gate against the bare loop."""
    found = ratios(runs).get(f"{GATE} / {BARE}")
    return [at_least("decisions/s to the bare loop", BARE_TARGET, median(found))] if found else []


def ratio_lines(runs: list[Run]) -> list[str]:
    """Say how the contenders compare; machines differ less in that than in the rates."""
    return [
        f"{name}: {median(found):.2f} (median of {', '.join(f'{ratio:.2f}' for ratio in found)})"
        for name, found in ratios(runs).items()
    ]


def spread_row(name: str, spread: Spread, prefix: str = "") -> list[str]:
    """Return a row of percentiles in ms; `prefix` says that they are bounds."""
    digits = 0 if prefix else 1
    times = (spread.p50, spread.p99, spread.p999, spread.max)
    return [name, *(f"{prefix}{time:,.{digits}f}" for time in times), f"{spread.count:,}"]


def as_json(runs: list[Run], audited: Audited | None) -> dict[str, Any]:
    """Return what throughput and audit measured."""
    return {
        "throughput": {"runs": [asdict(run) for run in runs], "ratios_by_round": ratios(runs)} if runs else None,
        "audit": asdict(audited) if audited else None,
    }
