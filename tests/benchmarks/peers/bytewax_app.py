"""The job with Bytewax: presses and requests merged by key, the freeze in a stateful step."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from tests.benchmarks.peers import job

# As the gate's batch; with its default of 1,000 it flushes five times as often.
BATCH_RECORDS = 5_000
SNAPSHOT_SECONDS = 1


def account_of(message: KafkaSourceMessage) -> str:
    """Return the key that the state is kept by."""
    account_id: str = message.key.decode()
    return account_id


def apply(held: list[Any] | None, message: KafkaSourceMessage) -> tuple[list[Any] | None, tuple[KafkaSinkMessage, ...]]:
    """Fold a press into the account's state, or decide a request by it; None keeps no state."""
    body = orjson.loads(message.value)
    append_ms, place = message.timestamp[1], f"{message.partition}:{message.offset}"
    if "withdrawal_id" in body:
        return held, (KafkaSinkMessage(message.key, orjson.dumps(job.decide(held, body, append_ms, place))),)
    return job.freeze(held, body, append_ms, place), ()


def dataflow() -> Dataflow:
    """Return presses and requests in, decisions out."""
    flow = Dataflow("gate")
    presses, requests = (
        op.input(
            step,
            flow,
            KafkaSource(
                [job.BOOTSTRAP], [topic], add_config={"fetch.queue.backoff.ms": "10"}, batch_size=BATCH_RECORDS
            ),
        )
        for step, topic in (("presses", job.PRESSES), ("requests", job.REQUESTS))
    )
    keyed = op.key_on("account", op.merge("both", presses, requests), account_of)
    decided = op.map("decision", op.stateful_flat_map("decide", keyed, apply), lambda keyed: keyed[1])
    settings = {"compression.type": "lz4", "linger.ms": "1", "partitioner": "murmur2_random"}
    op.output("decisions", decided, KafkaSink([job.BOOTSTRAP], job.DECISIONS, add_config=settings))
    return flow


def main() -> None:
    """Run; what it has read and holds is kept in the data folder."""
    folder = Path(job.DATA_DIR)
    if not folder.exists():
        folder.mkdir(parents=True)
        init_db_dir(folder, 1)
    cli_main(
        dataflow(), recovery_config=RecoveryConfig(str(folder)), epoch_interval=timedelta(seconds=SNAPSHOT_SECONDS)
    )


if __name__ == "__main__":
    main()
