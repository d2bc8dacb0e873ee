"""librdkafka clients with the options that the promises rest on, and the questions put to the brokers.

Every call here blocks: call it from a thread, never from the event loop.
"""

from __future__ import annotations

import socket
import ssl
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType

from streams.errors import KafkaUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from schemas.dead_letter import Headers
    from streams.settings import Settings

Answer = TypeVar("Answer")

REACH_SECONDS = 15.0
REQUEST_SECONDS = 5.0
LEADER_SECONDS = 1.0
# A dead worker's partitions move on, and its open transactions end, after about this long (design.md, decision 4).
SESSION_TIMEOUT_MS = 10_000
TRANSACTION_TIMEOUT_MS = 10_000
# A rebalance callback waits for a commit under way, so a poll can come late by as much as a commit may take.
MAX_POLL_INTERVAL_MS = 120_000
# librdkafka's default of `batch.size`.
MAX_BATCH_BYTES = 1_000_000
# What a consumer holds ready: several batches, and no more memory than that.
QUEUED_KBYTES = 8_192
# Of each partition: the limit above counts keys and values alone, and a press takes several times its size. With
# librdkafka's 100,000 a worker that restored 1,000,000 presses held 219-320 MB, with this 198-222 MB (six runs each).
QUEUED_RECORDS = 10_000

# What passes while brokers restart, leaders change and topics grow, although librdkafka does not call all of it
# retriable. A new partition is known to one broker sooner than to another, and to its leader perhaps last.
_PASSING = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError._NOENT,  # no partition has a leader
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._ALL_BROKERS_DOWN,
    }
)


def base_options(settings: Settings) -> dict[str, Any]:
    """Return what every client shares; options of the operator's file come first, ours last."""
    return {
        # What follows from a lost connection the gate says itself; librdkafka's own lines on stderr repeat it for ever.
        "log_level": 0,
        # The other strategy forgets the brokers when none answers; a send_offsets_to_transaction under way then never
        # returns, whatever its timeout (librdkafka 2.16, after a restart of a single broker: seen each time).
        "metadata.recovery.strategy": "none",
        # Half of it passes between a new client's first connection and the next, and a lane that is opened needs five.
        "reconnect.backoff.ms": 20,
        # Reconnects quickly: a broker that comes back must not find the gate asleep.
        "reconnect.backoff.max.ms": 1_000,
        # A consumer must not miss new partitions or leaders for the five minutes that are librdkafka's default.
        "topic.metadata.refresh.interval.ms": 30_000,
        **settings.kafka_options,
        "bootstrap.servers": settings.kafka_bootstrap,
    }


def admin(settings: Settings) -> AdminClient:
    """Return a client for questions to the brokers."""
    return AdminClient(base_options(settings))


def reader(settings: Settings, group: str, **options: Any) -> Consumer:
    """Return a consumer for explicit assignments: it joins no group, commits nothing and sees committed records only.

    Where reading starts is never left to the client (`auto.offset.reset=error`), see design.md, decision 4. `options`
    come last.
    """
    return Consumer(
        {
            **base_options(settings),
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            # An empty fetch is what tells the end of a partition: this long whoever reads up to it waits.
            "fetch.wait.max.ms": 50,
            # As for a member: a queue that was full once would else stay empty for most of a second.
            "fetch.queue.backoff.ms": 10,
            "queued.max.messages.kbytes": QUEUED_KBYTES,
            "queued.min.messages": QUEUED_RECORDS,
            **options,
        },
    )


def member(settings: Settings, group: str) -> Consumer:
    """Return a consumer that joins `group`; offsets are committed in the producers' transactions only."""
    return Consumer(
        {
            **base_options(settings),
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            # The others hear with a heartbeat that somebody came or went; until all have, nobody decides what moves.
            "heartbeat.interval.ms": 100,
            # A heartbeat that is due waits until librdkafka's own thread wakes, which else is twice a second whatever
            # the interval. Nobody reads the statistics.
            "statistics.interval.ms": 50,
            "max.poll.interval.ms": MAX_POLL_INTERVAL_MS,
            "fetch.wait.max.ms": 500,
            # With its queue full, librdkafka fetches again after this long; its default of a second starves us.
            "fetch.queue.backoff.ms": 10,
            "queued.max.messages.kbytes": QUEUED_KBYTES,
            "queued.min.messages": QUEUED_RECORDS,
        },
    )


