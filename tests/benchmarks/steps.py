"""Where a decision's time goes.

One worker decides what lies on the topic (as in throughput.py), with the CPU time of each step noted. The same for
what the process spends beside these steps: librdkafka's and RocksDB's own threads, and the rest of Python.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import psutil

from tests.benchmarks.load import deployment, publish_presses, publish_requests
from tests.benchmarks.meter import cpu_seconds
from tests.benchmarks.report import Part, Table
from tests.benchmarks.throughput import BARE, bare_process, decided, watch
from tests.processes import wait_for

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from tests.deployment import Deployment

MODULE = "tests.benchmarks.timed_gate"
PATIENCE_SECONDS = 120.0


def spent_on_steps(made: Deployment, count: int) -> dict[str, float]:
    """Return microseconds of CPU time a request, by step, each without the steps within it."""
    steps_file = made.folder / "steps.json"
    made.environment["STEPS_FILE"] = str(steps_file)
    worker = made.worker(module=MODULE).wait_ready()
    wait_for(lambda: decided(worker) == count, "the requests to be decided", PATIENCE_SECONDS)
    whole = cpu_seconds(psutil.Process(worker.process.pid)) * 1e6 / count
    worker.stop()
    return split({name: ns / 1000 / count for name, ns in json.loads(steps_file.read_text())["spent"].items()}, whole)


def split(spent: Mapping[str, float], whole: float) -> dict[str, float]:
    """Take from each step what the steps within it have spent; what is left of the process is its other threads."""
    steps = {
        "fetch: take records from librdkafka": spent["fetch"],
        "barrier: ask the brokers, wait": spent["barrier"],
        "parse and validate": spent["gather"] - spent["look accounts up"] - spent["look ids up"],
        "look accounts up (RocksDB)": spent["look accounts up"],
        "look ids up (RocksDB)": spent["look ids up"],
        "decide: the rule, the decision's JSON": spent["decide"],
        "produce: hand over to librdkafka": spent["produce"],
        "begin, send offsets, commit": spent["commit"] - spent["produce"],
        "remember ids (RocksDB)": spent["remember ids"],
        "count for metrics": spent["account"] - spent["remember ids"],
        "the rest of the loop": spent["process"] - spent["barrier"] - spent["gather"] - spent["decide"],
    }
    steps["other threads (librdkafka, RocksDB), start of the process"] = whole - sum(steps.values())
    return steps


def spent_by_the_bare_loop(made: Deployment, own: Deployment, count: int) -> float:
    """Return microseconds of CPU time a request of the bare loop, all its threads."""
    published = publish_requests(made, count)
    with bare_process(made, own, count) as process:
        return watch(BARE, own, 1, published, process).cpu_seconds_per_100_000 * 10


def table(steps: Mapping[str, float], bare: float) -> Table:
    """Put the steps below each other."""
    whole = sum(steps.values())
    rows = [[name, f"{spent:.2f}", f"{spent / whole:.0%}"] for name, spent in steps.items()]
    rows += [["all of it", f"{whole:.2f}", "100%"], ["the bare loop, all of it", f"{bare:.2f}", f"{bare / whole:.0%}"]]
    return Table("CPU time of one decision, step by step", ["step", "µs", "of all"], rows)


def measure(bootstrap: str, asked: argparse.Namespace, say: Callable[[str], None]) -> Part:
    """Let the bare loop and a gate that notes its steps decide the same requests."""
    say(f"steps: {asked.requests:,} requests, the bare loop, then the gate")
    with deployment(bootstrap, "bare-in") as made, deployment(bootstrap, "bare-out") as own:
        bare = spent_by_the_bare_loop(made, own, asked.requests)
    with deployment(bootstrap, "steps") as made:
        publish_presses(made)
        publish_requests(made, asked.requests)
        steps = spent_on_steps(made, asked.requests)
    return Part([table(steps, bare)], [], [], {"steps_us": steps, "bare_us": bare})
