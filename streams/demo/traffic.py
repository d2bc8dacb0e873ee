"""The demo's publishers and readers: a wallet service at an even pace, a press, and what comes back."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from schemas.panic_button import encode_press
from schemas.topics import DEAD_LETTER, PANIC_BUTTON, WITHDRAWAL_DECISION, WITHDRAWAL_REQUEST
from schemas.wire import rfc3339
from schemas.withdrawal_decision import Verdict
from schemas.withdrawal_request import encode_request
from streams.errors import KafkaUnreachable
from streams.inspect.retained import is_record, require_topics
from streams.judge import History, Outcome, PressRecord, PressSent, RequestSent
from streams.kafka import publisher, reach, reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Consumer, Message, Producer

    from streams.settings import Settings

ACCOUNTS = 200
REQUESTS_PER_SECOND = 300
# One request in so many is the robbed account's: whoever stole the password is in a hurry.
ROBBED_EVERY = 20
# Longer than the story may take: traffic ends by itself even when nobody stops it.
MAX_TRAFFIC_SECONDS = 120.0
PACE_SECONDS = 0.01
DELIVERY_SECONDS = 20
POLL_SECONDS = 0.2
READ_SECONDS = 20.0
BATCH_RECORDS = 5_000


class Traffic:
    """Publishes requests and presses; notes on the monotonic clock when each was sent and acknowledged."""

    def __init__(self, settings: Settings, robbed: str) -> None:
        """Nothing is sent yet."""
        self.history = History(policy=settings.policy)
        self._settings = settings
        self._robbed = robbed
        # Idempotent, so that a retry after a lost answer does not store a record twice.
        options = {"enable.idempotence": True, "message.timeout.ms": DELIVERY_SECONDS * 1000}
        self._wallet = publisher(settings, **options)
        self._app = publisher(settings, **options)
        self._numbering = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._flow, daemon=True, name="demo-traffic")

    def start(self) -> None:
        """Let withdrawals flow."""
        self._thread.start()

    def _flow(self) -> None:
        begun_at = time.monotonic()
        sent = 0
        while (elapsed := time.monotonic() - begun_at) < MAX_TRAFFIC_SECONDS:
            while sent < elapsed * REQUESTS_PER_SECOND:
                # 37 and 200 have no common factor, so every account comes round.
                other = f"account-{sent * 37 % ACCOUNTS + 1:03}"
                self.request(self._robbed if sent % ROBBED_EVERY == 0 else other)
                sent += 1
            self._wallet.poll(0)
            if self._stopping.wait(PACE_SECONDS):  # the pace: a few requests each time, not a flood
                return

    def request(self, account_id: str) -> None:
        """Ask for a withdrawal; the number in its id is its place in the history."""
        with self._numbering:
            number = len(self.history.requests)
            sent = RequestSent(f"w-{number}", account_id, time.monotonic())
            self.history.requests.append(sent)
        asked_at = rfc3339(time.time_ns() // 1_000_000)
        value = encode_request(sent.withdrawal_id, account_id, "USDT", f"{number % 90 + 10}.00", asked_at)
        topic = self._settings.topic(WITHDRAWAL_REQUEST.name)
        self._wallet.produce(topic, value, account_id.encode(), on_delivery=sent.acknowledged)

    def press(self, account_id: str, press_id: str, freeze_seconds: int) -> PressSent:
        """Press the panic button and wait for the acknowledgement."""
        sent = PressSent(account_id)
        self.history.presses.append(sent)
        value = encode_press(account_id, press_id, freeze_seconds)
        topic = self._settings.topic(PANIC_BUTTON.name)
        self._app.produce(topic, value, account_id.encode(), on_delivery=sent.acknowledged)
        _drain(self._app)
        if sent.acknowledged_at < 0:
            message = f"Kafka did not acknowledge the press within {DELIVERY_SECONDS} s"
            raise KafkaUnreachable(message)
        return sent

    def request_of(self, withdrawal_id: str) -> RequestSent:
        """Return the request with that id."""
        return self.history.requests[int(withdrawal_id.removeprefix("w-"))]

    def stop(self) -> None:
        """Stop the flow and wait until everything sent is acknowledged or has failed."""
        self.let_go()
        _drain(self._wallet)

    def let_go(self) -> None:
        """Stop the flow without waiting for Kafka."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(1)