def transactional_producer(settings: Settings, transactional_id: str, output_bytes: Collection[int]) -> Producer:
    """Return a producer whose transactional id fences every earlier one of the same id.

    `output_bytes` is the `max.message.bytes` of each topic that it writes.
    """
    return Producer(
        {
            **base_options(settings),
            "transactional.id": transactional_id,
            "enable.idempotence": True,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "message.max.bytes": max(output_bytes),
            # The brokers' limit counts for what is sent to a partition at once. A batch that is larger is refused each
            # time it is sent, and the transaction never commits.
            "batch.size": min(*output_bytes, MAX_BATCH_BYTES),
            "queue.buffering.max.messages": 1_000_000,
            "linger.ms": 0,
            "compression.type": "lz4",
            # The coordinator answers CONCURRENT_TRANSACTIONS while the last commit's markers are written; waiting
            # librdkafka's default of 100 ms for that costs a p99 of 90-140 ms (design.md, "Wiring").
            "retry.backoff.ms": 2,
            "retry.backoff.max.ms": 20,
        },
    )


def publisher(settings: Settings, **options: Any) -> Producer:
    """Return a producer for presses and requests: acknowledged by all replicas, or not at all."""
    return Producer({**base_options(settings), "acks": "all", "linger.ms": 0, **options})


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """What the brokers say of a topic."""

    name: str
    topic_id: str
    partitions: int
    replication: int


def error_of(exception: KafkaException) -> KafkaError:
    """Return the error that a client raised."""
    error = exception.args[0]
    return error if isinstance(error, KafkaError) else KafkaError(KafkaError._FAIL, str(error))


def ask(question: Callable[[], Answer], seconds: float = REQUEST_SECONDS) -> Answer:
    """Put a question to the brokers, again for `seconds` while they change leaders or can't be reached."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return question()
        except KafkaException as exception:
            error = error_of(exception)
            if not (error.retriable() or error.code() in _PASSING) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)  # between two tries; nothing here could wake us earlier


def reach(settings: Settings, seconds: float = REACH_SECONDS) -> AdminClient:
    """Return an admin client that has had an answer; raise KafkaUnreachable after `seconds` without one."""
    reasons: list[str] = []
    options = {**base_options(settings), "error_cb": lambda error: reasons.append(error.str())}
    client = AdminClient(options)
    try:
        ask(lambda: client.list_topics(timeout=min(seconds, 1.0)), seconds)  # short, so that Ctrl-C is heard
    except KafkaException as exception:
        client.poll(0)
        reason = next((r for r in reasons if "authentication" in r.lower() or "ssl" in r.lower()), None)
        if reason is not None and "certificate verify failed" in reason:
            reason = _certificate_fault(settings) or reason
        message = f"Kafka at {settings.kafka_bootstrap} gave no answer within {seconds:g} s: "
        raise KafkaUnreachable(message + (reason or error_of(exception).str())) from exception
    return client


def _certificate_fault(settings: Settings) -> str | None:
    """Say what is wrong with a broker's certificate, None when that can't be told.

    librdkafka names ssl.ca.location whatever it is, be it that the certificate has expired.
    """
    for server in settings.kafka_bootstrap.split(","):
        host, _, port = server.strip().rpartition(":")
        name = host.strip("[]")
        try:
            context = ssl.create_default_context(cafile=settings.kafka_options.get("ssl.ca.location"))
            with socket.create_connection((name, int(port)), REQUEST_SECONDS) as connection:
                context.wrap_socket(connection, server_hostname=name).close()
        except ssl.SSLCertVerificationError as error:
            return f"the certificate of {server.strip()} is refused: {error.verify_message}"
        except OSError:
            continue
    return None


def describe_topic(client: AdminClient, name: str) -> TopicFacts | None:
    """Return what the brokers say of a topic now (never from a cache), None when there is no such topic."""
    return describing_topic(client, name)()


def describing_topic(client: AdminClient, name: str) -> Callable[[], TopicFacts | None]:
    """Ask as `describe_topic` does; call what comes back for the answer."""
    answer = client.describe_topics(TopicCollection([name]), request_timeout=REQUEST_SECONDS)[name]

    def facts() -> TopicFacts | None:
        try:
            found = answer.result()
        except KafkaException as exception:
            if error_of(exception).code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            raise
        replication = min((len(partition.replicas) for partition in found.partitions), default=0)
        return TopicFacts(name, str(found.topic_id), len(found.partitions), replication)

    return facts


def topic_config(client: AdminClient, name: str) -> dict[str, str]:
    """Return a topic's configuration, defaults included."""
    resource = ConfigResource(ResourceType.TOPIC, name)
    entries = client.describe_configs([resource], request_timeout=REQUEST_SECONDS)[resource].result()
    return {option: entry.value or "" for option, entry in entries.items()}


