"""Gives every producer a transactional id of its own: none fences another."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from streams import lane as lanes
from streams.cli import main
from streams.kafka import transactional_producer
from tests.controls import paused  # noqa: F401  (importing it lets the gate be stopped)

if TYPE_CHECKING:
    from collections.abc import Collection

    from confluent_kafka import Producer

    from streams.settings import Settings


def _of_its_own(settings: Settings, transactional_id: str, output_bytes: Collection[int]) -> Producer:
    return transactional_producer(settings, f"{transactional_id}-{uuid4()}", output_bytes)


vars(lanes)["transactional_producer"] = _of_its_own

if __name__ == "__main__":
    main()
