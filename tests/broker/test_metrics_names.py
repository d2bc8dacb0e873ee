"""What a worker exports, judged by Prometheus's own tool."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.tools import tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment


def test_promtool_finds_no_fault_with_the_metrics_of_a_live_worker(deploy: Callable[..., Deployment]) -> None:
    """Names, types, units and help texts keep to Prometheus's rules, once every kind of record has been counted."""
    promtool = tool("promtool")
    gate = deploy()
    gate.create_topics()
    worker = gate.worker().wait_ready()
    with gate.publisher() as client:
        client.press("acc-1")
        client.request("acc-1")
        client.request("acc-2")
        client.raw("withdrawal-request", b"acc-1", None)
        gate.wait_decided()
    scraped = worker.get("/metrics")[1]
    assert "gate_consumer_lag_seconds{" in scraped
    result = subprocess.run([promtool, "check", "metrics"], input=scraped, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
