"""The limit in Python: consume, decode, encode, produce. No state, no transaction, no group, no guarantee.

Started by `python -m tests.benchmarks.bare BOOTSTRAP REQUEST_TOPIC DECISION_TOPIC COUNT`. After COUNT records it waits
for the end of its standard input, so that its memory and CPU time can still be read.
"""

from __future__ import annotations

import sys

import orjson
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from schemas.withdrawal_decision import encode_decision

BATCH_RECORDS = 5_000
MAX_WAITING_RECORDS = 200_000
NOW, LATER = "2026-11-22T09:00:01.250Z", "2026-11-22T09:00:31.250Z"


def decide(partition: int, offset: int, value: bytes) -> tuple[str, bytes]:
    """Return account and decision, in the gate's format but written out here, to save every call that can be saved."""
    body = orjson.loads(value)
    account_id = body["account_id"]
    return account_id, orjson.dumps(
        {
            "withdrawal_id": body["withdrawal_id"],
            "account_id": account_id,
            "decision": "approved",
            "reason": None,
            "frozen_until": None,
            "press_id": None,
            "decided_at": NOW,
            "valid_until": LATER,
            "source": f"withdrawal-request:{partition}:{offset}",
            "freeze_view": "0:250,1:250,2:250,3:250",
            "request": orjson.Fragment(value),
        }
    )


def check_fields() -> None:
    """End when the decision has other fields than the gate's: the two would no longer do the same job."""
    value = b'{"withdrawal_id":"w-1","account_id":"a"}'
    gate = encode_decision(
        withdrawal_id="w-1",
        account_id="a",
        reason=None,
        frozen_until=None,
        press_id=None,
        decided_at=NOW,
        valid_until=LATER,
        source="withdrawal-request:0:0",
        freeze_view="0:250,1:250,2:250,3:250",
        request=value,
    )
    if decide(0, 0, value)[1] != gate:
        sys.exit("the bare loop no longer writes what the gate writes: change tests/benchmarks/bare.py")


def run(bootstrap: str, request_topic: str, decision_topic: str, count: int) -> None:
    """Decide so many records as fast as it goes; compressed as the gate compresses, so the broker has the same work."""
    # Fetching pauses whenever 100,000 records wait; for the default of 1 s that alone would hold it to 120,000/s.
    fetching = {"group.id": "bare", "enable.auto.commit": False, "fetch.queue.backoff.ms": 10}
    consumer = Consumer({"bootstrap.servers": bootstrap, **fetching})
    partitions = consumer.list_topics(request_topic, timeout=10).topics[request_topic].partitions
    consumer.assign([TopicPartition(request_topic, partition, 0) for partition in partitions])
    producer = Producer(
        {"bootstrap.servers": bootstrap, "compression.type": "lz4", "queue.buffering.max.messages": 1_000_000}
    )
    done = 0
    while done < count:
        decisions: dict[int, list[dict[str, str | bytes]]] = {}
        for message in consumer.consume(BATCH_RECORDS, 0.1):
            value, partition, offset = message.value(), message.partition(), message.offset()
            if message.error() is not None or value is None or partition is None or offset is None:
                raise KafkaException(message.error())
            account_id, decision = decide(partition, offset, value)
            decisions.setdefault(partition, []).append({"key": account_id, "value": decision})
            done += 1
        for partition, records in decisions.items():
            if producer.produce_batch(decision_topic, records, partition) != len(records):
                sys.exit("the producer's queue is full")
        while len(producer) > MAX_WAITING_RECORDS:
            producer.poll(0.01)
    producer.flush(60)
    consumer.close()


if __name__ == "__main__":
    check_fields()
    run(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
    sys.stdin.read()
