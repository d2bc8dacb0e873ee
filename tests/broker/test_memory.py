"""A million frozen accounts fit into a small worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment

ACCOUNTS = 1_000_000
AT_ONCE = 50_000
MAX_RESIDENT_BYTES = 300_000_000


def test_a_worker_with_a_million_frozen_accounts_stays_under_300_mb(deploy: Callable[..., Deployment]) -> None:
    """It replays a million presses into an empty folder, then rejects 10,000 requests and approves as many."""
    gate = deploy(partitions=4)
    gate.create_topics()
    with gate.publisher() as client:
        for turn in range(ACCOUNTS // AT_ONCE):
            client.storm(AT_ONCE, f"acc-{turn}")
            client.flush()
        worker = gate.worker().wait_ready()
        wait_for(lambda: worker.metric("gate_frozen_accounts") == ACCOUNTS, "a million frozen accounts")
        for number in range(10_000):
            client.request(f"acc-{number % 20}-{number}")
            client.request(f"free-{number}")
        rejected = 'gate_decisions_total{decision="rejected",reason="account_frozen"}'
        wait_for(lambda: worker.metric(rejected) == 10_000, "10,000 rejections")
    assert psutil.Process(worker.process.pid).memory_info().rss < MAX_RESIDENT_BYTES
