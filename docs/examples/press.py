#!/usr/bin/env python3
"""The upstream app's side of the panic button: says "frozen" once Kafka has acknowledged the press, and not before.

    press.py ACCOUNT [SECONDS]

Where Kafka is, GATE_KAFKA_BOOTSTRAP and GATE_TOPIC_PREFIX say. Exit code 0: frozen; 1: not known to be frozen.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid

from confluent_kafka import KafkaError, KafkaException, Message, Producer

# How long one press may take with all of the client's own retries, and how long it is pressed anew after that.
ATTEMPT_SECONDS = 10
GIVE_UP_SECONDS = 60
POLL_SECONDS = 0.2


class PanicButton:
    """Publishes presses; one for the whole app, from one thread."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        """Name the broker; nothing is sent before the first press."""
        self._topic = f"{prefix}panic-button"
        self._options = {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            # A retry after a lost answer does not store the press twice. It implies acks=all, said for who copies it.
            "enable.idempotence": True,
            "delivery.timeout.ms": ATTEMPT_SECONDS * 1000,
            "linger.ms": 0,
            # What fails comes back from press(); the client's own lines, many a second without Kafka, would hide it.
            "log_level": 0,
        }
        self._producer = Producer(self._options)

    def press(self, account_id: str, freeze_seconds: int | None = None) -> str | None:
        """Return the id of the press once it is in force, None when nobody knows; KafkaException when it can't be.

        Until then the app says "not frozen yet, trying", never "frozen". A press that was not acknowledged may be
        stored all the same: pressing again is always safe, with the same press_id so that support sees one press.
        """
        press_id = str(uuid.uuid4())
        body: dict[str, str | int] = {"account_id": account_id, "press_id": press_id}
        if freeze_seconds is not None:
            body["freeze_seconds"] = freeze_seconds
        value = json.dumps(body).encode()
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < deadline:
            error = self._attempt(account_id.encode(), value)
            if error is None:
                return press_id
            if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.TOPIC_AUTHORIZATION_FAILED):
                raise KafkaException(error)
            # A client that has had a fatal error takes nothing more.
            self._producer = Producer(self._options)
        return None

    def _attempt(self, key: bytes, value: bytes) -> KafkaError | None:
        """Publish once and wait for the acknowledgement; return what went wrong."""
        reports: list[KafkaError | None] = []

        def acknowledged(error: KafkaError | None, _: Message) -> None:
            reports.append(error)

        self._producer.produce(self._topic, value, key, on_delivery=acknowledged)
        while not reports:
            self._producer.poll(POLL_SECONDS)
        return reports[0]


def main() -> int:
    """Press once and say what came of it."""
    account_id, *rest = sys.argv[1:]
    button = PanicButton(
        os.environ.get("GATE_KAFKA_BOOTSTRAP") or "127.0.0.1:9092", os.environ.get("GATE_TOPIC_PREFIX", "")
    )
    print("not frozen yet, trying", file=sys.stderr, flush=True)
    press_id = button.press(account_id, int(rest[0]) if rest else None)
    print(json.dumps({"frozen": press_id is not None, "press_id": press_id}), flush=True)
    return 0 if press_id else 1


if __name__ == "__main__":
    sys.exit(main())
