"""`withdrawal-gate topics`: makes what is missing, verifies what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka.admin import NewTopic

from schemas.topics import DEFAULT_PARTITIONS, MIN_INSYNC_REPLICAS, PANIC_BUTTON, PANIC_RETENTION_MARGIN_MS
from streams.checks import inspect_topics
from streams.kafka import describe_topic, reach
from streams.output import emit

if TYPE_CHECKING:
    from schemas.topics import Topic
    from streams.settings import Settings


def create_topics(settings: Settings, partitions: int | None, replication: int | None) -> None:
    """Make the missing topics and print a line for each topic."""
    client = reach(settings)
    counts: dict[str, int] = {}
    for topic in settings.topics:
        name = settings.topic(topic.name)
        found = describe_topic(client, name)
        if found is None:
            count = partitions or counts.get(topic.partitions_of or "", DEFAULT_PARTITIONS)
            # A topic that must match another one's partition count does so even when a count was asked for.
            count = max(count, counts.get(topic.partitions_of or "", 0))
            config = _config(settings, topic, replication)
            client.create_topics([NewTopic(name, count, replication or -1, config=config)])[name].result()
            counts[topic.name] = count
        else:
            counts[topic.name] = found.partitions
        emit({"topic": name, "partitions": counts[topic.name], "created": found is None})


def check_topics(settings: Settings) -> bool:
    """Print every fault; return True when there is none."""
    _, faults = inspect_topics(reach(settings), settings)
    for fault in faults:
        emit({"fault": fault})
    if not faults:
        emit({"topics": "fine"})
    return not faults


def _config(settings: Settings, topic: Topic, replication: int | None) -> dict[str, str]:
    config = dict(topic.config)
    if topic is PANIC_BUTTON:
        needed_ms = settings.policy.longest_seconds * 1000 + PANIC_RETENTION_MARGIN_MS
        config["retention.ms"] = str(max(int(config["retention.ms"]), needed_ms))
    if replication is not None and replication > 1:
        config["min.insync.replicas"] = str(MIN_INSYNC_REPLICAS)
    return config
