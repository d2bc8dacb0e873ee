"""Tables for a terminal or a file, JSON for machines."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from statistics import median
from typing import TYPE_CHECKING, Any

import confluent_kafka
import psutil
from rich.console import Console
from rich.table import Table as RichTable

from tests.benchmarks.throughput import BARE, FAUST, FAUST_REQUESTS, GATE, SIGNED

if TYPE_CHECKING:
    from tests.benchmarks.audit import Audited
    from tests.benchmarks.latency import Latencies, Spread
    from tests.benchmarks.throughput import Run


@dataclass
class Table:
    """A title, a heading and rows of text; the first column reads to the left, the others to the right."""

    title: str
    heading: list[str]
    rows: list[list[str]] = field(default_factory=list)

    def show(self) -> None:
        """Print it: drawn on a terminal, in plain columns elsewhere."""
        if sys.stdout.isatty():
            drawn = RichTable(title=self.title, title_justify="left")
            for number, column in enumerate(self.heading):
                drawn.add_column(column, justify="right" if number else "left")
            for row in self.rows:
                drawn.add_row(*row)
            Console().print(drawn)
            return
        lines = [self.heading, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.heading))]
        print(self.title)
        for line in lines:
            cells = [
                cell.rjust(width) if number else cell.ljust(width)
                for number, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            print("  " + "  ".join(cells).rstrip())
        print()


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
        if all((contender, number) in rates for contender in (one, other) for number in rounds)
    }


def ratio_lines(runs: list[Run]) -> list[str]:
    """Say how the contenders compare; machines differ less in that than in the rates."""
    return [
        f"{name}: {median(found):.2f} (median of {', '.join(f'{ratio:.2f}' for ratio in found)})"
        for name, found in ratios(runs).items()
    ]


def latency_table(found: Latencies, rate: int, presses: int) -> Table:
    """Put the latencies below each other, in milliseconds."""
    table = Table(
        f"Latency, open loop: {rate} requests/s and {presses} presses/s, in ms",
        ["from - to", "p50", "p99", "max", "of"],
    )
    table.rows = [
        _row("request appended - decision readable", found.request_appended),
        _row("request due to be sent - decision readable", found.request_due),
        _row("press acknowledged - rejection readable, of a request sent upon it", found.press_acknowledged),
        _row("press appended - in force on the worker, by its own histogram", found.press_in_force_at_most, "<= "),
    ]
    return table


def _row(name: str, spread: Spread, prefix: str = "") -> list[str]:
    digits = 0 if prefix else 1
    times = [f"{prefix}{time:,.{digits}f}" for time in (spread.p50, spread.p99, spread.max)]
    return [name, *times, f"{spread.count:,}"]


def as_json(runs: list[Run], found: Latencies | None, audited: Audited | None) -> dict[str, Any]:
    """Return everything that was measured."""
    return {
        "throughput": {"runs": [asdict(run) for run in runs], "ratios_by_round": ratios(runs)} if runs else None,
        "latency_ms": asdict(found) if found else None,
        "audit": asdict(audited) if audited else None,
    }
