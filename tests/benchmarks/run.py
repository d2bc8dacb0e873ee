"""`make bench`: the gate's speed on one broker, side by side with what it is compared to, part by part.

Starts a development broker of its own unless GATE_KAFKA_BOOTSTRAP names one. Stops by itself; everything that it
makes is taken away again. `--help` lists what can be changed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.dev_broker import KAFKA_VERSION, DevBroker, DevBrokerError
from tests.arguments import between
from tests.benchmarks import audit, latency, matrix, recovery, report, simulation, steps, storm, throughput
from tests.benchmarks.load import ACCOUNTS, FROZEN_EACH, PARTITIONS, BenchmarkError
from tests.benchmarks.peers import measure, table

if TYPE_CHECKING:
    from collections.abc import Iterator

REACH_SECONDS = 5.0
INTERRUPTED = 130
# A broker that has just been started compiles as it goes: p50 at 1,000 requests/s fell from 18 to 12 ms in a minute,
# and the first storm left requests waiting twice as long as the second.
WARM_RATE, WARM_SECONDS, WARM_STORM_SECONDS = 1_000, 60, 10
ON_A_WARM_BROKER = {"latency", "storm", "recovery", "simulation"}
# Parts that say themselves what they found, and what of it was to be reached.
PARTS = {
    "steps": steps.measure,
    "matrix": matrix.measure,
    "latency": latency.measure,
    "storm": storm.measure,
    "recovery": recovery.measure,
    "simulation": simulation.measure,
}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description="Benchmarks of the gate.")
    parser.add_argument("--requests", type=between(20_000, 5_000_000), default=300_000, help="per round (%(default)s)")
    parser.add_argument("--rounds", type=between(1, 20), default=3, help="of throughput (%(default)s)")
    parser.add_argument(
        "--matrix-requests", type=between(20_000, 1_000_000), default=300_000, help="of the matrix (%(default)s)"
    )
    parser.add_argument("--matrix-rounds", type=between(1, 5), default=1, help="of the matrix (%(default)s)")
    parser.add_argument(
        "--rates",
        type=between(10, 20_000),
        nargs="+",
        default=[100, 1_000, 10_000],
        metavar="RATE",
        help="requests/s for latency, one after the other (%(default)s)",
    )
    parser.add_argument("--seconds", type=between(5, 120), default=20, help="of latency, at each rate (%(default)s)")
    parser.add_argument("--storm-rate", type=between(100, 30_000), default=10_000, help="presses/s (%(default)s)")
    parser.add_argument("--storm-seconds", type=between(5, 120), default=60, help="of that storm (%(default)s)")
    parser.add_argument(
        "--pour", type=between(10_000, 3_000_000), default=1_000_000, help="presses at once (%(default)s)"
    )
    parser.add_argument(
        "--freezes", type=between(10_000, 3_000_000), default=1_000_000, help="to rebuild (%(default)s)"
    )
    alone = ["throughput", *PARTS, "audit"]
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[*alone, "peers"],
        default=alone,
        metavar="PART",
        help=f"{', '.join(alone)}; peers only so",
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
        results, targets = alone(bootstrap, asked)
        if "peers" in asked.only:
            peers, beside = beside_peers(bootstrap, asked)
            results, targets = results | peers, [*targets, *beside]
    if len(asked.only) > 1 and targets:
        report.target_table(targets).show()
    command = " ".join(["python", "-m", "tests.benchmarks.run", *sys.argv[1:]])
    print(f"took {time.monotonic() - began_at:.0f} s; again with: make bench{_make_arguments()}")
    if asked.json is not None:
        asked.json.write_text(json.dumps({"machine": where, "command": command, **results}, indent=2) + "\n")


def beside_peers(bootstrap: str, asked: argparse.Namespace) -> tuple[dict[str, Any], list[report.Target]]:
    """Measure gate and peers, print Markdown, return every figure and the targets."""
    found = measure.measure(bootstrap, asked.requests, asked.rounds, say)
    print(table.markdown(found) + "\n")
    return {"peers": asdict(found)}, table.targets(found)


def alone(bootstrap: str, asked: argparse.Namespace) -> tuple[dict[str, Any], list[report.Target]]:
    """Measure the gate, print each part's tables when it is done, return every figure and the targets."""
    runs: list[throughput.Run] = []
    audited = None
    parts: dict[str, report.Part] = {}
    if "throughput" in asked.only:
        runs, published = throughput.measure(bootstrap, asked.requests, asked.rounds, say, signed=asked.signed)
        if asked.faust:
            runs += throughput.measure_faust(bootstrap, asked.rounds, say)
    if runs:
        print(
            f"{asked.requests:,} requests of {published.mean_bytes:.0f} bytes in {PARTITIONS} partitions, "
            f"{ACCOUNTS // FROZEN_EACH:,} of {ACCOUNTS:,} accounts frozen; {asked.rounds} rounds, taking turns\n"
        )
        report.throughput_table(runs).show()
        print("\n".join(report.ratio_lines(runs)) + "\n")
    for name in filter(asked.only.__contains__, PARTS):
        if name in ON_A_WARM_BROKER and ON_A_WARM_BROKER.isdisjoint(parts):
            warm_up(bootstrap, asked.storm_rate)
        parts[name] = PARTS[name](bootstrap, asked, say)
        parts[name].show()
    if "audit" in asked.only:
        audited = audit.measure(bootstrap, asked.requests, say)
        print(f"Audit: {audited.sentence()}\n")
    targets = [*report.throughput_targets(runs), *chain.from_iterable(part.targets for part in parts.values())]
    return {**report.as_json(runs, audited), **{name: part.as_json() for name, part in parts.items()}}, targets


def warm_up(bootstrap: str, storm_rate: int) -> None:
    """Have the broker do what it is then measured at; what comes of it counts for nothing."""
    say(f"warming the broker up: {WARM_RATE:,} requests/s for {WARM_SECONDS} s, a storm of {WARM_STORM_SECONDS} s")
    latency.trial(bootstrap, WARM_RATE, 1, WARM_SECONDS)
    storm.run(bootstrap, "warm-up", storm_rate, storm_rate * WARM_STORM_SECONDS, WARM_STORM_SECONDS)


def _make_arguments() -> str:
    return f' ARGS="{" ".join(sys.argv[1:])}"' if sys.argv[1:] else ""


def main() -> int:
    """Run; return the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ctrl-C does: broker and workers are ended
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
