"""A worker whose disk is full: a real one, mounted for the test."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from streams.errors import FolderFault
from streams.judge import judge
from tests.chaos.place import Disk
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment


# A page in use has room for a few presses; these take some MB.
STORM_PRESSES = 20_000


def test_a_worker_on_a_full_disk_stops_loses_nothing_and_goes_on_once_there_is_room(
    deploy: Callable[..., Deployment],
) -> None:
    """Pressed while it is full: exit code 4 that says so; on the same folder, with room, the request is rejected."""
    gate = deploy(partitions=1)
    gate.create_topics()
    try:
        mounted = Disk(gate.folder / "one" / "data")
    except OSError as error:
        pytest.skip(f"no disk can be mounted to be filled: {error}")
    with closing(mounted) as disk, gate.publisher() as client:
        worker = gate.worker("one").wait_ready()
        client.request("acc-before")
        gate.wait_decided()
        disk.fill()
        client.press("acc-pressed")
        client.request("acc-pressed")
        client.storm(STORM_PRESSES, "storm")
        wait_for(lambda: worker.process.poll() is not None, "the worker to end")
        assert worker.process.returncode == FolderFault.exit_code
        assert "no space left" in worker.log.read_text()
        disk.free()
        gate.worker("one").wait_ready()
        gate.wait_decided()
        gate.stop()
    verdict = judge(gate.history)
    assert verdict.findings == []
    assert (verdict.counts["approved"], verdict.counts["rejected"]) == (1, 1)
