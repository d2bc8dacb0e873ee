"""The worker's collectors, built from the list of `streams/metric_list.py`."""

from __future__ import annotations

import math
import shutil
import threading
from bisect import bisect_left
from importlib.metadata import version
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Info, ProcessCollector, disable_created_metrics
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from schemas import panic_button, withdrawal_request
from streams import metric_list

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streams.metric_list import Metric

# Bounds around the promises: decisions in milliseconds, a freeze in force in seconds, an approval worthless at 60 s.
LATENCY_BUCKETS_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1, 2, 5, 10, 30, 60, 300)


class BatchHistogram(Collector):
    """A histogram that takes many equal observations at once: a batch appended in one millisecond is one call."""

    def __init__(self, metric: Metric, registry: CollectorRegistry) -> None:
        """Register a histogram of the list; values are seconds."""
        self._metric = metric
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
        yield HistogramMetricFamily(self._metric.name, self._metric.meaning, buckets=buckets, sum_value=total)


def counter(metric: Metric, registry: CollectorRegistry) -> Counter:
    """Return the collector of a counter of the list."""
    return Counter(metric.name.removesuffix("_total"), metric.meaning, metric.labels, registry=registry)


def gauge(metric: Metric, registry: CollectorRegistry) -> Gauge:
    """Return the collector of a gauge of the list."""
    return Gauge(metric.name, metric.meaning, metric.labels, registry=registry)


class Metrics:
    """The worker's metrics in a registry of their own."""

    def __init__(self) -> None:
        """Register everything, so that a scrape shows each series from the start."""
        # A second series for each counter, which nothing here reads.
        disable_created_metrics()
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.decisions = counter(metric_list.DECISIONS, registry)
        self.decision_latency = BatchHistogram(metric_list.DECISION_LATENCY, registry)
        self.freeze_latency = BatchHistogram(metric_list.FREEZE_LATENCY, registry)
        self.barrier_wait = BatchHistogram(metric_list.BARRIER_WAIT, registry)
        self.lag_records = gauge(metric_list.LAG_RECORDS, registry)
        self.lag_seconds = gauge(metric_list.LAG_SECONDS, registry)
        self.frozen_accounts = gauge(metric_list.FROZEN_ACCOUNTS, registry)
        self.presses = counter(metric_list.PRESSES, registry)
        self.dead_letters = counter(metric_list.DEAD_LETTERS, registry)
        self.transactions = counter(metric_list.TRANSACTIONS, registry)
        self.rebalances = counter(metric_list.REBALANCES, registry)
        self.restore_remaining = gauge(metric_list.RESTORE_REMAINING, registry)
        self.ready = gauge(metric_list.READY, registry)
        self.topic_faults = gauge(metric_list.TOPIC_FAULTS, registry)
        self.data_free = gauge(metric_list.DATA_FREE, registry)
        self.data_size = gauge(metric_list.DATA_SIZE, registry)
        self.shadow = gauge(metric_list.SHADOW, registry)
        build = metric_list.BUILD
        Info(build.name.removesuffix("_info"), build.meaning, registry=registry).info(
            {"version": version("withdrawal-gate")}
        )
        self._show_from_the_start()

    def watch_folder(self, folder: Path) -> None:
        """Show the room on the folder's file system, looked up at each scrape."""
        self.data_free.set_function(lambda: _room(folder, "free"))
        self.data_size.set_function(lambda: _room(folder, "total"))

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


def _room(folder: Path, part: str) -> float:
    """Return bytes of the file system, NaN while there is no such folder."""
    try:
        return float(getattr(shutil.disk_usage(folder), part))
    except OSError:
        return math.nan
