"""A short run in every test run, and the proof that such a run convicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.cluster import Cluster
from tests.chaos.run import Plan, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEED = 4
SECONDS = 6
FAULTS = ("kill-worker", "pause-worker", "delete-folder", "kill-broker", "move-leaders", "open-transaction")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return three brokers that answer."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def test_a_short_run_under_faults_of_workers_and_brokers_finds_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """Kill -9 and SIGSTOP of workers, a broker killed, leaders moved: judge and audit acquit."""
    result = run(Plan(SEED, SECONDS, FAULTS, workers=2), cluster, tmp_path)
    assert result.findings == []
    assert result.counts["requests"] > 100
    assert result.faults


def test_a_run_convicts_a_gate_without_its_barrier(cluster: Cluster, tmp_path: Path) -> None:
    """The same traffic, without faults even: who presses and asks at once is robbed."""
    plan = Plan(SEED, SECONDS, (), workers=2, module="tests.controls.no_barrier")
    assert any(finding.startswith("G1") for finding in run(plan, cluster, tmp_path).findings)
