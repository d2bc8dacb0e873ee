"""Exporters that people already run show the same lag as the gate, and what they count beyond it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from tests.processes import free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.deployment import Deployment

# The lag of a group on a topic, and the names of its labels.
LAG = {
    "kafka_exporter": ("kafka_consumergroup_lag", "consumergroup", "topic"),
    "kminion": ("kminion_kafka_consumer_group_topic_partition_lag", "group_id", "topic_name"),
}
REQUESTS = 50
OWN = 'gate_consumer_lag_records{partition="0",topic="withdrawal-request"}'


@contextmanager
def exporter(name: str, bootstrap: str) -> Iterator[Callable[[str, str], float]]:
    """Run an exporter; yield a question for the lag of a group on a topic, over all partitions, NaN without any."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not on the PATH")
    port = free_port()
    arguments = {
        "kafka_exporter": [f"--kafka.server={bootstrap}", f"--web.listen-address=127.0.0.1:{port}"],
        "kminion": [],
    }
    environment = {
        **os.environ,
        "KAFKA_BROKERS": bootstrap,
        "EXPORTER_HOST": "127.0.0.1",
        "EXPORTER_PORT": str(port),
        "MINION_LOGDIRS_ENABLED": "false",
    }
    metric, group_label, topic_label = LAG[name]

    def lag(group: str, topic: str) -> float:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            return float("nan")
        wanted = {f'{group_label}="{group}"', f'{topic_label}="{topic}"'}
        found = re.findall(rf"^{metric}\{{([^}}]*)\}} (\S+)$", text, re.MULTILINE)
        values = [float(value) for labels, value in found if wanted <= set(labels.split(","))]
        return sum(values) if values else float("nan")

    command = [path, *arguments[name]]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield lag
        finally:
            process.terminate()


class Asked:
    """A wallet service that asks within transactions."""

    def __init__(self, gate: Deployment, producer: Producer) -> None:
        """Ask through that producer."""
        self._topic = gate.topic("withdrawal-request")
        self._producer = producer
        producer.init_transactions()

    def begin(self, withdrawal_id: str) -> Producer:
        """Open a transaction with one request in it that Kafka has acknowledged."""
        self._producer.begin_transaction()
        body = {"withdrawal_id": withdrawal_id, "account_id": "acc-2"}
        self._producer.produce(self._topic, json.dumps(body).encode(), b"acc-2")
        self._producer.flush()
        return self._producer


@pytest.mark.parametrize("name", LAG)
def test_an_exporter_shows_the_lag_of_the_gate(deploy: Callable[..., Deployment], bootstrap: str, name: str) -> None:
    """0 when idle, each record while the worker is paused; markers and aborted records of publishers beyond that."""
    gate = deploy(partitions=1)
    gate.create_topics()
    topic = gate.topic("withdrawal-request")
    worker = gate.worker().wait_ready()
    with exporter(name, bootstrap) as lag, gate.publisher() as client:
        client.request("acc-1")
        gate.wait_decided()
        wait_for(lambda: lag(gate.name, topic) == 0, "the exporter to show 0 when idle")
        worker.pause()
        for _ in range(REQUESTS):
            client.request("acc-1")
        client.flush()
        wait_for(lambda: lag(gate.name, topic) == REQUESTS, "the exporter to show each record")
        worker.resume()
        gate.wait_decided()
        wait_for(lambda: lag(gate.name, topic) == 0, "the exporter to show 0 again")
        asked = Asked(gate, Producer({"bootstrap.servers": bootstrap, "transactional.id": gate.name}))
        asked.begin("w-committed").commit_transaction()
        wait_for(lambda: "w-committed" in gate.decisions(), "its decision")
        wait_for(lambda: (lag(gate.name, topic), worker.metric(OWN)) == (1, 0), "the marker, in the exporter only")
        asked.begin("w-aborted").abort_transaction()
        wait_for(lambda: (lag(gate.name, topic), worker.metric(OWN)) == (3, 0), "the record and its marker")
        still_open = asked.begin("w-open")
        wait_for(lambda: (lag(gate.name, topic), worker.metric(OWN)) == (4, 1), "the request that waits, in both")
        still_open.commit_transaction()
        # The coordinator answers before the marker is written; the decision says that it is.
        wait_for(lambda: "w-open" in gate.decisions(), "its decision")
        client.request("acc-1")
        gate.wait_decided()
        wait_for(lambda: (lag(gate.name, topic), worker.metric(OWN)) == (0, 0), "0 after a record without transaction")
        announced = gate.topic("panic-button")
        client.press("acc-1")
        wait_for(lambda: lag(f"{gate.name}-announce", announced) == 0, "0 of the group that announces")
