"""The audit: a worker decides the requests, then `withdrawal-gate audit` works every decision out again."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.load import BenchmarkError, deployment, publish_presses, publish_requests, read_arrivals
from tests.benchmarks.throughput import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment

LOOK_SECONDS = 0.05


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
    began, spent, peak_mb = time.monotonic(), _children_cpu_seconds(), 0.0
    command = [sys.executable, "-m", "streams", "audit"]
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, env=made.environment, stdout=said, cwd=ROOT) as process,
    ):
        while process.poll() is None:
            peak_mb = max(peak_mb, _peak_mb(process.pid))
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_SECONDS)
        seconds, spent = time.monotonic() - began, _children_cpu_seconds() - spent
        said.seek(0)
        last = said.read().splitlines()[-1:]
    summary = json.loads(last[0]) if last else {}
    if process.returncode != 0 or summary["audited"]["decisions"] != requests or summary["not_judged"]:
        message = f"the audit ended with {process.returncode}: {last}"
        raise BenchmarkError(message)
    return Audited(requests, seconds, spent, peak_mb)


def _children_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _peak_mb(pid: int) -> float:
    """Return the most that a process of Linux had resident since it runs its program.

    What `wait4` tells is no less than what the process that started it had, which here may be much more.
    """
    status = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return next((float(line.split()[1]) / 1_000 for line in status if line.startswith("VmHWM")), 0.0)
