"""A control: the scenario in which the gate is acquitted convicts a plain Faust app, so acquittals mean something."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import KafkaException

from streams.judge import judge
from tests.deployment import places
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streams.judge import Verdict
    from tests.deployment import Deployment, Publisher

PRESSES = 1_000
# How long decisions may take to come; the control may also lose some, so it is not insisted that all of them do.
SETTLE_SECONDS = 30.0


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("module", "broken"), [("streams", False), ("tests.benchmarks.plain_faust", True)])
def test_the_gate_is_acquitted_where_a_plain_faust_app_is_convicted(
    deploy: Callable[..., Deployment], module: str, *, broken: bool
) -> None:
    """1,000 presses, each followed by a request once it is acknowledged; one kill -9 in the middle and a restart."""
    deployment = deploy(partitions=3)
    with leaving_no_topics(deployment):
        verdict = press_and_request(deployment, module)
    print(f"{module}: {dict(verdict.counts)}, approved after an acknowledged press: {_count(verdict, 'G1')}")  # noqa: T201  (said when it fails)
    if broken:
        assert "G1" in verdict.kinds()
    else:
        assert verdict.findings == []
        assert verdict.counts["rejected"] == verdict.counts["requests"]


def press_and_request(deployment: Deployment, module: str) -> Verdict:
    """Press and ask, account by account; kill the worker in the middle and start it again on the same folder."""
    deployment.create_topics()
    worker = deployment.worker("one", module).wait_ready()
    with deployment.publisher() as app, deployment.publisher() as wallet:
        app.press("early")
        wait_for(
            lambda: rejected(deployment, wallet, "early"),
            "a rejection, for a control that never gives one proves nothing",
        )
        for number in range(PRESSES):
            app.press(f"acc-{number}")
            wallet.request(f"acc-{number}")
            if number == PRESSES // 2:
                worker.kill()
                worker = deployment.worker("one", module)
        wallet.flush()
    settle(deployment)
    assert worker.process.poll() is None, worker.log.read_text()
    return judge(deployment.history)


def rejected(deployment: Deployment, wallet: Publisher, account_id: str) -> bool:
    """Ask once more, and tell whether that account was ever rejected."""
    wallet.request(account_id)
    wallet.flush()
    verdicts = [(one["account_id"], one["decision"]) for one in deployment.values("withdrawal-decision")]
    return (account_id, "rejected") in verdicts


def settle(deployment: Deployment) -> None:
    """Read the topics until every request has an outcome, for a bounded time."""
    wanted = places(deployment.history.requests)
    deadline = time.monotonic() + SETTLE_SECONDS
    pause = threading.Event()
    while time.monotonic() < deadline:
        deployment.read_history()
        if wanted <= {(outcome.partition, outcome.offset) for outcome in deployment.history.outcomes}:
            return
        pause.wait(0.5)


@contextmanager
def leaving_no_topics(deployment: Deployment) -> Iterator[None]:
    """Delete the topics that Faust made for itself; the deployment deletes its own."""
    yield
    deployment.stop()
    made = [
        topic for topic in deployment.admin.list_topics(timeout=5).topics if topic.startswith(f"{deployment.name}-")
    ]
    for future in deployment.admin.delete_topics(made).values() if made else ():
        try:
            future.result()
        except KafkaException as exception:
            print(f"a topic stayed: {exception}")  # noqa: T201  (said when it fails)


def _count(verdict: Verdict, kind: str) -> int:
    return sum(finding.startswith(f"{kind}:") for finding in verdict.findings)
