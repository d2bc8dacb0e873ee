"""`make bench`: throughput and latency of the gate, on one broker, side by side with what it is compared to; the audit.

Starts a development broker of its own unless GATE_KAFKA_BOOTSTRAP names one. Stops by itself; everything that it
makes is taken away again. `--help` lists what can be changed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.dev_broker import KAFKA_VERSION, DevBroker, DevBrokerError
from tests.arguments import between
from tests.benchmarks import audit, latency, report, throughput
from tests.benchmarks.load import ACCOUNTS, FROZEN_EACH, PARTITIONS, BenchmarkError
from tests.benchmarks.peers import measure, table

if TYPE_CHECKING:
    from collections.abc import Iterator

REACH_SECONDS = 5.0
INTERRUPTED = 130


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description="Benchmarks of the gate.")
    parser.add_argument("--requests", type=between(20_000, 5_000_000), default=300_000, help="per round (%(default)s)")
    parser.add_argument("--rounds", type=between(1, 20), default=3, help="of throughput (%(default)s)")
    parser.add_argument("--rate", type=between(1, 5_000), default=200, help="requests/s for latency (%(default)s)")
    parser.add_argument("--seconds", type=between(5, 600), default=20, help="of latency (%(default)s)")
    parser.add_argument(
        "--only", choices=["throughput", "latency", "audit", "peers"], help="leave the others out; peers only so"
    )
    parser.add_argument("--signed", action="store_true", help="also a gate that signs its decisions")
    parser.add_argument("--faust", action="store_true", help="also a plain Faust app, as a control")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every figure there, too")
    asked = parser.parse_args()
    if asked.json is not None and not asked.json.parent.is_dir():
        parser.error(f"there is no folder {asked.json.parent}")
    return asked


@contextmanager
def broker() -> Iterator[tuple[str, str]]:
    """Return the address of a broker that answers, and what it is."""
    named = os.environ.get("GATE_KAFKA_BOOTSTRAP")
    if named:
        AdminClient({"bootstrap.servers": named, "log_level": 0}).list_topics(timeout=REACH_SECONDS)
        yield named, "as GATE_KAFKA_BOOTSTRAP names it"
        return
    with tempfile.TemporaryDirectory(prefix="gate-bench-kafka-") as folder, DevBroker(Path(folder)) as own:
        yield own.bootstrap, f"{KAFKA_VERSION}, one node on this machine"


def say(line: str) -> None:
    """Tell how far it is; the results alone go to standard output."""
    print(f"bench: {line}", file=sys.stderr, flush=True)


def bench(asked: argparse.Namespace) -> None:
    """Measure and show."""
    began_at = time.monotonic()
    with broker() as (bootstrap, kafka):
        where = report.machine(kafka)
        print(", ".join(f"{name} {value}" for name, value in where.items()) + "\n", flush=True)
        results = beside_peers(bootstrap, asked) if asked.only == "peers" else alone(bootstrap, asked)
    command = " ".join(["python", "-m", "tests.benchmarks.run", *sys.argv[1:]])
    print(f"took {time.monotonic() - began_at:.0f} s; again with: make bench{_make_arguments()}")
    if asked.json is not None:
        asked.json.write_text(json.dumps({"machine": where, "command": command, **results}, indent=2) + "\n")


def beside_peers(bootstrap: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Measure gate and peers, print Markdown, return every figure."""
    found = measure.measure(bootstrap, asked.requests, asked.rounds, say)
    print(table.markdown(found) + "\n")
    return {"peers": asdict(found)}


def alone(bootstrap: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Measure the gate, print tables, return every figure."""
    runs: list[throughput.Run] = []
    found = audited = None
    if asked.only in {None, "throughput"}:
        runs, published = throughput.measure(bootstrap, asked.requests, asked.rounds, say, signed=asked.signed)
        if asked.faust:
            runs += throughput.measure_faust(bootstrap, asked.rounds, say)
    if asked.only in {None, "latency"}:
        found = latency.measure(bootstrap, asked.rate, asked.seconds, say)
    if asked.only in {None, "audit"}:
        audited = audit.measure(bootstrap, asked.requests, say)
    if runs:
        print(
            f"{asked.requests:,} requests of {published.mean_bytes:.0f} bytes in {PARTITIONS} partitions, "
            f"{ACCOUNTS // FROZEN_EACH:,} of {ACCOUNTS:,} accounts frozen; {asked.rounds} rounds, taking turns\n"
        )
        report.throughput_table(runs).show()
        print("\n".join(report.ratio_lines(runs)) + "\n")
    if found is not None:
        report.latency_table(found, asked.rate, latency.PRESSES_PER_SECOND).show()
        print("Append times are the broker's, in whole milliseconds; it shares this machine's clock with the reader.")
        print(f"Meanwhile the worker used {found.cpu_share:.0%} of a core and {found.resident_mb:.0f} MB.\n")
    if audited is not None:
        print(f"Audit: {audited.sentence()}\n")
    return report.as_json(runs, found, audited)


def _make_arguments() -> str:
    return f' ARGS="{" ".join(sys.argv[1:])}"' if sys.argv[1:] else ""


def main() -> int:
    """Run; return the exit code."""
    try:
        bench(arguments())
    except KeyboardInterrupt:
        return INTERRUPTED
    except KafkaException as exception:
        say(f"Kafka: {exception.args[0].str()}")
        return 3
    except (AssertionError, BenchmarkError, DevBrokerError) as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