def _drain(producer: Producer) -> None:
    """Wait until everything sent is acknowledged or has failed; unlike flush, it lets a Ctrl-C through."""
    deadline = time.monotonic() + DELIVERY_SECONDS + 1
    while len(producer) and time.monotonic() < deadline:
        producer.poll(POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class Seen:
    """A decision as it was read, with the moment of reading on the monotonic clock."""

    at: float
    partition: int
    withdrawal_id: str
    account_id: str
    approved: bool
    reason: str | None
    frozen_until: str | None


class Reading:
    """Reads decisions and dead letters as they are committed, in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is read yet."""
        self.decisions: list[Seen] = []
        # The requests that have an outcome, by the partition and offset they lie at.
        self.answered: set[tuple[int, int]] = set()
        self.approved = self.rejected = 0
        self._decision_topic = settings.topic(WITHDRAWAL_DECISION.name)
        self._consumer = reader(settings, f"{settings.group}-live")
        topics = [self._decision_topic, settings.topic(DEAD_LETTER.name)]
        self._consumer.assign(_from_the_start(settings, topics))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True, name="demo-reading")

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def _read(self) -> None:
        while not self._stopping.is_set():
            first = self._consumer.poll(POLL_SECONDS)
            at = time.monotonic()
            for message in () if first is None else (first, *self._consumer.consume(BATCH_RECORDS, 0)):
                if is_record(message):
                    self._note(message, at)
        self._consumer.close()

    def _note(self, message: Message, at: float) -> None:
        decided = message.topic() == self._decision_topic
        outcome = Outcome.of_decision(message) if decided else Outcome.of_dead_letter(message)
        if outcome is None:
            return
        self.answered.add((outcome.partition, outcome.offset))
        if outcome.decision is not None:
            self._count(_seen(outcome.decision, outcome.partition, at))

    def _count(self, seen: Seen) -> None:
        self.approved += seen.approved
        self.rejected += not seen.approved
        self.decisions.append(seen)

    def first(self, since: int, wanted: Callable[[Seen], bool]) -> Seen | None:
        """Return the first decision that is wanted, among those behind the first `since` ones."""
        return next((seen for seen in self.decisions[since:] if wanted(seen)), None)

    def stop(self) -> None:
        """Read no more."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(2)


def _seen(decision: dict[str, Any], partition: int, at: float) -> Seen:
    return Seen(
        at,
        partition,
        decision["withdrawal_id"],
        decision["account_id"],
        decision["decision"] == Verdict.APPROVED,
        decision["reason"],
        decision["frozen_until"],
    )


def _from_the_start(settings: Settings, topics: list[str]) -> list[TopicPartition]:
    """Return where reading begins: the demo made these topics, so each begins at 0."""
    counts = require_topics(reach(settings), topics)
    return [TopicPartition(topic, partition, 0) for topic, count in counts.items() for partition in range(count)]


def read_topics(settings: Settings, history: History) -> None:
    """Read from the topics into the history what lies there in the end, as any committed reader sees it."""
    history.press_records = [
        record for message in _read_all(settings, PANIC_BUTTON.name) if (record := PressRecord.of(message)) is not None
    ]
    history.outcomes = [Outcome.of_decision(message) for message in _read_all(settings, WITHDRAWAL_DECISION.name)]
    history.outcomes += [
        outcome
        for message in _read_all(settings, DEAD_LETTER.name)
        if (outcome := Outcome.of_dead_letter(message)) is not None
    ]


def _read_all(settings: Settings, name: str) -> list[Message]:
    places = _from_the_start(settings, [settings.topic(name)])
    consumer = reader(settings, f"{settings.group}-judge")
    try:
        consumer.assign(places)
        return _read_to_ends(consumer, len(places), name)
    finally:
        consumer.close()


def _read_to_ends(consumer: Consumer, partitions: int, name: str) -> list[Message]:
    found: list[Message] = []
    ended: set[int | None] = set()
    deadline = time.monotonic() + READ_SECONDS
    while len(ended) < partitions:
        if time.monotonic() > deadline:
            message_text = f"{name} could not be read to its end within {READ_SECONDS:g} s"
            raise KafkaUnreachable(message_text)
        first = consumer.poll(POLL_SECONDS)
        for message in () if first is None else (first, *consumer.consume(BATCH_RECORDS, 0)):
            error = message.error()
            if error is None:
                found.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition())
            elif not error.retriable():
                raise KafkaException(error)
    return found
