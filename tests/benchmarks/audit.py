"""The audit: a worker decides the requests, then `withdrawal-gate audit` works every decision out again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.benchmarks.load import BenchmarkError, deployment, publish_presses, publish_requests, read_arrivals
from tests.benchmarks.throughput import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment


@dataclass(frozen=True, slots=True)
class Audited:
    """An audit of so many decisions, from the command's start to its end."""

    decisions: int
    seconds: float
    cpu_seconds: float
    peak_resident_mb: float

    def sentence(self) -> str:
        """Say it."""
        return (
            f"{self.decisions:,} decisions in {self.seconds:.1f} s ({self.decisions / self.seconds:,.0f}/s), "
            f"{self.cpu_seconds:.1f} s of CPU beside the broker's, at most {self.peak_resident_mb:.0f} MB resident"
        )


def measure(bootstrap: str, requests: int, say: Callable[[str], None]) -> Audited:
    """Have a history made, and audit it; the audit must judge all of it and find nothing."""
    with deployment(bootstrap, "audit") as made:
        say(f"audit: publishing {requests:,} requests, and having them decided")
        publish_presses(made)
        publish_requests(made, requests)
        worker = made.worker()
        read_arrivals(made, requests, lambda: worker.process.poll() is None, lambda: None)
        worker.stop()
        say("audit: auditing")
        return _audit(made, requests)


def _audit(made: Deployment, requests: int) -> Audited:
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "streams", "audit"], env=made.environment, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        last = process.stdout.read().splitlines()[-1:]
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    summary = json.loads(last[0]) if last else {}
    if process.returncode != 0 or summary["audited"]["decisions"] != requests or summary["not_judged"]:
        message = f"the audit ended with {process.returncode}: {last}"
        raise BenchmarkError(message)
    # On Linux in kB.
    return Audited(requests, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1_000)
