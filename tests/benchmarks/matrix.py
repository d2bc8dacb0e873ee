"""Throughput, one thing changed at a time: workers, accounts, freezes, record size, codec, signing; ratios to a base.

The workers are running, have announced every press and share the partitions before there is a request: the requests
come in one transaction, so a `read_committed` worker sees none of them before all are there. So a start, a rebalance
or a restore is no part of any figure, and the base, run anew beside each group, differs from it in one thing only.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, replace
from itertools import chain
from statistics import median
from typing import TYPE_CHECKING, Any

from confluent_kafka import Producer

from schemas import panic_button, withdrawal_request
from tests.benchmarks.load import (
    CHUNK_RECORDS,
    PARTITIONS,
    SEED,
    SILENCE_SECONDS,
    BenchmarkError,
    account,
    deployment,
    press,
    read_arrivals,
    record,
    request,
    send_all,
)
from tests.benchmarks.meter import PER_DECISIONS, Meter
from tests.benchmarks.report import Part, Table, Target
from tests.benchmarks.throughput import SIGNING_KEY, decided
from tests.processes import wait_for

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from tests.deployment import Deployment
    from tests.processes import Worker

# One request in so many comes from a frozen account, however many accounts are frozen: a rejection costs more than an
# approval, and is not what a larger table is blamed for.
FROZEN_ASKS_EACH = 100
# Larger records are fewer, so that a run takes no longer and fits on the disk.
MOST_BYTES = 300_000_000
ANNOUNCE_SECONDS = 300.0
# What memos are cut from, each at another place: hexadecimal digits, which compress as little as real ids.
FILLING = random.Random(SEED).randbytes(2_000_000).hex()
FILLING_STEP = 50_021


@dataclass(frozen=True, slots=True)
class Load:
    """What one run is given; the defaults are the base."""

    workers: int = 1
    accounts: int = 100_000
    frozen: int = 1_000
    record_bytes: int | None = None
    codec: str = "none"
    signed: bool = False


BASE = Load()
SIZES = (200, 1_000, 4_000, 10_000)
GROUPS: dict[str, list[tuple[str, Load]]] = {
    "workers": [(f"{count}", replace(BASE, workers=count)) for count in (2, 4)],
    "accounts": [
        (f"{count:,}", replace(BASE, accounts=count, frozen=min(1_000, count // 2)))
        for count in (100, 10_000, 1_000_000, 10_000_000)
    ],
    # Of so many accounts that a million of them can be frozen.
    "frozen": [
        (f"{count:,}", replace(BASE, accounts=10_000_000, frozen=count)) for count in (0, 100, 10_000, 1_000_000)
    ],
    "record bytes": [(f"{size:,}", replace(BASE, record_bytes=size)) for size in SIZES],
    "codec": [(codec, replace(BASE, codec=codec)) for codec in ("gzip", "snappy", "lz4", "zstd")],
    "signed": [("yes", replace(BASE, signed=True))],
}
FEW, MANY = "100", "1,000,000"


@dataclass(frozen=True, slots=True)
class Cell:
    """One run, over the second half of its decisions."""

    group: str
    value: str
    round: int
    requests: int
    decisions_per_second: float
    cpu_seconds_per_100_000: float
    resident_mb: float


def measure(bootstrap: str, asked: argparse.Namespace, say: Callable[[str], None]) -> Part:
    """Run base and changes in turns, group by group, so many rounds."""
    cells = []
    for number in range(1, asked.matrix_rounds + 1):
        for group, loads in GROUPS.items():
            for value, load in [("base", BASE), *loads]:
                cells.append(run(bootstrap, load, asked.matrix_requests, (group, value, number)))
                say(f"matrix, round {number}: {group} {value}: {cells[-1].decisions_per_second:,.0f} decisions/s")
    return Part([table(cells)], [growth(cells)], [NOTE], {"cells": [asdict(cell) for cell in cells]})


NOTE = (
    f"The base: {BASE.workers} worker, {BASE.accounts:,} accounts, {BASE.frozen:,} of them frozen, requests of about "
    f"250 bytes, uncompressed, unsigned. Ratios are to the base beside, of the same group and round. One request in "
    f"{FROZEN_ASKS_EACH} comes from a frozen account, if there is one; `frozen` counts of 10,000,000 accounts. CPU and "
    "memory are the workers': CPU of all together, memory of the largest."
)


def run(bootstrap: str, load: Load, requests: int, named: tuple[str, str, int]) -> Cell:
    """Run the gate over one load."""
    # For each worker as many: with few commits of each, when which of them shows says more than how fast they are.
    count = requests * load.workers
    if load.record_bytes is not None:
        count = min(count, MOST_BYTES // load.record_bytes)
    with deployment(bootstrap, "matrix") as made:
        if load.signed:
            keys = made.folder / "keys"
            keys.write_text(SIGNING_KEY)
            made.environment["GATE_DECISION_KEY_FILE"] = str(keys)
        publish_presses(made, load)
        workers = [made.worker() for _ in range(load.workers)]
        settle(workers, load.frozen)
        publisher = hidden_requests(made, load, count)
        meter, spent_at_half = Meter(workers), list[float]()
        publisher.commit_transaction(SILENCE_SECONDS)
        arrivals = read_arrivals(
            made,
            count,
            lambda: all(worker.process.poll() is None for worker in workers),
            lambda: spent_at_half.append(meter.cpu_seconds()),
        )
        spent = meter.cpu_seconds() - spent_at_half[0]
        check(workers, count, load)
        return Cell(
            *named,
            count,
            arrivals.rate_of_second_half(),
            spent / (count - arrivals.at_half()) * PER_DECISIONS,
            meter.resident_mb(),
        )


def publish_presses(made: Deployment, load: Load) -> None:
    """Freeze so many of the accounts."""

    def chunks() -> Iterator[tuple[int, list[dict[str, Any]]]]:
        for first in range(0, load.frozen, CHUNK_RECORDS):
            records = [record(*press(frozen(n))) for n in range(first, min(first + CHUNK_RECORDS, load.frozen))]
            for partition in range(PARTITIONS):
                yield partition, records[partition::PARTITIONS]

    options = {"acks": "all", "linger.ms": 20, "queue.buffering.max.messages": 1_000_000}
    send_all(Producer({"bootstrap.servers": made.bootstrap, **options}), made.topic(panic_button.TOPIC), chunks())


def frozen(number: int) -> str:
    """Return the id of a frozen account; the others' begin otherwise, and sort among these."""
    return f"{account(number)}f"


