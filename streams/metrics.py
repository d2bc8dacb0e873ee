"""Every metric the worker exports, once, with its meaning. No label names an account, a withdrawal or an address."""

from __future__ import annotations

import threading
from bisect import bisect_left
from importlib.metadata import version
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Info, ProcessCollector, disable_created_metrics
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from schemas import panic_button, withdrawal_request

if TYPE_CHECKING:
    from collections.abc import Iterator

# Bounds around the promises: decisions in milliseconds, a freeze in force in seconds, an approval worthless at 60 s.
LATENCY_BUCKETS_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1, 2, 5, 10, 30, 60, 300)


class BatchHistogram(Collector):
    """A histogram that takes many equal observations at once: a batch appended in one millisecond is one call."""

    def __init__(self, name: str, documentation: str, registry: CollectorRegistry) -> None:
        """Register under `name`; values are seconds."""
        self._name = name
        self._documentation = documentation
        self._counts = [0] * (len(LATENCY_BUCKETS_SECONDS) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()
        registry.register(self)

    def observe(self, seconds: float, times: int = 1) -> None:
        """Count a latency, `times` over; a clock that runs behind shows as 0, never as less."""
        seconds = max(seconds, 0.0)
        with self._lock:
            self._counts[bisect_left(LATENCY_BUCKETS_SECONDS, seconds)] += times
            self._sum += seconds * times

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Hand the histogram to a scrape."""
        with self._lock:
            counts, total = list(accumulate(self._counts)), self._sum
        bounds = [str(bound) for bound in LATENCY_BUCKETS_SECONDS] + ["+Inf"]
        buckets = list(zip(bounds, counts, strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=total)


class Metrics:
    """The worker's metrics in a registry of their own."""

    def __init__(self) -> None:
        """Register everything, so that a scrape shows each series from the start."""
        # A second series for each counter, which nothing here reads.
        disable_created_metrics()
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.decisions = Counter("gate_decisions", "Decisions committed.", ["decision", "reason"], registry=registry)
        self.decision_latency = BatchHistogram(
            "gate_decision_latency_seconds", "Request appended to decision committed.", registry
        )
        self.freeze_latency = BatchHistogram(
            "gate_freeze_latency_seconds", "Press appended to freeze in force on this worker.", registry
        )
        self.barrier_wait = BatchHistogram(
            "gate_barrier_wait_seconds", "Wait until the freeze table was as fresh as the brokers.", registry
        )
        self.lag_records = Gauge(
            "gate_consumer_lag_records", "Records not done yet, 0 when idle.", ["topic", "partition"], registry=registry
        )
        self.lag_seconds = Gauge(
            "gate_consumer_lag_seconds", "Age of the oldest record not done yet.", ["topic"], registry=registry
        )
        self.frozen_accounts = Gauge("gate_frozen_accounts", "Accounts frozen now.", registry=registry)
        self.presses = Counter("gate_presses", "Presses announced.", ["adjusted"], registry=registry)
        self.dead_letters = Counter(
            "gate_dead_letters", "Records put into dead-letter.", ["topic", "reason"], registry=registry
        )
        self.transactions = Counter(
            "gate_transactions", "Transactions by how they ended.", ["outcome"], registry=registry
        )
        self.rebalances = Counter("gate_rebalances", "Assignments of partitions to this worker.", registry=registry)
        self.restore_remaining = Gauge(
            "gate_table_restore_remaining_records", "Presses not yet in the freeze table.", registry=registry
        )
        self.ready = Gauge("gate_ready", "1 when this worker can decide, else 0.", registry=registry)
        Info("gate_build", "What runs here.", registry=registry).info({"version": version("withdrawal-gate")})
        self._show_from_the_start()

    def _show_from_the_start(self) -> None:
        for decision, reason in (
            ("approved", "none"),
            ("rejected", "account_frozen"),
            ("rejected", "invalid_request"),
        ):
            self.decisions.labels(decision, reason)
        for adjusted in ("none", "defaulted", "raised", "lowered"):
            self.presses.labels(adjusted)
        for outcome in ("committed", "aborted"):
            self.transactions.labels(outcome)
        for topic, reasons in (
            (panic_button.TOPIC, ("unreadable", "no_account", "key_mismatch", "invalid_press")),
            (
                withdrawal_request.TOPIC,
                ("unreadable", "no_account", "no_withdrawal_id", "invalid_request", "duplicate_withdrawal"),
            ),
        ):
            for reason in reasons:
                self.dead_letters.labels(topic, reason)
