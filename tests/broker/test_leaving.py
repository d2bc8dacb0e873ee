"""A worker that is told to end gives its partitions up before it waits for anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment

PARTITIONS = 4


def test_a_worker_that_ends_leaves_its_partitions_before_all_its_threads_are_done(
    deploy: Callable[..., Deployment],
) -> None:
    """One of two is told to end while a thread of it waits for Kafka: the other one decides everything meanwhile."""
    gate = deploy(partitions=PARTITIONS)
    gate.create_topics()
    leaving = gate.worker("leaving", "tests.controls.slow_lifeline").wait_ready()
    gate.worker().wait_ready()
    leaving.process.terminate()
    with gate.publisher() as client:
        for number in range(10 * PARTITIONS):
            client.request(f"acc-{number}")
    gate.wait_decided()
    assert leaving.process.poll() is None, "it has ended, so nothing was seen of what it does before"
    (leaving.folder / "data" / "answered").touch()
    assert leaving.stop() == 0