def settle(workers: list[Worker], presses: int) -> None:
    """Wait until every press is announced, and each worker has its share of the request partitions."""
    for worker in workers:
        worker.wait_ready()
    wait_for(lambda: sum(map(announced, workers)) >= presses, "the presses to be announced", ANNOUNCE_SECONDS)
    wait_for(lambda: shared(workers), "the workers to share the partitions")


def announced(worker: Worker) -> float:
    """Return how many presses a worker has announced."""
    return worker.metric('gate_presses_total{adjusted="defaulted"}')


def shared(workers: list[Worker]) -> bool:
    """Tell whether each partition has one worker, and each worker its share."""
    owned = [partitions(worker) for worker in workers]
    return sorted(chain(*owned)) == list(range(PARTITIONS)) and min(map(len, owned)) >= PARTITIONS // len(workers)


def partitions(worker: Worker) -> list[int]:
    """Return the request partitions that a worker decides."""
    series = f'gate_consumer_lag_records{{partition="%d",topic="{withdrawal_request.TOPIC}"}}'
    shown = {line.rpartition(" ")[0] for line in worker.get("/metrics")[1].splitlines()}
    return [partition for partition in range(PARTITIONS) if series % partition in shown]


def hidden_requests(made: Deployment, load: Load, count: int) -> Producer:
    """Publish the requests in a transaction that is still to be committed."""
    chance = random.Random(SEED)
    producer = Producer(
        {
            "bootstrap.servers": made.bootstrap,
            "transactional.id": f"{made.name}-requests",
            "transaction.timeout.ms": 600_000,
            "compression.type": load.codec,
            "linger.ms": 20,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 2_000_000,
        }
    )

    def chunks() -> Iterator[tuple[int, list[dict[str, Any]]]]:
        for first in range(0, count, CHUNK_RECORDS):
            records = []
            for number in range(first, min(first + CHUNK_RECORDS, count)):
                if load.frozen and number % FROZEN_ASKS_EACH == 0:
                    asking = frozen(chance.randrange(load.frozen))
                else:
                    asking = account(chance.randrange(load.accounts - load.frozen))
                records.append(record(asking, sized_request(number, asking, load.record_bytes)))
            for partition in range(PARTITIONS):
                yield partition, records[partition::PARTITIONS]

    producer.init_transactions(SILENCE_SECONDS)
    producer.begin_transaction()
    send_all(producer, made.topic(withdrawal_request.TOPIC), chunks())
    return producer


