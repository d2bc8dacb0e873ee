"""How far behind is this worker? Looks once a second and sets the gauges and the checks that follow from it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException

from schemas import panic_button, withdrawal_request
from streams.kafka import error_of

if TYPE_CHECKING:
    from streams.runtime import Runtime

log = logging.getLogger(__name__)
PROGRESS_SECONDS = 2.0


class Lag:
    """One look at a time."""

    def __init__(self, runtime: Runtime) -> None:
        """Look at that worker."""
        self._runtime = runtime
        self._shown: dict[str, set[int]] = {panic_button.TOPIC: set(), withdrawal_request.TOPIC: set()}
        self._behind_since: dict[str, float] = {}
        self._progress_at = 0.0

    def look(self) -> None:
        """Set every gauge that tells a state."""
        runtime = self._runtime
        self._look_at_table()
        self.look_at_requests()
        runtime.metrics.frozen_accounts.set(runtime.open_table.count_frozen(runtime.clock.known_ms()))

    def _look_at_table(self) -> None:
        runtime = self._runtime
        try:
            ends = runtime.barrier.ask()
        except KafkaException as exception:
            runtime.health.set("kafka", f"no answer about {panic_button.TOPIC}: {error_of(exception).str()}")
            return
        runtime.health.set("kafka", None)
        applied = runtime.open_table.applied
        lags = {partition: max(0, end - applied.get(partition, 0)) for partition, end in ends.items()}
        self._show(panic_button.TOPIC, lags)
        remaining = sum(lags.values())
        runtime.metrics.restore_remaining.set(remaining)
        if runtime.health.problems["table"] is not None:
            runtime.health.set("table", f"{remaining} presses are not in the freeze table yet")
            if remaining and time.monotonic() > self._progress_at:
                named = {"remaining_records": remaining}
                log.info("restoring the freeze table: %d presses to go", remaining, extra=named)
                self._progress_at = time.monotonic() + PROGRESS_SECONDS

    def look_at_requests(self) -> None:
        """Set what tells of the request partitions, and whether those assigned are open."""
        runtime = self._runtime
        intake = runtime.gate_intake
        lags = intake.lags()
        self._show(withdrawal_request.TOPIC, lags)
        if intake.assigned is None:
            runtime.health.set("group", "no partitions were assigned yet")
        elif len(lags) < len(intake.assigned):
            runtime.health.set("group", "the assigned partitions are not open yet")
        else:
            runtime.health.set("group", None)

    def _show(self, topic: str, lags: dict[int, int]) -> None:
        metrics = self._runtime.metrics
        for partition, lag in lags.items():
            metrics.lag_records.labels(topic, str(partition)).set(lag)
        for partition in self._shown[topic] - lags.keys():
            metrics.lag_records.remove(topic, str(partition))
        self._shown[topic] = set(lags)
        metrics.lag_seconds.labels(topic).set(self._age(topic, any(lags.values())))

    def _age(self, topic: str, behind: bool) -> float:  # noqa: FBT001  (private)
        """Return the age of the oldest record not done: of the one in hand, else since when there is one."""
        if not behind:
            self._behind_since.pop(topic, None)
            return 0.0
        oldest_ms = self._runtime.gate.oldest_ms if topic == withdrawal_request.TOPIC else None
        if oldest_ms is not None:
            return max(0.0, (self._runtime.clock.now_ms() - oldest_ms) / 1000)
        now = time.monotonic()
        return now - self._behind_since.setdefault(topic, now)
