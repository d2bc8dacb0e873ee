"""`make rehearse`: the changes of docs/runbook.md on three brokers; exit code 1 on any finding."""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.arguments import between
from tests.chaos.cluster import Cluster
from tests.deployment import Deployment
from tests.processes import end_with_everything_on_sigterm
from tests.rehearsals.brokers import growing_a_topic, kafka_upgrade, region_loss
from tests.rehearsals.stage import Stage, Version
from tests.rehearsals.workers import disk_loss, policy_change, roll_back, rolling_upgrade

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
REHEARSALS: dict[str, Callable[[Stage, Version, Version], None]] = {
    "rolling-upgrade": rolling_upgrade,
    "roll-back": roll_back,
    "disk-loss": disk_loss,
    "growing-a-topic": growing_a_topic,
    "policy-change": policy_change,
    "kafka-upgrade": kafka_upgrade,
    "region-loss": region_loss,
}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="make rehearse ARGS=...", description="Rehearse changes of the runbook under traffic, and judge them."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(REHEARSALS)} (all of them)")
    parser.add_argument("--workers", type=between(2, 6), default=3, help="(%(default)s)")
    parser.add_argument(
        "--from", dest="revision", metavar="REVISION", help="of git: the old version (this checkout is both)"
    )
    parser.add_argument("--kafka-from", metavar="VERSION", help="of the brokers at the start (this checkout's)")
    parser.add_argument("--keep", type=Path, help="keep data and logs in this new folder")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in REHEARSALS]:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(REHEARSALS)}")
    return asked


def main() -> None:
    """Rehearse one after another, each on a cluster of its own."""
    asked = arguments()
    end_with_everything_on_sigterm()
    found = 0
    with tempfile.TemporaryDirectory(prefix="gate-rehearsal-") as temporary:
        folder = asked.keep or Path(temporary)
        new = Version()
        old = new if asked.revision is None else older(asked.revision, folder / "old-version")
        for name in asked.names or REHEARSALS:
            print(f"\n{name}", file=sys.stderr)
            brokers = Cluster(folder / name / "kafka")
            for broker in brokers.brokers:
                broker.version = asked.kafka_from or broker.version
            with brokers as cluster:
                gate = Deployment(cluster.bootstrap, name, folder / name)
                with Stage(gate, asked.workers, cluster) as stage:
                    result = rehearse(name, stage, old, new)
                del gate, stage  # their clients would complain that the brokers go
            found += len(result["findings"])
            print(json.dumps(result), flush=True)
    sys.exit(1 if found else 0)


def rehearse(name: str, stage: Stage, old: Version, new: Version) -> dict[str, Any]:
    """Play one rehearsal to its verdict; what breaks it off is a finding."""
    try:
        REHEARSALS[name](stage, old, new)
    except AssertionError as error:
        stage.find(f"broke off: {error}")
    return {"rehearsal": name, "from": old.name, **stage.verdict()}


def older(revision: str, folder: Path) -> Version:
    """Return another revision's code, which runs with the packages that are installed here."""
    try:
        archive = subprocess.run(
            [shutil.which("git") or "git", "archive", revision, "schemas", "streams"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"--from {revision}: git has no such revision here ({error})")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    # PYTHONSAFEPATH keeps the working directory, where this checkout's code lies, out of the way.
    return Version(f"revision {revision}", {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(folder)})


if __name__ == "__main__":
    main()
