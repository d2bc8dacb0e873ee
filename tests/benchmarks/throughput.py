"""Throughput, closed loop: the records lie on the topic, a contender decides them at its own pace, a reader watches."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from schemas import withdrawal_decision, withdrawal_request
from tests.benchmarks.load import (
    BenchmarkError,
    Published,
    deployment,
    publish_presses,
    publish_requests,
    read_arrivals,
)
from tests.benchmarks.meter import cpu_seconds
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.deployment import Deployment
    from tests.processes import Worker

BARE, GATE, SIGNED, FAUST = "bare loop", "gate", "gate, signing", "plain Faust"
FAUST_REQUESTS = 20_000
FAUST_MODULE = "tests.benchmarks.plain_faust"
SIGNING_KEY = f"bench {'5a' * 32}\n"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Run:
    """One contender in one round, in steady state: over the second half of the decisions."""

    contender: str
    round: int
    requests: int
    decisions_per_second: float
    cpu_seconds_per_100_000: float
    resident_mb: float


def measure(
    bootstrap: str, requests: int, rounds: int, say: Callable[[str], None], *, signed: bool
) -> tuple[list[Run], Published]:
    """Let bare loop and gate decide the same records, each in its own process; who begins alternates.

    A gate that signs decides them on topics of its own, at the end of each round.
    """
    runs: list[Run] = []
    for number in range(1, rounds + 1):
        with deployment(bootstrap, f"round-{number}") as made:
            say(f"round {number} of {rounds}: publishing {requests:,} requests")
            publish_presses(made)
            published = publish_requests(made, requests)
            contenders = [run_bare, run_gate] if number % 2 else [run_gate, run_bare]
            for contender in contenders:
                run = contender(made, number, published)
                say(f"round {number} of {rounds}: {run.contender} {run.decisions_per_second:,.0f} decisions/s")
                runs.append(run)
        if signed:
            run = run_signed(bootstrap, number, requests)
            say(f"round {number} of {rounds}: {run.contender} {run.decisions_per_second:,.0f} decisions/s")
            runs.append(run)
    return runs, published


def measure_faust(bootstrap: str, rounds: int, say: Callable[[str], None]) -> list[Run]:
    """Let the plain Faust app decide fewer of the same records, on topics of its own."""
    runs = []
    for number in range(1, rounds + 1):
        with deployment(bootstrap, f"faust-{number}") as made:
            publish_presses(made)
            published = publish_requests(made, FAUST_REQUESTS)
            worker = made.worker(module=FAUST_MODULE)
            runs.append(watch(FAUST, made, number, published, worker.process))
            say(f"round {number} of {rounds}: {FAUST} {runs[-1].decisions_per_second:,.0f} decisions/s")
    return runs


def run_bare(made: Deployment, number: int, published: Published) -> Run:
    """Run the bare loop once over the requests; its decisions go to topics of its own, made like the gate's."""
    with deployment(made.bootstrap, f"bare-{number}") as own, bare_process(made, own, published.requests) as process:
        return watch(BARE, own, number, published, process)


@contextmanager
def bare_process(made: Deployment, own: Deployment, count: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start the bare loop; it waits for the end of its standard input when it is done."""
    topics = [made.topic(withdrawal_request.TOPIC), own.topic(withdrawal_decision.TOPIC)]
    command = [sys.executable, "-m", "tests.benchmarks.bare", made.bootstrap, *topics, str(count)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run_gate(made: Deployment, number: int, published: Published) -> Run:
    """Run one worker over the requests, and check that it decided each of them, and rightly."""
    worker = made.worker()
    run = watch(GATE, made, number, published, worker.process)
    wait_for(lambda: decided(worker) == published.requests, "the worker to have counted its decisions")
    rejected = worker.metric('gate_decisions_total{decision="rejected",reason="account_frozen"}')
    if rejected != published.rejections:
        message = f"the gate rejected {rejected:,.0f} requests, {published.rejections:,} came from frozen accounts"
        raise BenchmarkError(message)
    worker.stop()
    return run


def run_signed(bootstrap: str, number: int, requests: int) -> Run:
    """Run one worker that signs its decisions over the same requests."""
    with deployment(bootstrap, f"signed-{number}") as made:
        keys = made.folder / "keys"
        keys.write_text(SIGNING_KEY)
        made.environment["GATE_DECISION_KEY_FILE"] = str(keys)
        publish_presses(made)
        return replace(run_gate(made, number, publish_requests(made, requests)), contender=SIGNED)


def decided(worker: Worker) -> float:
    """Return how many decisions a worker has committed."""
    series = ('decision="approved",reason="none"', 'decision="rejected",reason="account_frozen"')
    return sum(worker.metric(f"gate_decisions_total{{{labels}}}") for labels in series)


def watch(contender: str, made: Deployment, number: int, published: Published, process: subprocess.Popen[bytes]) -> Run:
    """Read the decisions as they become readable, and what the process spends on the second half of them."""
    meter = psutil.Process(process.pid)
    spent_at_half: list[float] = []
    arrivals = read_arrivals(
        made,
        published.requests,
        lambda: process.poll() is None,
        lambda: spent_at_half.append(cpu_seconds(meter)),
    )
    spent = cpu_seconds(meter) - spent_at_half[0]
    return Run(
        contender,
        number,
        published.requests,
        arrivals.rate_of_second_half(),
        spent / (published.requests - arrivals.at_half()) * 100_000,
        meter.memory_info().rss / 1_000_000,
    )
