"""Questions to the brokers are answered again once the brokers are back, whatever the client heard last."""

from __future__ import annotations

from threading import Event, Thread
from typing import TYPE_CHECKING

import psutil
import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import NewTopic

from streams.dev_broker import DevBroker
from streams.judge import judge
from streams.kafka import admin, ask, end_offsets
from streams.settings import Settings
from tests.benchmarks.meter import cpu_seconds
from tests.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from confluent_kafka.admin import AdminClient

    from tests.deployment import Deployment

TOPIC = "asked"
# With the storm the worker spent more than half of this on it, on two busy cores.
AWAY_SECONDS = 4.0
EXIT_UNREACHABLE = 3


def test_a_client_that_heard_that_nobody_leads_asks_again(tmp_path: Path) -> None:
    """A broker that shuts down names no leader; librdkafka would go on answering from that for a quarter of an hour."""
    with DevBroker(tmp_path / "kafka") as broker:
        client = admin(Settings.from_environment({"GATE_KAFKA_BOOTSTRAP": broker.bootstrap}))
        client.create_topics([NewTopic(TOPIC, 2, 1)])[TOPIC].result()
        assert ask(lambda: end_offsets(client, TOPIC, range(2))) == {0: 0, 1: 0}
        stopping = Thread(target=broker.stop)
        stopping.start()
        heard: set[int] = set()
        while stopping.is_alive() and -1 not in heard:  # no longer: the next answer may name no broker at all
            heard = _leaders(client)
        stopping.join()
        assert -1 in heard, "the fault did not happen: no answer without a leader was heard"
        broker.start()
        assert ask(lambda: end_offsets(client, TOPIC, range(2))) == {0: 0, 1: 0}


@pytest.mark.parametrize("code", [KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION])
def test_a_partition_that_a_broker_does_not_know_yet_is_asked_for_again(code: int) -> None:
    """A topic grows on one broker sooner than on another; a worker that ends over it leaves its partitions to wait."""
    refusals = iter([KafkaException(KafkaError(code))])

    def question() -> str:
        for refusal in refusals:
            raise refusal
        return "known"

    assert ask(question) == "known"


def test_a_worker_whose_commit_never_comes_back_ends_and_the_next_one_decides(
    deploy: Callable[..., Deployment],
) -> None:
    """It says so in a line, with exit code 3; its open transaction is settled, and nothing is decided twice."""
    gate = deploy(partitions=1)
    gate.create_topics()
    stuck = gate.worker(module="tests.controls.stuck_commit").wait_ready()
    with gate.publisher() as client:
        client.press("acc-1")
        client.request("acc-1")
        assert wait_for(stuck.process.poll, "the worker to end") == EXIT_UNREACHABLE
        assert "a commit has not come back within 2 s" in stuck.log.read_text()
        assert "Traceback" not in stuck.log.read_text()
        gate.worker().wait_ready()
        client.request("acc-2")
        gate.wait_decided()
    assert judge(gate.history).findings == []


def test_a_worker_with_a_client_that_lost_its_brokers_begins_anew(deploy: Callable[..., Deployment]) -> None:
    """Its follower finds no broker although Kafka is there: the same process starts over and decides."""
    gate = deploy()
    gate.create_topics()
    worker = gate.worker(module="tests.controls.lost_brokers")
    with gate.publisher() as client:
        client.press("acc-1")
        client.request("acc-1")
        gate.wait_decided()
    assert worker.process.poll() is None
    assert "the client of follow has lost it: the worker begins anew" in worker.log.read_text()
    assert judge(gate.history).findings == []
    assert worker.stop() == 0


def test_a_worker_does_not_storm_the_address_of_brokers_that_are_away(
    deploy: Callable[..., Deployment], tmp_path: Path
) -> None:
    """Asked about topics, librdkafka connects a thousand times a second where nobody listens; a worker must not."""
    with DevBroker(tmp_path / "kafka") as broker:
        gate = deploy(broker=broker.bootstrap)
        gate.create_topics()
        worker = gate.worker().wait_ready()
        broker.kill()
        wait_for(lambda: worker.get("/readyz")[0] == 503, "the worker to say that it can't decide")
        spent = cpu_seconds(psutil.Process(worker.process.pid))
        Event().wait(AWAY_SECONDS)
        assert cpu_seconds(psutil.Process(worker.process.pid)) - spent < AWAY_SECONDS / 4
        broker.start()
        worker.wait_ready()
        assert worker.stop() == 0


def _leaders(client: AdminClient) -> set[int]:
    try:
        found = client.list_topics(TOPIC, timeout=0.2).topics[TOPIC]
    except KafkaException:
        return set()
    return {partition.leader for partition in found.partitions.values()}
