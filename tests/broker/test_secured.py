"""One secured broker: the whole flow runs with the rights that are declared, and nobody can do more."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from deploy.kafka_access import roles
from schemas.topics import TOPICS, WITHDRAWAL_DECISION_SHADOW
from tests.deployment import Deployment
from tests.processes import wait_for
from tests.secured import ADMIN, SecuredBroker

if TYPE_CHECKING:
    from collections.abc import Iterator

APP, WALLET, ENGINE, GATE = "upstream-app", "wallet-service", "withdrawal-engine", "withdrawal-gate"
DRILL, SUPPORT, ON_CALL, AUDITOR = "withdrawal-gate-drill", "support", "on-call", "auditor"
SHADOW = "withdrawal-gate-shadow"
# Said here once more, not read from the declaration: a right too much there has to be found.
WRITERS = {
    "panic-button": {APP, DRILL},
    "withdrawal-request": {WALLET, DRILL},
    "withdrawal-decision": {GATE},
    "freeze-status": {GATE},
    "dead-letter": {GATE},
    "withdrawal-decision-shadow": {SHADOW},
}
READERS = {
    "panic-button": {GATE, SHADOW, SUPPORT, AUDITOR},
    "withdrawal-request": {GATE, SHADOW, AUDITOR},
    "withdrawal-decision": {GATE, ENGINE, DRILL, AUDITOR},
    "freeze-status": {GATE, APP, SUPPORT, AUDITOR},
    "dead-letter": {GATE, ON_CALL, AUDITOR},
    "withdrawal-decision-shadow": {SHADOW, DRILL, AUDITOR},
}
USERS = {APP, WALLET, ENGINE, GATE, SHADOW, DRILL, SUPPORT, ON_CALL, AUDITOR}
REFUSAL_SECONDS = 20.0


@dataclass
class Secured:
    """A deployment whose clients each come as one user."""

    broker: SecuredBroker
    gate: Deployment

    def as_user(self, user: str, password: str | None = None) -> str:
        """Return the path of the options with which a command or a worker comes as that user."""
        path = self.gate.folder / f"{user}{'-wrong' if password else ''}.properties"
        options = self.broker.options(user, password)
        path.write_text("".join(f"{name}={value}\n" for name, value in options.items()))
        return str(path)

    def client_options(self, user: str) -> dict[str, Any]:
        """Return what any client of that user needs."""
        return {"bootstrap.servers": self.broker.bootstrap, "log_level": 0, **self.broker.options(user)}

    def tell(self, user: str, *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
        """Run a command as that user; return exit code, what it printed and its complaints."""
        done = self.gate.command(*arguments, GATE_KAFKA_OPTIONS=self.as_user(user))
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr

    def apply(self) -> subprocess.CompletedProcess[str]:
        """Run the command that gives the roles their rights, as the administrator."""
        where = ["--bootstrap", self.broker.bootstrap, "--options", self.as_user(ADMIN)]
        names = ["--prefix", self.gate.prefix, "--group", self.gate.name]
        return subprocess.run(
            [sys.executable, "-m", "deploy.kafka_access", "apply", *where, *names],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=Path(__file__).parents[2],
        )


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Return a deployment on a broker of its own, with users, topics and rights."""
    folder = tmp_path_factory.mktemp("secured")
    with SecuredBroker(folder / "kafka") as broker:
        broker.make_users()
        gate = Deployment(broker.bootstrap, "gate", folder / "gate", 2)
        gate.folder.mkdir()
        gate.policy(minimum=5, default=600)
        gate.admin = broker.client()
        gate.create_topics(WITHDRAWAL_DECISION_SHADOW)
        found = Secured(broker, gate)
        applied = found.apply()
        assert (applied.returncode, applied.stdout, applied.stderr) == (0, "", "")
        yield found
        gate.stop()


def refused(attempt: KafkaError | None) -> str:
    """Return the name of a refusal; fail when there was none."""
    assert attempt is not None, "it was let through"
    return attempt.name()


def written(secured: Secured, user: str, topic: str) -> KafkaError | None:
    """Return why the broker refused a record, None when it took it."""
    said: list[KafkaError | None] = []
    producer = Producer({**secured.client_options(user), "message.timeout.ms": 10_000})
    producer.produce(secured.gate.topic(topic), b"{}", b"key", on_delivery=lambda error, _: said.append(error))
    producer.flush(REFUSAL_SECONDS)
    return said[0]


