"""What records, freezes and ids take: `python -m tests.benchmarks.footprint`, on a broker of its own, four minutes.

For streams/capacity.py. Records come 100 a second, so that most lie in a batch of their own and most decisions in a
transaction of their own: the dearest they can be in a broker's log. Freezes are replayed into an empty data folder by
a worker that announces them meanwhile. The storm is that of 300 million users (docs/capacity.md). Ids are random, 32
hexadecimal digits: they compress as little as real ones.
"""

from __future__ import annotations

import json
import random
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from schemas import freeze_status, panic_button, withdrawal_decision, withdrawal_request
from streams.decided_ids import DecidedIds
from streams.dev_broker import DevBroker
from tests.benchmarks.load import SEED, deployment, request
from tests.benchmarks.meter import PRESS_IN_FORCE, buckets, cpu_seconds, spread_of_buckets
from tests.benchmarks.throughput import decided
from tests.processes import wait_for

if TYPE_CHECKING:
    from tests.deployment import Deployment

TOPICS = (withdrawal_request.TOPIC, withdrawal_decision.TOPIC, panic_button.TOPIC, freeze_status.TOPIC)
RECORDS = 3_000
PACE_SECONDS = 0.01
# What docs/capacity.md reckons with for 300 million users, for a minute.
STORM_TURNS = 6_000
STORM_PRESSES_PER_SECOND, STORM_REQUESTS_PER_SECOND = 5_000, 900
FREEZES = (1_000_000, 3_000_000)
AT_ONCE = 50_000
IDS = 1_000_000
PATIENCE_SECONDS = 400.0
CHANCE = random.Random(SEED)


def record_bytes(made: Deployment, logs: Path) -> dict[str, float]:
    """Return what a record of each topic takes in the broker's log, framing and markers included."""
    worker = made.worker().wait_ready()
    pace = threading.Event()
    with made.publisher() as client:
        for number in range(RECORDS):
            account_id = random_id()
            client.raw("withdrawal-request", account_id.encode(), request(number, account_id))
            client.raw("panic-button", account_id.encode(), client.body(account_id))
            pace.wait(PACE_SECONDS)
    wait_for(lambda: worker.metric('gate_presses_total{adjusted="defaulted"}') == RECORDS, "presses to be announced")
    wait_for(lambda: decided(worker) == RECORDS, "requests to be decided")
    worker.stop()
    return {
        topic: sum(log.stat().st_size for log in logs.glob(f"**/{made.topic(topic)}-*/*.log")) / RECORDS
        for topic in TOPICS
    }


def random_id() -> str:
    """Return an id as long as a UUID's digits."""
    return f"{CHANCE.getrandbits(128):032x}"


def press(made: Deployment, count: int) -> None:
    """Press for so many accounts."""
    with made.publisher() as client:
        for _ in range(count // AT_ONCE):
            ids = [random_id() for _ in range(AT_ONCE)]
            records = [{"key": account_id.encode(), "value": client.body(account_id)} for account_id in ids]
            assert client.producer.produce_batch(made.topic(panic_button.TOPIC), records) == AT_ONCE
            client.flush()


def replay(made: Deployment, count: int) -> dict[str, float]:
    """Replay `count` presses of as many accounts into an empty folder; rates are those of the second half."""
    began_at = time.monotonic()
    worker = made.worker()
    meter = psutil.Process(worker.process.pid)
    marks = [(began_at, 0.0, 0.0)]

    def restored() -> bool:
        frozen = worker.metric("gate_frozen_accounts")
        if frozen > marks[-1][1]:
            marks.append((time.monotonic(), frozen, cpu_seconds(meter)))
        return frozen == count

    wait_for(restored, "the freezes", PATIENCE_SECONDS)
    half = next(mark for mark in marks if mark[1] >= count / 2)
    seconds, presses, spent = (late - early for late, early in zip(marks[-1], half, strict=True))
    wait_for(worker.ready, "the worker to get ready", PATIENCE_SECONDS)
    ready_seconds = time.monotonic() - began_at
    resident = meter.memory_info().rss
    worker.stop()
    return {
        "freezes": count,
        "presses_followed_per_second": presses / seconds,
        "cpu_seconds_per_100_000_presses": spent / presses * 100_000,
        "ready_seconds": ready_seconds,
        "resident_mb": resident / 1e6,
        "folder_bytes_per_freeze": folder_bytes(worker.folder) / count,
    }


def storm(made: Deployment) -> dict[str, Any]:
    """Let presses and requests pour in, a hundred times a second; percentiles are bounds of the worker's histograms."""
    worker = made.worker().wait_ready()
    histograms = {"press_in_force_ms": PRESS_IN_FORCE, "decision_ms": "gate_decision_latency_seconds"}
    before = {name: buckets(worker, histogram) for name, histogram in histograms.items()}
    pace, began_at = threading.Event(), time.monotonic()
    with made.publisher() as client:
        for turn in range(STORM_TURNS):
            for _ in range(STORM_PRESSES_PER_SECOND // 100):
                account_id = random_id()
                client.send_raw("panic-button", account_id.encode(), client.body(account_id))
            requests = STORM_REQUESTS_PER_SECOND // 100
            for number in range(turn * requests, (turn + 1) * requests):
                account_id = random_id()
                client.send_raw("withdrawal-request", account_id.encode(), request(number, account_id))
            pace.wait(max(0.0, began_at + (turn + 1) / 100 - time.monotonic()))
        client.flush()
        seconds = time.monotonic() - began_at
    wait_for(
        lambda: worker.metric("gate_frozen_accounts") == STORM_TURNS * (STORM_PRESSES_PER_SECOND // 100), "presses"
    )
    spreads = {name: spread_of_buckets(before[name], buckets(worker, metric)) for name, metric in histograms.items()}
    worker.stop()
    return {"storm_seconds": seconds, **{name: asdict(spread) for name, spread in spreads.items()}}


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def id_bytes(folder: Path) -> float:
    """Return what a remembered withdrawal_id takes in a data folder."""
    ids = DecidedIds(folder, {"footprint": "1"}, 3_600)
    ids.restore(0, ((random_id(), 0) for _ in range(IDS)), IDS, IDS)
    return folder_bytes(folder) / IDS


def main() -> None:
    """Measure and print JSON lines."""
    with tempfile.TemporaryDirectory(prefix="gate-footprint-") as folder, DevBroker(Path(folder, "kafka")) as broker:
        print(json.dumps({"bytes_per_remembered_id": id_bytes(Path(folder, "ids"))}), flush=True)
        with deployment(broker.bootstrap, "records") as made:
            print(json.dumps({"bytes_per_record": record_bytes(made, broker.data_dir)}), flush=True)
        with deployment(broker.bootstrap, "storm") as made:
            print(json.dumps(storm(made)), flush=True)
        with deployment(broker.bootstrap, "freezes") as made:
            published = 0
            for count in FREEZES:
                press(made, count - published)
                published = count
                print(json.dumps(replay(made, count)), flush=True)


if __name__ == "__main__":
    main()
