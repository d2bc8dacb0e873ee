"""One secured broker: the whole flow runs with the rights that are declared, and nobody can do more."""

from __future__ import annotations

import json
import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

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
from schemas.signature import SIGNATURE_HEADER, SigningKeys, parse_keys
from schemas.topics import TOPICS, WITHDRAWAL_DECISION_SHADOW
from tests.certificates import Authority
from tests.connect.rail import open_rail
from tests.deployment import Deployment
from tests.pages.reading import told_stopped
from tests.processes import Running, wait_for
from tests.secured import Secured, SecuredBroker

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
ROOT = Path(__file__).parents[2]
ENGINE_PROGRAM = ROOT / "docs" / "examples" / "engine.py"
SECRET = "not-the-password"  # noqa: S105  (a stand-in)


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


def decisions(secured: Secured, *wanted: str) -> dict[str, str]:
    """Return verdicts by withdrawal id, read by the engine's user in the engine's group."""
    found = decided(secured, *wanted)
    return {name: json.loads(found[name].value() or b"")["decision"] for name in wanted}


def decided(secured: Secured, *wanted: str) -> dict[str, Message]:
    """Return the records of these decisions, and of some others, by withdrawal id."""
    consumer = Consumer(
        {
            **secured.client_options(ENGINE),
            "group.id": f"{secured.gate.prefix}withdrawal-engine",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([secured.gate.topic("withdrawal-decision")])
    found: dict[str, Message] = {}

    def all_there() -> bool:
        message = consumer.poll(0.2)
        if message is not None:
            assert message.error() is None, message.error()
            found[json.loads(message.value() or b"")["withdrawal_id"]] = message
        return found.keys() >= set(wanted)

    wait_for(all_there, f"decisions of {wanted}")
    consumer.close()
    return found


def test_the_whole_flow_runs_with_the_rights_that_are_declared(secured: Secured) -> None:
    """Press, request, decision, a worker that takes over, and every command that reads, each as its own user."""
    gate = secured.gate
    first = gate.worker("one", GATE_KAFKA_OPTIONS=secured.as_user(GATE)).wait_ready()
    assert secured.tell(WALLET, "request", "acc", "--id", "w-before")[0] == 0
    decisions(secured, "w-before")
    assert secured.tell(APP, "press", "acc")[0] == 0
    first.kill()
    second = gate.worker("two", GATE_CONSOLE="1", GATE_KAFKA_OPTIONS=secured.as_user(GATE)).wait_ready()
    assert secured.tell(WALLET, "request", "acc", "--id", "w-after")[0] == 0
    assert secured.tell(WALLET, "request", "other", "--id", "w-other")[0] == 0
    verdicts = {"w-before": "approved", "w-after": "rejected", "w-other": "approved"}
    assert decisions(secured, *verdicts) == verdicts
    assert secured.tell(SUPPORT, "status", "acc")[1][0]["frozen"] is True
    code, rounds, complaints = secured.tell(DRILL, "drill")
    assert (code, rounds[0]["ended"]) == (0, "kept"), complaints
    wait_for(lambda: told_stopped(second, "acc") == "1, by all workers, since this freeze began", "the console's count")
    for command in (["audit"], ["report"], ["evidence", "acc"]):
        code, _, complaints = secured.tell(AUDITOR, *command)
        assert code == 0, complaints
    shadow = gate.worker("shadow", GATE_SHADOW="1", GATE_KAFKA_OPTIONS=secured.as_user(SHADOW)).wait_ready()
    approved = 'gate_decisions_total{decision="approved",reason="none"}'
    # One: whoever pressed since is frozen for a gate that comes later, what was asked for before the press too.
    wait_for(lambda: shadow.metric(approved) >= 1, "what the shadow decides")
    for reading in ("audit", "report"):
        done = gate.command(reading, GATE_SHADOW="1", GATE_KAFKA_OPTIONS=secured.as_user(AUDITOR))
        assert done.returncode == 0, done.stderr
    password = secured.broker.passwords[GATE]
    process = Path(f"/proc/{second.process.pid}")
    if process.exists():
        assert password.encode() not in (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    assert password not in second.get("/metrics")[1] + first.log.read_text() + second.log.read_text()
    assert second.stop() == 0


def test_a_console_that_may_not_read_decisions_says_so_and_its_worker_stays_ready(secured: Secured) -> None:
    """The right is taken away from a worker that runs: not known at present. Given back, the number is whole."""
    gate = secured.gate
    worker = gate.worker("console", GATE_CONSOLE="1", GATE_KAFKA_OPTIONS=secured.as_user(GATE)).wait_ready()
    assert secured.tell(APP, "press", "acc-console")[0] == 0
    whole = "1, by all workers, since this freeze began"
    assert secured.tell(WALLET, "request", "acc-console", "--id", "w-console")[0] == 0
    wait_for(lambda: told_stopped(worker, "acc-console") == whole, "the console's count")
    name, literal = gate.topic("withdrawal-decision"), ResourcePatternType.LITERAL
    denial = ResourceType.TOPIC, name, literal, f"User:{GATE}", "*", AclOperation.READ, AclPermissionType.DENY
    gate.admin.create_acls([AclBinding(*denial)])[AclBinding(*denial)].result()
    try:
        wait_for(lambda: "not known at present" in told_stopped(worker, "acc-console"), "the console to say so")
        assert worker.ready()
    finally:
        gate.admin.delete_acls([AclBindingFilter(*denial)])[AclBindingFilter(*denial)].result()
    wait_for(lambda: told_stopped(worker, "acc-console") == whole, "the count to be whole again")
    assert worker.log.read_text().count("can't count stopped requests at present") == 1
    assert worker.stop() == 0


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
    over_tls = {"security.protocol": "SSL", "ssl.ca.location": str(secured.broker.authority.path)}
    for options in ({}, over_tls):
        client = AdminClient({"bootstrap.servers": secured.broker.bootstrap, "log_level": 0, **options})
        with pytest.raises(KafkaException):
            client.list_topics(timeout=3)
    assert secured.broker.client(ENGINE).list_topics(timeout=10).brokers


def forgeries(real: Message, keys: SigningKeys, retired: SigningKeys) -> list[tuple[bytes, list[bytes]]]:
    """Return what a thief of the gate's password writes, without the key of its day: values and their signatures."""
    value = real.value() or b""
    signature = keys.sign(value)
    best = value.replace(b"w-real", b"w-forged").replace(b"acc-1", b"acc-thief")
    unknown = SigningKeys({"nobody": secrets.token_bytes(32)})
    altered = signature[:-1] + (b"1" if signature.endswith(b"0") else b"0")
    return [
        (best, []),
        (best, [signature]),
        (value.replace(b"w-real", b"w-other"), [signature]),
        (value + b" ", [signature]),
        (value, [altered]),
        (value, [signature, altered]),
        (best, [unknown.sign(best)]),
        (best, [retired.sign(best)]),
        (best, [retired.sign(best).replace(b"old", b"new")]),
    ]


def test_a_thief_of_the_gates_password_gets_nothing_paid_by_an_engine_that_checks(secured: Secured) -> None:
    """Altered, unsigned, under an unknown or a retired key, late, copied: none of it leaves."""
    gate = secured.gate
    keys, retired = parse_keys(f"new {secrets.token_hex(32)}"), parse_keys(f"old {secrets.token_hex(32)}")
    key_file = gate.folder / "keys"
    key_file.write_text(f"new {keys.secrets['new'].hex()}\n")
    signing = {"GATE_DECISION_KEY_FILE": str(key_file), "GATE_APPROVAL_SECONDS": "59"}
    worker = gate.worker(GATE_KAFKA_OPTIONS=secured.as_user(GATE), **signing).wait_ready()
    assert secured.tell(WALLET, "request", "acc-1", "--id", "w-real")[0] == 0
    real = decided(secured, "w-real")["w-real"]
    late = json.loads(real.value() or b"")
    late |= {"withdrawal_id": "w-late", "valid_until": late["decided_at"]}
    expired, copy = json.dumps(late).encode(), real.value() or b""
    written = forgeries(real, keys, retired)
    thief = Producer(secured.client_options(GATE))
    for value, signatures in [*written, (expired, [keys.sign(expired)]), (copy, [keys.sign(copy)])]:
        headers: list[tuple[str, str | bytes | None]] = [(SIGNATURE_HEADER, one) for one in signatures]
        thief.produce(gate.topic("withdrawal-decision"), value, partition=real.partition() or 0, headers=headers)
    assert thief.flush(20) == 0
    with open_rail() as rail:
        engine = Running(
            gate,
            *(sys.executable, str(ENGINE_PROGRAM), str(gate.folder / "ledger"), rail.url),
            GATE_KAFKA_OPTIONS=secured.as_user(ENGINE),
            GATE_DECISION_KEY_FILE=str(key_file),
            PYTHONPATH=str(ROOT),
        )
        try:
            assert secured.tell(WALLET, "request", "acc-1", "--id", "w-last")[0] == 0
            wait_for(lambda: {"w-late", "w-last"} <= {line["withdrawal"] for line in engine.records()}, "the engine")
            assert engine.end(signal.SIGTERM) == (0, "")
        finally:
            engine.close()
    outcomes = [line["outcome"] for line in engine.records() if line["withdrawal"].startswith(f"{real.partition()}:")]
    assert outcomes.count("refused, it is not signed by one of the keys") >= len(written)
    assert {line["withdrawal"]: line["outcome"] for line in engine.records()}["w-late"] == "expired"
    assert rail.times_paid() == {"w-real": 1, "w-last": 1}
    assert worker.stop() == 0


def untrusted(secured: Secured) -> dict[str, tuple[dict[str, str], str, str]]:
    """Return clients that nobody may trust, or that trust what they must not: options, where to, and what is said."""
    # Of a client's own certificate, a broker says no more than that it takes it for unknown.
    broker, folder = secured.broker, secured.gate.folder
    sound = broker.options(GATE)
    stranger = Authority(folder / "stranger.pem")
    late = str(broker.authority.issue(folder / "late.pem", "broker", expired=True))
    return {
        "wrong-password": ({**sound, "sasl.password": SECRET}, broker.bootstrap, "authentication failed"),
        "expired-broker": (sound, broker.expired, "refused: certificate has expired"),
        "unknown-authority": (
            {**sound, "ssl.ca.location": str(stranger.path)},
            broker.bootstrap,
            "unable to get local issuer certificate",
        ),
        "expired-client": (with_certificate(broker, late), broker.mutual, "tls alert certificate"),
    }


def with_certificate(broker: SecuredBroker, path: str) -> dict[str, str]:
    """Return the options of a client that shows a certificate instead of a password."""
    return {
        "security.protocol": "SSL",
        "ssl.ca.location": str(broker.authority.path),
        "ssl.certificate.location": path,
        "ssl.key.location": path,
    }


def test_a_wrong_password_or_certificate_is_exit_3_and_repeats_no_secret(secured: Secured) -> None:
    """The broker's or the client's has expired, or nobody known has signed it: one line says so, of a worker too."""
    tried, password = [], secured.broker.passwords[GATE]
    for name, (options, bootstrap, reason) in untrusted(secured).items():
        path = secured.written(name, options)
        worker = secured.gate.worker(GATE_KAFKA_OPTIONS=path, GATE_KAFKA_BOOTSTRAP=bootstrap)
        done = secured.gate.command("status", "acc", GATE_KAFKA_OPTIONS=path, GATE_KAFKA_BOOTSTRAP=bootstrap)
        assert (done.returncode, done.stdout) == (3, ""), f"{name}: {done.stderr}"
        tried.append((worker, done.stderr, bootstrap, reason))
    for worker, complaint, bootstrap, reason in tried:
        assert worker.process.wait(60) == 3
        for said in (complaint, worker.log.read_text()):
            assert any(bootstrap in line and reason in line.lower() for line in said.splitlines()), said
            for secret in (SECRET, password, "PRIVATE KEY", "Traceback"):
                assert secret not in said


def test_a_certificate_that_has_not_expired_is_taken(secured: Secured) -> None:
    """So it is the time alone that the broker minds in the one that has; and a client that looks at no time gets in."""
    broker = secured.broker
    sound = secured.written("certificate", with_certificate(broker, str(broker.keystore)))
    done = secured.gate.command("status", "nobody", GATE_KAFKA_OPTIONS=sound, GATE_KAFKA_BOOTSTRAP=broker.mutual)
    assert (done.returncode, json.loads(done.stdout)["frozen"]) == (1, False), done.stderr
    blind = {**secured.client_options(GATE), "enable.ssl.certificate.verification": "false"}
    assert AdminClient({**blind, "bootstrap.servers": broker.expired}).list_topics(timeout=10).brokers


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