def heard(consumer: Consumer, of: str) -> KafkaError | None:
    """Return the first error about a `TOPIC` or a `GROUP`, None for a record or the end of a partition."""
    found: list[Message] = []

    def told() -> bool:
        message = consumer.poll(0.2)
        error = None if message is None else message.error()
        if message is not None and (
            error is None or error.code() == KafkaError._PARTITION_EOF or error.name().startswith(of)
        ):
            found.append(message)
        return bool(found)

    try:
        wait_for(told, f"a record, the end of the partition, or a refusal of the {of}", REFUSAL_SECONDS)
    finally:
        consumer.close()
    error = found[0].error()
    return None if error is None or error.code() == KafkaError._PARTITION_EOF else error


def read(secured: Secured, user: str, topic: str) -> KafkaError | None:
    """Return why the broker told nothing of a topic, or sent none of its records; None when it did both."""
    name = secured.gate.topic(topic)
    consumer = consumer_of(secured, user, f"{secured.gate.prefix}{user}")
    hidden: KafkaError | None = consumer.list_topics(name, timeout=REFUSAL_SECONDS).topics[name].error
    if hidden is not None:
        consumer.close()
        return hidden
    consumer.assign([TopicPartition(name, 0, 0)])
    return heard(consumer, "TOPIC")


def consumer_of(secured: Secured, user: str, group: str) -> Consumer:
    """Return a consumer that names that group."""
    more = {"group.id": group, "enable.partition.eof": True, "auto.offset.reset": "earliest"}
    return Consumer({**secured.client_options(user), **more})


