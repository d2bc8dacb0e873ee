"""Each topic once, with everything about it: worker, commands, compose file, manifests and tests read it here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from schemas import dead_letter, freeze_status, panic_button, withdrawal_decision, withdrawal_request

if TYPE_CHECKING:
    from collections.abc import Mapping

DAY_MS = 86_400_000
DEFAULT_PARTITIONS = 6

# The longest window that the built-in policy allows: 7 days, as the announced panic button offers at most.
LONGEST_WINDOW_MS = 7 * DAY_MS
REQUEST_RETENTION_MS = 7 * DAY_MS
# A table that is rebuilt from the topic must still know every freeze that an undecided request can need.
PANIC_RETENTION_MARGIN_MS = REQUEST_RETENTION_MS
PANIC_RETENTION_MS = 14 * DAY_MS
OUTPUT_RETENTION_MS = 30 * DAY_MS
# Outputs carry a record of an input and more, so they take larger ones than the brokers' default of about 1 MiB.
OUTPUT_MAX_MESSAGE_BYTES = 10 * 1024 * 1024
# Each delivery report then tells the worker the brokers' time, by which leases are cut and ends announced.
TELLS_TIME = {"message.timestamp.type": "LogAppendTime"}

assert PANIC_RETENTION_MS >= LONGEST_WINDOW_MS + PANIC_RETENTION_MARGIN_MS  # noqa: S101  (a relation, kept at import)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as `topics create` makes it; `partitions_of` names the topic whose partition count it shares."""

    name: str
    written_by: str
    read_by: str
    key: str
    config: Mapping[str, str] = field(default_factory=dict)
    partitions_of: str | None = None


PANIC_BUTTON = Topic(
    panic_button.TOPIC,
    written_by="upstream app",
    read_by="every gate worker, all partitions",
    key="account id",
    config={
        "message.timestamp.type": "LogAppendTime",
        "cleanup.policy": "delete",
        "retention.ms": str(PANIC_RETENTION_MS),
        "retention.bytes": "-1",
        "unclean.leader.election.enable": "false",
    },
)
WITHDRAWAL_REQUEST = Topic(
    withdrawal_request.TOPIC,
    written_by="wallet service",
    read_by="the gate's consumer group",
    key="account id, or none",
    config={
        "message.timestamp.type": "LogAppendTime",
        "cleanup.policy": "delete",
        "retention.ms": str(REQUEST_RETENTION_MS),
    },
)
WITHDRAWAL_DECISION = Topic(
    withdrawal_decision.TOPIC,
    written_by="gate",
    read_by="withdrawal engine",
    key="account id",
    config={
        "cleanup.policy": "delete",
        "retention.ms": str(OUTPUT_RETENTION_MS),
        "max.message.bytes": str(OUTPUT_MAX_MESSAGE_BYTES),
        **TELLS_TIME,
    },
    partitions_of=withdrawal_request.TOPIC,
)
FREEZE_STATUS = Topic(
    freeze_status.TOPIC,
    written_by="gate",
    read_by="upstream app, support",
    key="account id",
    config={"cleanup.policy": "compact", **TELLS_TIME},
)
DEAD_LETTER = Topic(
    dead_letter.TOPIC,
    written_by="gate",
    read_by="on-call engineers",
    key="as it came",
    config={
        "cleanup.policy": "delete",
        "retention.ms": str(OUTPUT_RETENTION_MS),
        "max.message.bytes": str(OUTPUT_MAX_MESSAGE_BYTES),
    },
    partitions_of=withdrawal_request.TOPIC,
)
TOPICS = (PANIC_BUTTON, WITHDRAWAL_REQUEST, WITHDRAWAL_DECISION, FREEZE_STATUS, DEAD_LETTER)
# What a gate in shadow mode needs; its decisions lie in a topic of their own, made like the other.
SHADOW_NEEDS = (PANIC_BUTTON, WITHDRAWAL_REQUEST, WITHDRAWAL_DECISION)
WITHDRAWAL_DECISION_SHADOW = replace(
    WITHDRAWAL_DECISION,
    name=withdrawal_decision.SHADOW_TOPIC,
    written_by="gate in shadow mode",
    read_by="report and audit, never an engine",
)
# With more than one replica, an acknowledged record lies on at least this many brokers.
MIN_INSYNC_REPLICAS = 2
