"""Clients of other people and languages press and ask; the gate decides as for anybody."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.processes import wait_for
from tests.tools import node_modules, tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment

PRESS_AND_ASK = Path(__file__).with_name("press_and_ask.js")


def test_a_press_by_kafkajs_stops_the_request_that_follows_it(deploy: Callable[..., Deployment]) -> None:
    """A client that shares no code with librdkafka or Java: pressed is rejected, not pressed is approved."""
    packages = node_modules("kafkajs@2.2.4")
    gate = deploy()
    gate.create_topics()
    gate.worker().wait_ready()
    done = subprocess.run(
        [tool("node"), str(PRESS_AND_ASK), gate.bootstrap, gate.prefix],
        env={**gate.environment, "NODE_PATH": str(packages)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wait_for(lambda: len(gate.decisions()) == 2, "both decisions")
    decisions = gate.decisions()
    assert (decisions["w-1"]["decision"], decisions["w-1"]["press_id"]) == ("rejected", "from-kafkajs")
    assert decisions["w-2"]["decision"] == "approved"
