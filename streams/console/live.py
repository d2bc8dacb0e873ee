"""What the live page shows, read off the worker's own metrics and checks: a look at the page asks nobody anything."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from schemas import panic_button, withdrawal_request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Counter, Gauge

    from streams.health import Health
    from streams.metrics import Metrics

Labels = dict[str, str]


def live_figures(health: Health, metrics: Metrics, workers: int | None) -> dict[str, Any]:
    """Return the figures; times are seconds, `at_seconds` is a clock of this worker that only runs forward."""
    decided = {"approved": 0, "rejected": 0}
    for labels, value in _samples(metrics.decisions):
        decided[labels["decision"]] += int(value)
    records: dict[str, dict[int, int]] = {panic_button.TOPIC: {}, withdrawal_request.TOPIC: {}}
    for labels, value in _samples(metrics.lag_records):
        records[labels["topic"]][int(labels["partition"])] = int(value)
    oldest = {labels["topic"]: value for labels, value in _samples(metrics.lag_seconds)}
    return {
        "at_seconds": time.monotonic(),
        "problems": [f"{check}: {problem}" for check, problem in health.problems.items() if problem],
        "frozen_accounts": sum(int(value) for _, value in _samples(metrics.frozen_accounts)),
        **decided,
        "undecided_records": sum(records[withdrawal_request.TOPIC].values()),
        "undecided_seconds": oldest.get(withdrawal_request.TOPIC, 0.0),
        "workers": workers,
        "partitions": sorted(records[withdrawal_request.TOPIC]),
        "unapplied_records": sum(records[panic_button.TOPIC].values()),
        "unapplied_seconds": oldest.get(panic_button.TOPIC, 0.0),
    }


def _samples(collector: Counter | Gauge) -> Iterator[tuple[Labels, float]]:
    for family in collector.collect():
        for sample in family.samples:
            yield sample.labels, sample.value
