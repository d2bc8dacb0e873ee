"""Publishers of presses and requests that keep on through every fault, each with its own seed and its own habits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

if TYPE_CHECKING:
    import random
    import threading

    from tests.deployment import Deployment, Publisher

STEP_SECONDS = 0.02
REQUESTS_A_STEP = 4
ACCOUNTS = 20_000
# Chances of each step; the rest of it are plain requests.
PRESS = 0.05
STORM = 0.002
POISON = 0.02
DUPLICATE = 0.05
STORM_PRESSES = 2_000
TRANSACTION_PRESSES = 3
TRANSACTION_SECONDS = 10.0
BODIES = (b"", b"not json", b"[]", b"{}", b'{"account_id": 7', b"\xff\xfe\x00")

# A record that is sent again after a lost answer is one record; lost brokers are no news here.
RELIABLE: dict[str, Any] = {"enable.idempotence": True, "log_level": 0}
# What publishers may differ in (G8).
HABITS: tuple[dict[str, Any], ...] = (
    {"partitioner": "murmur2_random", "compression.type": "lz4"},
    {"partitioner": "consistent_random", "compression.type": "none"},
    {"partitioner": "fnv1a", "compression.type": "zstd"},
)


@dataclass
class Traffic:
    """One publisher: requests, now and then a press whose account asks right away, a storm, poison, a repeated id."""

    gate: Deployment
    number: int
    chance: random.Random
    stop: threading.Event
    burst: int = REQUESTS_A_STEP

    def run(self) -> None:
        """Publish until told to stop."""
        with self.gate.publisher(**RELIABLE, **HABITS[self.number % len(HABITS)]) as client:
            self._serial = 0
            while not self.stop.wait(STEP_SECONDS):
                self._step(client)

    def _step(self, client: Publisher) -> None:
        for _ in range(self.burst):
            self._request(client, f"acc-{self.chance.randrange(ACCOUNTS)}")
        if self.chance.random() < PRESS:
            robbed = f"acc-{self.chance.randrange(ACCOUNTS)}"
            client.press(robbed)
            for _ in range(REQUESTS_A_STEP):
                self._request(client, robbed)
        if self.chance.random() < DUPLICATE:
            account = f"acc-{self.chance.randrange(ACCOUNTS)}"
            for _ in range(2):
                client.request(account, f"same-{self.number}-{self._serial}")
        if self.chance.random() < POISON:
            topic = self.chance.choice(["panic-button", "withdrawal-request"])
            client.send_raw(topic, f"acc-{self.chance.randrange(ACCOUNTS)}".encode(), self.chance.choice(BODIES))
        if self.chance.random() < STORM:
            client.storm(STORM_PRESSES, f"storm-{self.number}-{self._serial}")

    def _request(self, client: Publisher, account: str) -> None:
        self._serial += 1
        client.request(account, f"w-{self.number}-{self._serial}")


@dataclass
class Transactions:
    """A publisher that presses in Kafka transactions; a press counts once its transaction is committed."""

    gate: Deployment
    chance: random.Random
    stop: threading.Event

    def run(self) -> None:
        """Press until told to stop; whatever went wrong with a transaction, the next producer fences it off."""
        producer = None
        with self.gate.publisher(**RELIABLE) as wallet:
            serial = 0
            while not self.stop.wait(self.chance.uniform(0.1, 0.5)):
                accounts = [f"acc-{self.chance.randrange(ACCOUNTS)}" for _ in range(TRANSACTION_PRESSES)]
                try:
                    producer = producer or transactional(self.gate, f"{self.gate.name}-presses")
                    self._press(producer, wallet, accounts)
                except KafkaException:
                    producer = None
                    continue
                for account in accounts:
                    serial += 1
                    wallet.request(account, f"t-{serial}")

    def _press(self, producer: Producer, client: Publisher, accounts: list[str]) -> None:
        places: list[Message] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                places.append(message)

        producer.begin_transaction()
        for account in accounts:
            producer.produce(
                self.gate.topic("panic-button"), client.body(account), account.encode(), on_delivery=delivered
            )
        producer.commit_transaction(TRANSACTION_SECONDS)
        for message in places:
            sent = client.sent((message.key() or b"").decode())
            sent.acknowledged(None, message)
            self.gate.history.presses.append(sent)


def transactional(gate: Deployment, name: str) -> Producer:
    """Return a producer of transactions; the brokers end one that it leaves open."""
    producer = Producer(
        {
            "bootstrap.servers": gate.bootstrap,
            "transactional.id": name,
            "transaction.timeout.ms": int(TRANSACTION_SECONDS * 1000),
            "log_level": 0,
        }
    )
    producer.init_transactions(TRANSACTION_SECONDS)
    return producer
