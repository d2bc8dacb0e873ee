"""Is Kafka set up so that the promises can be kept? Each fault names topic, setting, what was found and what is needed.

A worker runs these checks before it reads a record; `withdrawal-gate topics check` runs the same ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.topics import (
    DEAD_LETTER,
    FREEZE_STATUS,
    MIN_INSYNC_REPLICAS,
    PANIC_BUTTON,
    PANIC_RETENTION_MARGIN_MS,
    WITHDRAWAL_DECISION,
    WITHDRAWAL_REQUEST,
)
from schemas.withdrawal_decision import bytes_without_request
from streams.errors import TopicFaults
from streams.kafka import describe_topic, topic_config

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

    from streams.kafka import TopicFacts
    from streams.settings import Settings


def require_sound_topics(client: AdminClient, settings: Settings) -> dict[str, TopicFacts]:
    """Return what the brokers say of the topics, by their names in the contract; raise TopicFaults."""
    facts, faults = inspect_topics(client, settings)
    if faults:
        raise TopicFaults(faults)
    return facts


def inspect_topics(client: AdminClient, settings: Settings) -> tuple[dict[str, TopicFacts], list[str]]:
    """Return the facts and every fault, one sentence each."""
    facts: dict[str, TopicFacts] = {}
    faults: list[str] = []
    for topic in settings.topics:
        found = describe_topic(client, settings.topic(topic.name))
        if found is None:
            faults.append(
                f"{settings.topic(topic.name)}: there is no such topic; needed: withdrawal-gate topics create"
            )
        else:
            facts[topic.name] = found
    if PANIC_BUTTON.name in facts:
        faults += _panic_faults(client, settings, facts[PANIC_BUTTON.name])
    if WITHDRAWAL_REQUEST.name in facts:
        faults += _request_faults(client, facts[WITHDRAWAL_REQUEST.name])
        faults += _output_faults(facts)
    for output in (WITHDRAWAL_DECISION, DEAD_LETTER, FREEZE_STATUS):
        if output.name in facts:
            name = facts[output.name].name
            config = topic_config(client, name)
            faults += _differs(name, config, "cleanup.policy", output.config["cleanup.policy"])
            if PANIC_BUTTON.name in facts:
                faults += _size_faults(name, config, facts[PANIC_BUTTON.name].partitions)
    return facts, faults


def _panic_faults(client: AdminClient, settings: Settings, panic: TopicFacts) -> list[str]:
    config = topic_config(client, panic.name)
    faults: list[str] = []
    for setting in ("message.timestamp.type", "cleanup.policy", "retention.bytes", "unclean.leader.election.enable"):
        faults += _differs(panic.name, config, setting, PANIC_BUTTON.config[setting])
    needed_ms = settings.policy.longest_seconds * 1000 + PANIC_RETENTION_MARGIN_MS
    retention_ms = int(config.get("retention.ms", "0"))
    if 0 <= retention_ms < needed_ms:
        needed = f"at least {needed_ms} (the longest window of the policy and 7 days), or -1"
        faults.append(f"{panic.name}: retention.ms is {retention_ms}; needed: {needed}")
    in_sync = int(config.get("min.insync.replicas", "1"))
    if panic.replication > 1 and in_sync < MIN_INSYNC_REPLICAS:
        faults.append(f"{panic.name}: min.insync.replicas is {in_sync}; needed: {MIN_INSYNC_REPLICAS} or more")
    return faults


def _request_faults(client: AdminClient, request: TopicFacts) -> list[str]:
    config = topic_config(client, request.name)
    return [
        fault
        for setting in ("message.timestamp.type", "cleanup.policy")
        for fault in _differs(request.name, config, setting, WITHDRAWAL_REQUEST.config[setting])
    ]


def _output_faults(facts: dict[str, TopicFacts]) -> list[str]:
    needed = facts[WITHDRAWAL_REQUEST.name].partitions
    return [
        f"{facts[topic.name].name}: partitions is {facts[topic.name].partitions}; "
        f"needed: {needed} or more, as {facts[WITHDRAWAL_REQUEST.name].name} has"
        for topic in (WITHDRAWAL_DECISION, DEAD_LETTER)
        if topic.name in facts and facts[topic.name].partitions < needed
    ]


def _size_faults(topic: str, config: dict[str, str], panic_partitions: int) -> list[str]:
    # A decision is the largest record that must fit: where it does not, its partition stands still for good.
    found, needed = int(config["max.message.bytes"]), bytes_without_request(panic_partitions)
    return [] if found >= needed else [f"{topic}: max.message.bytes is {found}; needed: {needed} or more"]


def _differs(topic: str, config: dict[str, str], setting: str, needed: str) -> list[str]:
    found = config.get(setting, "")
    return [] if found == needed else [f"{topic}: {setting} is {found}; needed: {needed}"]