def end_offsets(client: AdminClient, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Ask the leaders for the high watermark of each partition, committed or not; never answered from a cache."""
    return asking_end_offsets(client, topic, partitions)()


def asking_end_offsets(client: AdminClient, topic: str, partitions: Iterable[int]) -> Callable[[], dict[int, int]]:
    """Ask as `end_offsets` does; call what comes back for the answer."""
    return _asking_offsets(client, topic, {TopicPartition(topic, p): OffsetSpec.latest() for p in partitions})


def stable_offsets(client: AdminClient, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Ask the leaders for the last stable offset of each partition: every transaction below has ended."""
    wanted = {TopicPartition(topic, p): OffsetSpec.latest() for p in partitions}
    return _asking_offsets(client, topic, wanted, IsolationLevel.READ_COMMITTED)()


def start_offsets(client: AdminClient, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Ask the leaders for the first offset that each partition still holds."""
    return _asking_offsets(client, topic, {TopicPartition(topic, p): OffsetSpec.earliest() for p in partitions})()


def offsets_at(client: AdminClient, topic: str, partitions: Iterable[int], time_ms: int) -> dict[int, int]:
    """Ask the leaders for the first offset of each partition appended at `time_ms` or later; -1 where there is none."""
    wanted = {TopicPartition(topic, p): OffsetSpec.for_timestamp(time_ms) for p in partitions}
    return _asking_offsets(client, topic, wanted)()


def _asking_offsets(
    client: AdminClient,
    topic: str,
    wanted: Mapping[TopicPartition, OffsetSpec],
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
) -> Callable[[], dict[int, int]]:
    if not wanted:
        return dict
    answers = client.list_offsets(dict(wanted), isolation_level=isolation, request_timeout=REQUEST_SECONDS)

    def offsets() -> dict[int, int]:
        try:
            return {place.partition: answer.result().offset for place, answer in answers.items()}
        except KafkaException:
            # Who leads is not asked again by the client itself: it goes on with what it heard last, be it an old epoch
            # (FENCED_LEADER_EPOCH) or, from a broker that was shutting down, that nobody leads (_NOENT).
            client.list_topics(topic, timeout=LEADER_SECONDS)
            raise

    return offsets


def group_size(client: AdminClient, group: str) -> int | None:
    """Return how many members a consumer group has, None when no broker says.

    By the older call: `describe_consumer_groups` can end the process when a connection is lost meanwhile
    (confluentinc/librdkafka #4605).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return sum(len(found.members) for found in client.list_groups(group, timeout=REQUEST_SECONDS))
        except KafkaException:
            return None


def headers_of(message: Message) -> Headers:
    """Return a record's headers, in order, repeated names too."""
    found = message.headers()
    if not isinstance(found, list):
        return []
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in found]
