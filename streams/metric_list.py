"""Every metric once: name, type, unit, labels, what it means and what to do when it moves.

The collectors of `streams/metrics.py` are built from this list and docs/metrics.md shows it. No label names an account,
a withdrawal or an address. A name that is in use is never given another meaning: other people's alerts read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """A type of Prometheus's exposition format."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric by the name that a scrape shows; `meaning` is its help text, `act` what to do when it moves."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    meaning: str
    act: str


DECISIONS = Metric(
    "gate_decisions_total",
    Kind.COUNTER,
    "decisions",
    ("decision", "reason"),
    "Decisions committed; reason is none when approved.",
    "No rise while requests come: GateDecisionsStalled. More account_frozen: see gate_presses_total.",
)
DECISION_LATENCY = Metric(
    "gate_decision_latency_seconds",
    Kind.HISTOGRAM,
    "seconds",
    (),
    "Request appended to decision committed.",
    "Rises with load: add workers, up to the number of partitions. Rises alone: see gate_barrier_wait_seconds.",
)
FREEZE_LATENCY = Metric(
    "gate_freeze_latency_seconds",
    Kind.HISTOGRAM,
    "seconds",
    (),
    "Press appended to freeze in force on this worker.",
    "Above 5 s: GateFreezeNotInForce.",
)
BARRIER_WAIT = Metric(
    "gate_barrier_wait_seconds",
    Kind.HISTOGRAM,
    "seconds",
    (),
    "Wait until the freeze table was as fresh as the brokers.",
    "Rises when brokers answer slowly: look at their request times, then at this worker's disk.",
)
LAG_RECORDS = Metric(
    "gate_consumer_lag_records",
    Kind.GAUGE,
    "records",
    ("topic", "partition"),
    "Records not done yet, looked at once a second: panic-button into the table, withdrawal-request to its outcome; "
    "0 when idle.",
    "One partition: an open transaction of its publisher. All of a worker: restart it. All: add workers.",
)
LAG_SECONDS = Metric(
    "gate_consumer_lag_seconds",
    Kind.GAUGE,
    "seconds",
    ("topic",),
    "Age of the oldest record not done yet.",
    "Alert on this one, not on records: GateFreezeNotInForce, GateDecisionsStalled.",
)
FROZEN_ACCOUNTS = Metric(
    "gate_frozen_accounts",
    Kind.GAUGE,
    "accounts",
    (),
    "Accounts frozen now.",
    "A sudden rise: ask the upstream team, and compliance. A fall to 0 with presses in the topic: a wrong cluster.",
)
PRESSES = Metric(
    "gate_presses_total",
    Kind.COUNTER,
    "presses",
    ("adjusted",),
    "Presses announced; adjusted is none when the length was taken as asked.",
    "Many defaulted, raised or lowered: tell the upstream team, whose lengths do not fit the policy.",
)
DEAD_LETTERS = Metric(
    "gate_dead_letters_total",
    Kind.COUNTER,
    "records",
    ("topic", "reason"),
    "Records put into dead-letter, by the topic they came from.",
    "Of panic-button: GatePressWithoutAccount, at once. Else GateDeadLettersRising.",
)
TRANSACTIONS = Metric(
    "gate_transactions_total",
    Kind.COUNTER,
    "transactions",
    ("outcome",),
    "Transactions by how they ended, of both groups.",
    "Some aborted at a take-over are as it should be. Without end: look at the brokers' transaction coordinator.",
)
REBALANCES = Metric(
    "gate_rebalances_total",
    Kind.COUNTER,
    "assignments",
    (),
    "Assignments of partitions to this worker, of both groups.",
    "Rises without a release: GateWorkerRestarting, or workers that are paused for longer than 10 s.",
)
RESTORE_REMAINING = Metric(
    "gate_table_restore_remaining_records",
    Kind.GAUGE,
    "records",
    (),
    "Presses not yet in the freeze table.",
    "Does not fall: GateRestoreStuck.",
)
READY = Metric(
    "gate_ready",
    Kind.GAUGE,
    "",
    (),
    "1 when this worker can decide, else 0.",
    "0: /readyz names the check; GateWorkerNotReady, GateNoWorkerReady.",
)
TOPIC_FAULTS = Metric(
    "gate_topic_faults",
    Kind.GAUGE,
    "faults",
    (),
    "Faults in the topics' configuration that could break a promise, looked for once a minute.",
    "Above 0: GateTopicsWrong; `withdrawal-gate topics check` names each.",
)
DATA_FREE = Metric(
    "gate_data_free_bytes",
    Kind.GAUGE,
    "bytes",
    (),
    "Free on the file system of GATE_DATA_DIR.",
    "Below a tenth of gate_data_size_bytes: GateDiskFilling.",
)
DATA_SIZE = Metric(
    "gate_data_size_bytes", Kind.GAUGE, "bytes", (), "Size of the file system of GATE_DATA_DIR.", "Nothing."
)
SHADOW = Metric(
    "gate_shadow",
    Kind.GAUGE,
    "",
    (),
    "1 when this worker is a shadow (GATE_SHADOW), whose decisions decide nothing, else 0.",
    "1 where withdrawals should be stopped: nothing is; start the worker without GATE_SHADOW.",
)
BUILD = Metric(
    "gate_build_info",
    Kind.INFO,
    "",
    ("version",),
    "What runs here.",
    "Two versions for longer than an upgrade takes: finish it, or roll back.",
)
WORKER = (
    DECISIONS,
    DECISION_LATENCY,
    FREEZE_LATENCY,
    BARRIER_WAIT,
    LAG_RECORDS,
    LAG_SECONDS,
    FROZEN_ACCOUNTS,
    PRESSES,
    DEAD_LETTERS,
    TRANSACTIONS,
    REBALANCES,
    RESTORE_REMAINING,
    READY,
    TOPIC_FAULTS,
    DATA_FREE,
    DATA_SIZE,
    SHADOW,
    BUILD,
)

DRILL_ROUNDS = Metric(
    "gate_drill_rounds_total",
    Kind.COUNTER,
    "rounds",
    ("ended",),
    "Rounds of the drill by how they ended: kept, broken or unanswered.",
    "broken: GateDrillBroken, at once. unanswered: GateDrillMissing.",
)
DRILL_REJECTION = Metric(
    "gate_drill_rejection_seconds",
    Kind.HISTOGRAM,
    "seconds",
    (),
    "Press acknowledged to first rejection read.",
    "Rises: compare gate_decision_latency_seconds; if that did not rise, the drill's own way to Kafka is slow.",
)
DRILL_KEPT_AT = Metric(
    "gate_drill_last_kept_timestamp_seconds",
    Kind.GAUGE,
    "seconds since 1970",
    (),
    "When a round last found all well.",
    "Older than a few rounds: GateDrillMissing.",
)
DRILL = (DRILL_ROUNDS, DRILL_REJECTION, DRILL_KEPT_AT)
