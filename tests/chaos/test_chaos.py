"""A run in every test run, and the proof that such runs convict."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.chaos.cluster import Cluster
from tests.chaos.faults import FAULTS
from tests.chaos.place import Place
from tests.chaos.run import Plan, run
from tests.deployment import Deployment
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEED = 4
SECONDS = 90
SHORT_SECONDS = 6
# Start, quiet phase and audit have limits of their own; on a busy machine they take most of the time.
LIMIT_SECONDS = 600
WORKERS = 2


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return three brokers that answer."""
    with Cluster(tmp_path_factory.mktemp("cluster"), WORKERS + 1) as cluster:
        yield cluster


@pytest.mark.timeout(LIMIT_SECONDS)
def test_a_run_under_every_fault_there_is_finds_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """Processes, folders, disks, clocks, links, brokers, leaders, open transactions: judge and audit acquit."""
    result = run(Plan(SEED, SECONDS, tuple(FAULTS), WORKERS), cluster, tmp_path)
    assert result.findings == []
    assert result.counts["requests"] > 100
    assert result.faults


def test_a_run_convicts_a_gate_without_its_barrier(cluster: Cluster, tmp_path: Path) -> None:
    """The same traffic, without faults even: who presses and asks at once is robbed."""
    plan = Plan(SEED, SHORT_SECONDS, (), WORKERS, module="tests.controls.no_barrier")
    assert any(finding.startswith("G1") for finding in run(plan, cluster, tmp_path).findings)


def test_an_end_that_nothing_explains_is_a_finding_with_the_last_lines(cluster: Cluster, tmp_path: Path) -> None:
    """A worker that ends by itself is started again, but not silently; what it said stands there without paths."""
    gate = Deployment(cluster.bootstrap, "ends", tmp_path, environment={"GATE_APPROVAL_SECONDS": "90"})
    findings: list[str] = []
    ends: Counter[str] = Counter()
    place = Place(gate, cluster, 0, "streams", findings, ends)
    first = place.running()
    wait_for(lambda: first.process.poll() is not None, "the worker to end")
    assert place.running() is not first
    gate.stop()
    assert ends == {"2": 1}
    assert len(findings) == 1
    assert findings[0].startswith("a worker ended with exit code 2: ")
    assert "GATE_APPROVAL_SECONDS is '90'" in findings[0]
    assert str(tmp_path) not in findings[0]
