"""What `withdrawal-gate size` reckons with: each figure once, with its unit and where it comes from.

A measured figure names what measures it again. One that is assumed is ours, and says so; docs/capacity.md shows all.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.topics import MIN_INSYNC_REPLICAS

ASSUMED = "assumed"
THROUGHPUT = 'README, "Measured"'
FOOTPRINT = "`python -m tests.benchmarks.footprint`"


@dataclass(frozen=True, slots=True)
class Figure:
    """What is reckoned with."""

    name: str
    value: float
    unit: str
    source: str


DECISION_RATE = Figure("decisions of a worker", 88_070, "decisions/s", f"{THROUGHPUT}: the least of its rounds")
WORKER_MEMORY = Figure("memory of a worker with few freezes", 170, "MB", f"{THROUGHPUT}: resident at full speed")
# 71,000 from 1.5 to 3 million: the announcer, which works beside, takes more or less of the interpreter.
FOLLOW_RATE = Figure("presses a worker follows", 62_000, "presses/s", f"{FOOTPRINT}: from 0.5 to 1 million freezes")
# Resident were 184 MB with 1 million and 232 MB with 3 million, 24 bytes for each of the two; once 201 and 207.
FREEZE_MEMORY = Figure("memory of a freeze", 30, "bytes", f"{FOOTPRINT}: the first million")
FREEZE_DISK = Figure("a freeze in the data folder", 113, "bytes", FOOTPRINT)
ID_DISK = Figure("a remembered withdrawal_id in the data folder", 60, "bytes", FOOTPRINT)
REQUEST_DISK = Figure("a request in Kafka's log", 369, "bytes", f"{FOOTPRINT}: of 265 bytes, alone in its batch")
DECISION_DISK = Figure("its decision in Kafka's log", 605, "bytes", f"{FOOTPRINT}: with its transaction's marker")
PRESS_DISK = Figure("a press in Kafka's log", 151, "bytes", f"{FOOTPRINT}: alone in its batch")
STATUS_DISK = Figure("its status in Kafka's log", 390, "bytes", f"{FOOTPRINT}: with its transaction's marker")

PRESSES_PER_USER = Figure("presses a user a day, unless told", 0.0001, "presses/day", ASSUMED)
REQUESTS_PER_USER = Figure("requests a user a day, unless told", 0.05, "requests/day", ASSUMED)
PEAK_OVER_MEAN = Figure("the busiest second to the mean", 5, "times", ASSUMED)
STORM_SHARE = Figure("users who press in a storm, unless told", 0.01, "of all", ASSUMED)
STORM_SECONDS = Figure("length of a storm", 600, "s", ASSUMED)
LOAD = Figure("load of a worker, at most", 0.5, "of its rate", f"{ASSUMED}; that workers add up, too")
FOLLOWING = Figure("time for following that workers are added for", 0.9, "of a worker's", f"{ASSUMED}: not beyond")
SPARE_WORKERS = Figure("workers that may be away at a time", 1, "worker", ASSUMED)
GROWTH = Figure("partitions for each worker", 3, "partitions", f"{ASSUMED}: room to grow without adding any")
REPLICAS = Figure("replicas of each topic", 3, "replicas", f"{ASSUMED}, {MIN_INSYNC_REPLICAS} of them in sync")
ROOM = Figure("room for compaction, and for what nobody foresaw", 2, "times", ASSUMED)
STATUS_DAYS = Figure("days of presses whose status stays", 365, "days", f"{ASSUMED}: each press another user's")

FIGURES = (
    DECISION_RATE, WORKER_MEMORY, FOLLOW_RATE, FREEZE_MEMORY, FREEZE_DISK, ID_DISK,
    REQUEST_DISK, DECISION_DISK, PRESS_DISK, STATUS_DISK,
    PRESSES_PER_USER, REQUESTS_PER_USER, PEAK_OVER_MEAN, STORM_SHARE, STORM_SECONDS,
    LOAD, FOLLOWING, SPARE_WORKERS, GROWTH, REPLICAS, ROOM, STATUS_DAYS,
)  # fmt: skip
