"""`make chaos`: random runs of the gate on a cluster of three brokers; exit code 1 on any finding."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.arguments import between
from tests.chaos.cluster import Cluster
from tests.chaos.faults import FAULTS
from tests.chaos.run import Plan, run


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make chaos ARGS=...", description="Chaos runs of the gate.")
    parser.add_argument("--seed", type=int, help="of the first run; the next has the next one (any)")
    parser.add_argument("--runs", type=between(1, 1_000), default=1, help="on one cluster (%(default)s)")
    parser.add_argument("--seconds", type=between(1, 7_200), default=60, help="of traffic and faults (%(default)s)")
    parser.add_argument("--faults", default=",".join(FAULTS), help="which may happen (%(default)s)")
    parser.add_argument("--workers", type=between(1, 10), default=3, help="(%(default)s)")
    parser.add_argument("--publishers", type=between(1, 10), default=2, help="without transactions (%(default)s)")
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
        table(asked.table)
        return
    seed = random.SystemRandom().randrange(1_000_000) if asked.seed is None else asked.seed
    found = 0
    with tempfile.TemporaryDirectory(prefix="gate-chaos-") as temporary:
        folder = asked.keep or Path(temporary)
        with Cluster(folder / "kafka") as cluster:
            for each in range(seed, seed + asked.runs):
                plan = Plan(
                    each,
                    asked.seconds,
                    tuple(asked.faults.split(",")),
                    asked.workers,
                    asked.publishers,
                    asked.worker_module,
                )
                result = run(plan, cluster, folder / f"seed-{each}")
                found += len(result.findings)
                if asked.results is not None:
                    with asked.results.open("a") as file:
                        file.write(result.line() + "\n")
                print(result.line(), flush=True)
    sys.exit(1 if found else 0)


def table(results: Path) -> None:
    """Print a results file as a Markdown table, one row for each worker module."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for line in results.read_text("utf-8").splitlines():
        one = json.loads(line)
        rows.setdefault(one["module"], []).append(one)
    print("| worker | runs | seconds | requests | faults | runs with findings |\n|---|---|---|---|---|---|")
    for module, runs in rows.items():
        faults: Counter[str] = Counter()
        seconds = requests = found = 0
        for one in runs:
            faults.update(one["faults"])
            seconds += one["seconds"]
            requests += one["counts"].get("requests", 0)
            found += bool(one["findings"])
        struck = ", ".join(f"{name} {count}" for name, count in sorted(faults.items()))
        print(f"| `{module}` | {len(runs)} | {seconds:.0f} | {requests:,} | {struck} | {found} |")


if __name__ == "__main__":
    main()
