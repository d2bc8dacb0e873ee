"""A deployment of the gate on a real broker: its topics, worker processes, publishers, and what the topics hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from schemas.topics import TOPICS, WITHDRAWAL_DECISION_SHADOW
from streams.judge import History, Outcome, PressRecord, PressSent, RequestSent
from streams.kafka import topic_config
from tests.processes import PATIENCE_SECONDS, Worker, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from schemas.topics import Topic

READ_SECONDS = 20.0


@dataclass
class Deployment:
    """Topics behind a prefix, a group, a policy; the history of what was published to it."""

    bootstrap: str
    name: str
    folder: Path
    partitions: int = 3
    environment: dict[str, str] = field(default_factory=dict)
    # Where its decisions are read; those of a shadow lie elsewhere.
    decision_topic: str = "withdrawal-decision"
    history: History = field(default_factory=History)
    workers: list[Worker] = field(default_factory=list)
    _publishers: list[Publisher] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Name everything after the test."""
        self.prefix = f"{self.name}."
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("GATE_")},
            "GATE_KAFKA_BOOTSTRAP": self.bootstrap,
            "GATE_TOPIC_PREFIX": self.prefix,
            "GATE_GROUP": self.name,
            "PYTHONFAULTHANDLER": "1",
            **self.environment,
        }
        self.connect()
        self.serial = 0

    def connect(self) -> None:
        """Ask the brokers through a new client."""
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap})

    def topic(self, name: str) -> str:
        """Return the topic's name in this deployment."""
        return self.prefix + name

    def create_topics(self, *more: Topic, **config: dict[str, str]) -> None:
        """Make the five topics and `more`; `panic_button={...}` overrides that topic's configuration."""
        topics = (*TOPICS, *more)
        new = [
            NewTopic(
                self.topic(topic.name),
                self.partitions,
                1,
                config={**topic.config, **config.get(topic.name.replace("-", "_"), {})},
            )
            for topic in topics
        ]
        for future in self.admin.create_topics(new).values():
            future.result()
        wait_for(lambda: self._known(topics), "the new topics to be known")

    def _known(self, topics: Sequence[Topic]) -> bool:
        known = self.admin.list_topics(timeout=5).topics
        return all(
            self.topic(topic.name) in known
            and all(partition.leader >= 0 for partition in known[self.topic(topic.name)].partitions.values())
            for topic in topics
        )

    def delete_topics(self) -> None:
        """Take the topics away again."""
        topics = [self.topic(topic.name) for topic in (*TOPICS, WITHDRAWAL_DECISION_SHADOW)]
        for future in self.admin.delete_topics(topics).values():
            try:
                future.result()
            except KafkaException as exception:
                if exception.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise

    def alter_topic(self, name: str, setting: str, value: str) -> None:
        """Change one setting of a topic, and wait until the broker tells it; its logs heed it some moments later."""
        entry = ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, self.topic(name), incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result()
        wait_for(lambda: topic_config(self.admin, self.topic(name))[setting] == value, "the setting to be told")

    def add_partitions(self, name: str, total: int) -> None:
        """Let a topic grow."""
        topic = self.topic(name)
        self.admin.create_partitions([NewPartitions(topic, total)])[topic].result()
        wait_for(lambda: len(self.admin.list_topics(topic, timeout=5).topics[topic].partitions) == total, "partitions")

    def command(self, *arguments: str, seconds: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the product to its end."""
        return subprocess.run(
            [sys.executable, "-m", "streams", *arguments],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            cwd=Path(__file__).parent.parent,
        )

    def worker(self, folder: str | None = None, module: str = "streams", **environment: str) -> Worker:
        """Start a worker; the same folder name means the same data folder."""
        self.serial += 1
        path = self.folder / (folder or f"worker-{self.serial}")
        worker = Worker({**self.environment, **environment}, path, module)
        self.workers.append(worker)
        return worker

    def stop(self) -> None:
        """End every worker that still runs."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()

    def policy(self, minimum: int = 1, default: int = 2, maximum: int = 604_800) -> None:
        """Let workers and commands use a policy of seconds."""
        path = self.folder / "policy.json"
        bounds = {"min_seconds": minimum, "default_seconds": default, "max_seconds": maximum}
        path.write_text(json.dumps([{"effective_from": "1970-01-01T00:00:00Z", **bounds}]))
        self.environment["GATE_POLICY"] = str(path)

    @contextmanager
    def publisher(self, **options: Any) -> Iterator[Publisher]:
        """Publish with a client of these librdkafka options; everything sent is acknowledged at the end."""
        publisher = Publisher(self, options)
        self._publishers.append(publisher)
        yield publisher
        publisher.flush()
        self._publishers.remove(publisher)

    def read(self, name: str, isolation: str = "read_committed") -> list[Message]:
        """Return everything that a topic holds, partition by partition, as a committed reader sees it."""
        return list(self.records(name, isolation))

    def records(
        self, name: str, isolation: str = "read_committed", start: dict[int, int] | None = None
    ) -> Iterator[Message]:
        """Read a topic from these offsets, or the beginning, to its end; they are moved on behind what was read."""
        topic = self.topic(name)
        partitions = self.admin.list_topics(topic, timeout=5).topics[topic].partitions
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": f"{self.name}-read",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": isolation,
            }
        )
        following = {} if start is None else start
        consumer.assign([TopicPartition(topic, partition, following.get(partition, 0)) for partition in partitions])
        ended: set[int] = set()
        while len(ended) < len(partitions):
            first = consumer.poll(READ_SECONDS)
            assert first is not None, f"the end of {topic} was not reached"
            for message in (first, *consumer.consume(5_000, 0)):
                error = message.error()
                if error is None:
                    following[message.partition() or 0] = (message.offset() or 0) + 1
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition() or 0)
                elif not error.retriable():
                    raise KafkaException(error)
        consumer.close()

    def values(self, name: str) -> list[dict[str, Any]]:
        """Return the JSON values of a topic."""
        return [json.loads(message.value() or b"null") for message in self.read(name)]

    def decisions(self) -> dict[str, dict[str, Any]]:
        """Return the decisions by withdrawal id."""
        return {decision["withdrawal_id"]: decision for decision in self.values(self.decision_topic)}

    def end_offsets(self, name: str) -> dict[int, int]:
        """Return the end offset of each partition."""
        topic = self.topic(name)
        partitions = self.admin.list_topics(topic, timeout=5).topics[topic].partitions
        asked = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in partitions}
        return {place.partition: future.result().offset for place, future in self.admin.list_offsets(asked).items()}

    def wait_decided(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until every request sent has an outcome, then read the topics into the history."""
        for publisher in self._publishers:
            publisher.flush()
        failed = {sent.failed for sent in self.history.requests if sent.failed}
        assert not failed, f"requests were not acknowledged: {failed}"
        wanted = places(self.history.requests)

        def all_there() -> bool:
            self.read_history()
            missing.clear()
            missing.update(wanted - {(outcome.partition, outcome.offset) for outcome in self.history.outcomes})
            return not missing

        missing: set[tuple[int, int]] = set()
        try:
            wait_for(all_there, f"an outcome for each of {len(wanted)} requests", seconds)
        except AssertionError as error:
            logs = "\n".join(worker.log.read_text() for worker in self.workers)
            message = (
                f"{error}; {len(missing)} are missing, the first {sorted(missing)[:5]}; the workers' logs:\n{logs}"
            )
            raise AssertionError(message) from None

    def read_history(self) -> None:
        """Read what the topics say into the history, for the judge."""
        self.history.outcomes = [Outcome.of_decision(message) for message in self.read(self.decision_topic)]
        self.history.outcomes += [
            outcome for message in self.read("dead-letter") if (outcome := Outcome.of_dead_letter(message)) is not None
        ]
        self.history.press_records = [
            record for message in self.read("panic-button") if (record := PressRecord.of(message)) is not None
        ]


class Publisher:
    """Publishes presses and requests, and notes when each was sent and acknowledged, on one monotonic clock."""

    def __init__(self, deployment: Deployment, options: dict[str, Any]) -> None:
        """Make the producer."""
        self._deployment = deployment
        self.producer = Producer({"bootstrap.servers": deployment.bootstrap, "acks": "all", "linger.ms": 0, **options})

    def press(self, account_id: str, seconds: int | None = None, **more: Any) -> PressSent:
        """Press and wait for the acknowledgement."""
        sent = self.send_press(account_id, seconds, **more)
        self.flush()
        return sent

    def send_press(self, account_id: str, seconds: int | None = None, **more: Any) -> PressSent:
        """Press without waiting."""
        body: dict[str, Any] = {"account_id": account_id, **more}
        if seconds is not None:
            body["freeze_seconds"] = seconds
        sent = PressSent(account_id)
        self._deployment.history.presses.append(sent)
        self._produce("panic-button", account_id.encode(), json.dumps(body).encode(), sent.acknowledged)
        return sent

    def request(self, account_id: str, withdrawal_id: str | None = None, **more: Any) -> RequestSent:
        """Ask for a withdrawal, without waiting."""
        history = self._deployment.history
        withdrawal_id = withdrawal_id or f"w-{len(history.requests)}"
        body = {"withdrawal_id": withdrawal_id, "account_id": account_id, "asset": "USDT", "amount": "12.5", **more}
        sent = RequestSent(withdrawal_id, account_id, time.monotonic())
        history.requests.append(sent)
        self._produce("withdrawal-request", account_id.encode(), json.dumps(body).encode(), sent.acknowledged)
        return sent

    def storm(self, count: int, name: str) -> None:
        """Press for many accounts at once, as fast as the client can; nobody notes these."""
        accounts = [f"{name}-{number}" for number in range(count)]
        messages = [{"key": account_id.encode(), "value": self.body(account_id)} for account_id in accounts]
        assert self.producer.produce_batch(self._deployment.topic("panic-button"), messages) == count

    @staticmethod
    def sent(account_id: str) -> PressSent:
        """Return a press that is about to be sent by `raw`."""
        return PressSent(account_id)

    @staticmethod
    def body(account_id: str) -> bytes:
        """Return the least that a press says."""
        return json.dumps({"account_id": account_id}).encode()

    def raw(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        report: PressSent | None = None,
        **options: Any,
    ) -> tuple[int, int]:
        """Publish any bytes and return partition and offset; `report` takes the delivery report, too."""
        places: list[tuple[int, int]] = []

        def acknowledged(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            places.append((message.partition() or 0, message.offset() or 0))
            if report is not None:
                report.acknowledged(error, message)

        self._produce(topic, key, value, acknowledged, **options)
        self.flush()
        return places[0]

    def send_raw(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Publish any bytes without waiting."""
        self._produce(topic, key, value, lambda *_: None)

    def _produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        acknowledged: Callable[[KafkaError | None, Message], None],
        **options: Any,
    ) -> None:
        while True:
            try:
                self.producer.produce(self._deployment.topic(topic), value, key, on_delivery=acknowledged, **options)
            except BufferError:
                self.producer.poll(0.1)
            else:
                self.producer.poll(0)
                return

    def flush(self) -> None:
        """Wait until everything sent is acknowledged."""
        left = self.producer.flush(60)
        assert left == 0, f"{left} records were not acknowledged within 60 s"


def places(sent: Sequence[RequestSent]) -> set[tuple[int, int]]:
    """Return where the requests lie."""
    return {(one.partition, one.offset) for one in sent}