def decisions(secured: Secured, wanted: int) -> dict[str, str]:
    """Return verdicts by withdrawal id, read by the engine's user in the engine's group."""
    consumer = Consumer(
        {
            **secured.client_options(ENGINE),
            "group.id": f"{secured.gate.prefix}withdrawal-engine",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([secured.gate.topic("withdrawal-decision")])
    verdicts: dict[str, str] = {}

    def all_there() -> bool:
        message = consumer.poll(0.2)
        if message is not None:
            assert message.error() is None, message.error()
            body = json.loads(message.value() or b"")
            verdicts[body["withdrawal_id"]] = body["decision"]
        return len(verdicts) >= wanted

    wait_for(all_there, f"{wanted} decisions")
    consumer.close()
    return verdicts


def test_the_whole_flow_runs_with_the_rights_that_are_declared(secured: Secured) -> None:
    """Press, request, decision, a worker that takes over, and every command that reads, each as its own user."""
    gate = secured.gate
    first = gate.worker("one", GATE_KAFKA_OPTIONS=secured.as_user(GATE)).wait_ready()
    assert secured.tell(WALLET, "request", "acc", "--id", "w-before")[0] == 0
    decisions(secured, 1)
    assert secured.tell(APP, "press", "acc")[0] == 0
    first.kill()
    second = gate.worker("two", GATE_KAFKA_OPTIONS=secured.as_user(GATE)).wait_ready()
    assert secured.tell(WALLET, "request", "acc", "--id", "w-after")[0] == 0
    assert secured.tell(WALLET, "request", "other", "--id", "w-other")[0] == 0
    assert decisions(secured, 3) == {"w-before": "approved", "w-after": "rejected", "w-other": "approved"}
    assert secured.tell(SUPPORT, "status", "acc")[1][0]["frozen"] is True
    code, rounds, complaints = secured.tell(DRILL, "drill")
    assert (code, rounds[0]["ended"]) == (0, "kept"), complaints
    for command in (["audit"], ["report"], ["evidence", "acc"]):
        code, _, complaints = secured.tell(AUDITOR, *command)
        assert code == 0, complaints
    shadow = gate.worker("shadow", GATE_SHADOW="1", GATE_KAFKA_OPTIONS=secured.as_user(SHADOW)).wait_ready()
    approved = 'gate_decisions_total{decision="approved",reason="none"}'
    wait_for(lambda: shadow.metric(approved) >= 2, "what the shadow decides")
    for reading in ("audit", "report"):
        done = gate.command(reading, GATE_SHADOW="1", GATE_KAFKA_OPTIONS=secured.as_user(AUDITOR))
        assert done.returncode == 0, done.stderr
    password = secured.broker.passwords[GATE]
    process = Path(f"/proc/{second.process.pid}")
    if process.exists():
        assert password.encode() not in (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    assert password not in second.get("/metrics")[1] + first.log.read_text() + second.log.read_text()
    assert second.stop() == 0


@pytest.mark.parametrize("topic", [topic.name for topic in (*TOPICS, WITHDRAWAL_DECISION_SHADOW)])
def test_a_topic_is_written_and_read_by_nobody_else(secured: Secured, topic: str) -> None:
    """Decisions are written by the gate alone: neither the engine nor the upstream app can let anything out."""
    assert {role.name for role in roles()} == USERS
    for user in sorted(USERS - WRITERS[topic]):
        assert refused(written(secured, user, topic)) == "TOPIC_AUTHORIZATION_FAILED", f"{user} wrote {topic}"
    for user in sorted(USERS - READERS[topic]):
        assert refused(read(secured, user, topic)) == "TOPIC_AUTHORIZATION_FAILED", f"{user} read {topic}"


def test_nobody_else_joins_the_gates_groups_or_uses_its_transactions(secured: Secured) -> None:
    """A member too many takes partitions away; a producer with a lane's id fences the gate."""
    gate = secured.gate
    requests, presses = gate.topic("withdrawal-request"), gate.topic("panic-button")
    for user in sorted(USERS - {GATE}):
        known = next(topic for topic in WRITERS if user in WRITERS[topic] | READERS[topic])
        for group in (gate.name, f"{gate.name}-announce"):
            consumer = consumer_of(secured, user, group)
            consumer.subscribe([gate.topic(known)])
            assert refused(heard(consumer, "GROUP")) == "GROUP_AUTHORIZATION_FAILED", f"{user} joined {group}"
        for lane in (f"{gate.name}-{requests}-0", f"{gate.name}-announce-{presses}-0"):
            producer = Producer({**secured.client_options(user), "transactional.id": lane})
            with pytest.raises(KafkaException) as refusal:
                producer.init_transactions(REFUSAL_SECONDS)
            assert refused(refusal.value.args[0]) == "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", f"{user} opened {lane}"


def test_nobody_comes_in_without_a_name(secured: Secured) -> None:
    """Neither in plain text nor over TLS."""
    over_tls = {"security.protocol": "SSL", "ssl.ca.location": str(secured.broker.certificate)}
    for options in ({}, over_tls):
        client = AdminClient({"bootstrap.servers": secured.broker.bootstrap, "log_level": 0, **options})
        with pytest.raises(KafkaException):
            client.list_topics(timeout=3)
    assert secured.broker.client(ENGINE).list_topics(timeout=10).brokers


def test_a_wrong_password_is_exit_3_and_repeats_no_secret(secured: Secured) -> None:
    """Of a worker and of a command; the line says that the authentication failed."""
    wrong = secured.as_user(GATE, "not-the-password")
    worker = secured.gate.worker(GATE_KAFKA_OPTIONS=wrong)
    done = secured.gate.command("status", "acc", GATE_KAFKA_OPTIONS=wrong)
    assert worker.process.wait(60) == 3
    assert done.returncode == 3
    for said in (worker.log.read_text(), done.stdout + done.stderr):
        assert "authentication failed" in said.lower()
        assert "not-the-password" not in said
        assert "Traceback" not in said


def test_an_acl_too_many_is_told_until_it_is_gone(secured: Secured) -> None:
    """The command that applies the rights ends with 1 and says who may do what beyond them."""
    topic = secured.gate.topic("withdrawal-decision")
    place = (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, f"User:{ENGINE}", "*", AclOperation.WRITE)
    admin = secured.gate.admin
    for made in admin.create_acls([AclBinding(*place, AclPermissionType.ALLOW)]).values():
        made.result(REFUSAL_SECONDS)
    try:
        applied = secured.apply()
    finally:
        for gone in admin.delete_acls([AclBindingFilter(*place, AclPermissionType.ALLOW)]).values():
            gone.result(REFUSAL_SECONDS)
    assert applied.returncode == 1
    assert json.loads(applied.stdout) == {"user": f"User:{ENGINE}", "may": "WRITE", "on": "TOPIC", "LITERAL": topic}
    assert secured.apply().returncode == 0
