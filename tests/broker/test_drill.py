"""`withdrawal-gate drill` on a real broker: the canary that presses the button."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from tests.processes import free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment


def test_a_round_of_the_drill_is_approved_presses_and_is_rejected(deploy: Callable[..., Deployment]) -> None:
    """A line with both times, exit code 0; the account is the drill's own and frozen for the shortest time."""
    gate = deploy()
    gate.create_topics()
    gate.worker().wait_ready()
    done = gate.command("drill")
    found = json.loads(done.stdout)
    assert (done.returncode, found["ended"], found["detail"]) == (0, "kept", None)
    assert found["rejected_after_seconds"] > 0
    decisions = gate.values("withdrawal-decision")
    assert [decision["decision"] for decision in decisions] == ["approved", "rejected"]
    assert all(decision["account_id"].startswith("gate-drill-") for decision in decisions)
    assert gate.values("panic-button")[0]["freeze_seconds"] == 86_400


def two_rounds(gate: Deployment) -> tuple[int, list[str], str]:
    """Let a drill that is scraped go two rounds and end it; return its exit code, how each ended, and its metrics."""
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "streams", "drill", "--every", "1s", "--http", address]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, env=gate.environment, stdout=subprocess.PIPE, text=True, cwd=root) as canary:
        lines = [json.loads(canary.stdout.readline()) for _ in range(2)] if canary.stdout else []
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            metrics = answer.read().decode()
        canary.terminate()
    return canary.returncode, [line["ended"] for line in lines], metrics


def test_a_drill_that_goes_on_exports_what_it_found(deploy: Callable[..., Deployment]) -> None:
    """Round after round, each an account of its own; the time to the rejection is a metric."""
    gate = deploy()
    gate.create_topics()
    gate.worker().wait_ready()
    code, ended, metrics = two_rounds(gate)
    assert code == 0
    assert ended == ["kept", "kept"]
    assert 'gate_drill_rounds_total{ended="broken"} 0.0' in metrics
    assert "gate_drill_rejection_seconds_count 2.0" in metrics
    assert "gate-drill-" not in metrics
    assert len({press["account_id"] for press in gate.values("panic-button")}) >= 2


def test_a_drill_ends_on_an_approval_after_the_acknowledged_press(deploy: Callable[..., Deployment]) -> None:
    """A gate that finds nobody frozen: the canary says so and does not go on."""
    gate = deploy()
    gate.create_topics()
    worker = gate.worker(module="tests.controls.approves_all").wait_ready()
    done = gate.command("drill", "--every", "1h")
    found = json.loads(done.stdout)
    assert (done.returncode, found["ended"]) == (1, "broken")
    assert found["detail"] == "approved after the acknowledged press"
    wait_for(lambda: worker.metric("gate_frozen_accounts") == 1, "the table to hold the drill's freeze")


def test_a_drill_that_is_scraped_goes_on_after_a_broken_promise_and_exits_1_in_the_end(
    deploy: Callable[..., Deployment],
) -> None:
    """Prometheus must find the count: a process that ends takes it along."""
    gate = deploy()
    gate.create_topics()
    gate.worker(module="tests.controls.approves_all").wait_ready()
    code, ended, metrics = two_rounds(gate)
    assert code == 1
    assert ended == ["broken", "broken"]
    assert 'gate_drill_rounds_total{ended="broken"} 2.0' in metrics


def test_a_drill_with_wrong_arguments_is_exit_2(deploy: Callable[..., Deployment]) -> None:
    """The line names the argument, its value and what is allowed."""
    gate = deploy()
    for arguments, named in (
        (("--every", "soon"), "'soon'"),
        (("--every", "0s"), "'0s'"),
        (("--http", "nowhere"), "--http is 'nowhere'"),
        (("--http", "127.0.0.1:99999"), "127.0.0.1:99999"),
    ):
        done = gate.command("drill", *arguments)
        assert (done.returncode, named in done.stderr) == (2, True), done.stderr
