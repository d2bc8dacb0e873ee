"""`withdrawal-gate size`: how large a deployment has to be, reckoned from streams/capacity.py. Asks no broker."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.topics import (
    DAY_MS,
    DEFAULT_PARTITIONS,
    MIN_INSYNC_REPLICAS,
    PANIC_RETENTION_MARGIN_MS,
    PANIC_RETENTION_MS,
    REQUEST_RETENTION_MS,
)
from streams import capacity
from streams.output import emit

if TYPE_CHECKING:
    from streams.settings import Settings

DAY_SECONDS = DAY_MS // 1000
MB, GB = 1e6, 1e9


@dataclass(frozen=True, slots=True)
class Load:
    """What has to be carried. Rates are those of the busiest second; `retention_days` is that of the decisions."""

    users: int
    presses_per_day: int
    requests_per_second: int
    storm_presses_per_second: int
    retention_days: int
    remembered_seconds: int
    press_retention_ms: int

    @property
    def presses(self) -> int:
        """Presses that the topic holds at the end of a storm."""
        return self.presses_per_day * self.press_retention_ms // DAY_MS + self.storm_presses

    @property
    def freezes(self) -> int:
        """Entries of the freeze table then, if each press is another account's."""
        return min(self.users, self.presses)

    @property
    def storm_presses(self) -> int:
        """Presses of one storm."""
        return round(self.storm_presses_per_second * capacity.STORM_SECONDS.value)

    @property
    def requests_per_day(self) -> float:
        """Requests of a day, at the mean rate."""
        return self.requests_per_second / capacity.PEAK_OVER_MEAN.value * DAY_SECONDS


def load_of(  # noqa: PLR0913  (the command's options, each by name)
    settings: Settings,
    users: int,
    *,
    presses_per_day: int | None,
    requests_per_second: int | None,
    storm_presses_per_second: int | None,
    retention_days: int,
) -> Load:
    """Put an assumption where nothing was said."""
    mean = users * capacity.REQUESTS_PER_USER.value / DAY_SECONDS
    storm = users * capacity.STORM_SHARE.value / capacity.STORM_SECONDS.value
    return Load(
        users,
        _told(presses_per_day, users * capacity.PRESSES_PER_USER.value),
        _told(requests_per_second, mean * capacity.PEAK_OVER_MEAN.value),
        _told(storm_presses_per_second, storm),
        retention_days,
        settings.duplicate_seconds,
        max(PANIC_RETENTION_MS, settings.policy.longest_seconds * 1000 + PANIC_RETENTION_MARGIN_MS),
    )


def _told(told: int | None, assumed: float) -> int:
    return math.ceil(assumed) if told is None else told


def size(load: Load) -> dict[str, Any]:
    """Return what such a load needs, the load first; the unit stands last in each name."""
    count = workers(load)
    partitions = max(DEFAULT_PARTITIONS, count * int(capacity.GROWTH.value))
    return {
        "users": load.users,
        "presses_per_day": load.presses_per_day,
        "requests_per_second": load.requests_per_second,
        "storm_presses_per_second": load.storm_presses_per_second,
        "retention_days": load.retention_days,
        "partitions": partitions,
        "workers": count,
        "worker_cores": 1,
        "worker_memory_mb": math.ceil(worker_memory_bytes(load) / MB),
        "worker_disk_gb": _tenths(worker_disk_bytes(load) / GB),
        "freezes": load.freezes,
        "rebuild_seconds": math.ceil(load.presses / capacity.FOLLOW_RATE.value),
        "storm_behind_seconds": storm_behind_seconds(load),
        "brokers": int(capacity.REPLICAS.value),
        "broker_disk_gb": _tenths(broker_disk_bytes(load) / GB),
        "broker_in_mb_per_second": _tenths(broker_in_bytes(load) / MB),
        "broker_out_mb_per_second": _tenths(broker_out_bytes(load, count) / MB),
        "decision_retention_ms": load.retention_days * DAY_MS,
        "broker_settings": broker_settings(load),
        "topics": f"withdrawal-gate topics create --partitions {partitions} --replication {capacity.REPLICAS.value:g}",
    }


def _tenths(value: float) -> float:
    return math.ceil(value * 10) / 10


def storm_share(load: Load) -> float:
    """Return the share of a worker that following takes in a storm: every worker follows every press."""
    return load.storm_presses_per_second / capacity.FOLLOW_RATE.value


def storm_behind_seconds(load: Load) -> int:
    """Return how long after a storm the last press is followed; nothing is approved before. More workers don't help."""
    return math.ceil(max(0.0, storm_share(load) - 1) * capacity.STORM_SECONDS.value)


def workers(load: Load) -> int:
    """Return how many decide the requests of the busiest second while a storm is followed, and the spare ones."""
    left = 1 - min(storm_share(load), capacity.FOLLOWING.value)
    rate = capacity.DECISION_RATE.value * capacity.LOAD.value * left
    return max(1, math.ceil(load.requests_per_second / rate)) + int(capacity.SPARE_WORKERS.value)


def worker_memory_bytes(load: Load) -> float:
    """Return the resident memory of a worker; each holds the whole table."""
    return capacity.WORKER_MEMORY.value * MB + load.freezes * capacity.FREEZE_MEMORY.value


def worker_disk_bytes(load: Load) -> float:
    """Return the data folder of a worker: all freezes, and the ids of two buckets, were it left alone."""
    ids = 2 * load.remembered_seconds * load.requests_per_second
    return (load.freezes * capacity.FREEZE_DISK.value + ids * capacity.ID_DISK.value) * capacity.ROOM.value


def broker_disk_bytes(load: Load) -> float:
    """Return the logs of a broker: with as many brokers as replicas, each holds all of them."""
    requests = load.requests_per_day * REQUEST_RETENTION_MS / DAY_MS * capacity.REQUEST_DISK.value
    decisions = load.requests_per_day * load.retention_days * capacity.DECISION_DISK.value
    presses = load.presses * capacity.PRESS_DISK.value
    pressing = min(load.users, load.presses_per_day * capacity.STATUS_DAYS.value + load.storm_presses)
    return (requests + decisions + presses + pressing * capacity.STATUS_DISK.value) * capacity.ROOM.value


def broker_in_bytes(load: Load) -> float:
    """Return bytes/s into a broker in the busiest second of a storm: led or replicated, it takes each record."""
    asked = load.requests_per_second * (capacity.REQUEST_DISK.value + capacity.DECISION_DISK.value)
    return asked + load.storm_presses_per_second * (capacity.PRESS_DISK.value + capacity.STATUS_DISK.value)


def broker_out_bytes(load: Load, count: int) -> float:
    """Return bytes/s out of a broker: its share of what is read, and of what the others replicate from it.

    Requests, decisions and statuses are read once; presses by every worker, and once more to be announced.
    """
    brokers = capacity.REPLICAS.value
    presses_read = load.storm_presses_per_second * capacity.PRESS_DISK.value * count
    return (broker_in_bytes(load) + presses_read) / brokers + broker_in_bytes(load) * (brokers - 1) / brokers


def broker_settings(load: Load) -> dict[str, str]:
    """Return the brokers' own settings; those of the topics are set by `topics create`."""
    replicas = f"{capacity.REPLICAS.value:g}"
    return {
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": str(MIN_INSYNC_REPLICAS),
        "offsets.retention.minutes": str(load.press_retention_ms // 60_000),
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.min.isr": str(MIN_INSYNC_REPLICAS),
        "transaction.state.log.replication.factor": replicas,
        "unclean.leader.election.enable": "false",
    }


def show(load: Load) -> None:
    """Print what the load needs."""
    emit(size(load))
