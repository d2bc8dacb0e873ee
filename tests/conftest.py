"""One real broker for the whole suite: the one that GATE_KAFKA_BOOTSTRAP names, or our own."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import pytest

from streams.dev_broker import DevBroker
from tests.deployment import Deployment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def pytest_configure() -> None:
    """Let the commands under test hear Ctrl-C: a shell that runs the suite in the background has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a broker that answers."""
    named = os.environ.get("GATE_KAFKA_BOOTSTRAP")
    if named:
        yield named
        return
    with DevBroker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.bootstrap


@pytest.fixture
def deploy(request: pytest.FixtureRequest, bootstrap: str, tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """Return a maker of deployments named after the test; what it made is stopped and deleted afterwards."""
    made: list[Deployment] = []

    def make(partitions: int = 3, broker: str | None = None, **environment: str) -> Deployment:
        name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:80] + f"-{os.getpid()}-{len(made)}"
        deployment = Deployment(broker or bootstrap, name, tmp_path / str(len(made)), partitions, environment)
        deployment.folder.mkdir(parents=True)
        made.append(deployment)
        return deployment

    yield make
    for deployment in made:
        deployment.stop()
        if deployment.bootstrap == bootstrap:
            deployment.delete_topics()
