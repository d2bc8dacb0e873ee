"""`make chaos`: random runs of the gate on a cluster of three brokers; exit code 1 on any finding."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
from pathlib import Path

from tests.arguments import between
from tests.chaos.cluster import Cluster
from tests.chaos.faults import FAULTS
from tests.chaos.results import table
from tests.chaos.run import Plan, run
from tests.chaos.traffic import REQUESTS_A_STEP

BURST_HELP = "requests of each publisher every 20 ms, at most (%(default)s)"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make chaos ARGS=...", description="Chaos runs of the gate.")
    parser.add_argument("--seed", type=int, help="of the first run; the next has the next one (any)")
    parser.add_argument("--runs", type=between(1, 1_000), default=1, help="on one cluster (%(default)s)")
    parser.add_argument("--seconds", type=between(1, 7_200), default=60, help="of traffic and faults (%(default)s)")
    parser.add_argument("--faults", default=",".join(FAULTS), help="which may happen (%(default)s)")
    parser.add_argument("--workers", type=between(1, 10), default=3, help="(%(default)s)")
    parser.add_argument("--publishers", type=between(1, 10), default=2, help="without transactions (%(default)s)")
    parser.add_argument("--burst", type=between(1, 100), default=REQUESTS_A_STEP, help=BURST_HELP)
    parser.add_argument("--worker-module", default="streams", help="what is run as a worker (%(default)s)")
    parser.add_argument("--results", type=Path, help="append a JSON line for each run to this file")
    parser.add_argument("--keep", type=Path, help="keep data and logs in this new folder")
    parser.add_argument("--table", type=Path, metavar="RESULTS", help="run nothing; print that file as a table")
    asked = parser.parse_args()
    if unknown := set(asked.faults.split(",")) - set(FAULTS):
        parser.error(f"unknown faults: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    return asked


def main() -> None:
    """Run and judge."""
    asked = arguments()
    if asked.table is not None:
        print(table(asked.table))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ctrl-C does: workers are ended, disks given back
    seed = random.SystemRandom().randrange(1_000_000) if asked.seed is None else asked.seed
    found = 0
    with tempfile.TemporaryDirectory(prefix="gate-chaos-") as temporary:
        folder = asked.keep or Path(temporary)
        with Cluster(folder / "kafka", asked.workers + 1) as cluster:
            for each in range(seed, seed + asked.runs):
                plan = Plan(
                    each,
                    asked.seconds,
                    tuple(asked.faults.split(",")),
                    asked.workers,
                    asked.publishers,
                    asked.worker_module,
                    asked.burst,
                )
                result = run(plan, cluster, folder / f"seed-{each}")
                found += len(result.findings)
                if asked.results is not None:
                    with asked.results.open("a") as file:
                        file.write(result.line() + "\n")
                print(result.line(), flush=True)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