def sized_request(number: int, account_id: str, size: int | None) -> bytes:
    """Return a request of that many bytes, with a memo to fill it; or one as all others."""
    if size is None:
        return request(number, account_id)
    head = (
        f'{{"withdrawal_id":"w-{number:012d}","account_id":"{account_id}","kind":"chain","asset":"USDT",'
        f'"amount":"{number % 9_000}.25","memo":"'
    )
    room = size - len(head) - 2
    start = number * FILLING_STEP % (len(FILLING) - room)
    return f'{head}{FILLING[start : start + room]}"}}'.encode()


def check(workers: list[Worker], count: int, load: Load) -> None:
    """Refuse figures with a wrong decision."""
    wait_for(lambda: sum(map(decided, workers)) == count, "the workers to have counted their decisions")
    wanted = -(-count // FROZEN_ASKS_EACH) if load.frozen else 0
    rejected = sum(w.metric('gate_decisions_total{decision="rejected",reason="account_frozen"}') for w in workers)
    if rejected != wanted:
        message = f"{rejected:,.0f} requests were rejected, {wanted:,} came from frozen accounts"
        raise BenchmarkError(message)


def table(cells: list[Cell]) -> Table:
    """Put the groups below each other, medians over the rounds."""
    heading = ["changed", "to", "requests", "decisions/s", "ratio", "CPU s / 100,000", "ratio", "resident MB"]
    shown = Table("Throughput, one thing changed at a time", heading)
    for group, loads in GROUPS.items():
        for value in ("base", *(value for value, _ in loads)):
            own = [cell for cell in cells if (cell.group, cell.value) == (group, value)]
            rate, cpu, resident = (
                median(getattr(cell, name) for cell in own)
                for name in ("decisions_per_second", "cpu_seconds_per_100_000", "resident_mb")
            )
            ratios = [
                f"{median(ratios_to_base(cells, group, value, name)):.2f}"
                for name in ("decisions_per_second", "cpu_seconds_per_100_000")
            ]
            shown.rows.append(
                [
                    group,
                    value,
                    f"{own[0].requests:,}",
                    f"{rate:,.0f}",
                    ratios[0],
                    f"{cpu:.2f}",
                    ratios[1],
                    f"{resident:.0f}",
                ]
            )
    return shown


def ratios_to_base(cells: list[Cell], group: str, value: str, name: str) -> list[float]:
    """Return a figure by the base's, round by round."""
    figures = {(cell.value, cell.round): getattr(cell, name) for cell in cells if cell.group == group}
    return [figures[value, number] / figures["base", number] for number in sorted({n for _, n in figures})]


def growth(cells: list[Cell]) -> Target:
    """Say by how much a decision costs more with many freezes than with few."""
    few, many = (median(ratios_to_base(cells, "frozen", value, "cpu_seconds_per_100_000")) for value in (FEW, MANY))
    grown = (many / few - 1) * 100
    return Target(f"CPU of a decision, from {FEW} to {MANY} freezes", "+10 % at most", f"{grown:+.0f} %", grown <= 10)
