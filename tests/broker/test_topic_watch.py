"""A worker sees that somebody changes the topics under it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from streams.kafka import admin
from streams.metrics import Metrics
from streams.settings import Settings
from streams.topic_watch import TopicWatch

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tests.deployment import Deployment


def test_a_topic_that_is_changed_while_a_worker_runs_is_counted_and_told_once(
    deploy: Callable[..., Deployment], caplog: pytest.LogCaptureFixture
) -> None:
    """Shortened, the fault shows in the metric at the next look and in the log once; mended, both say so."""
    caplog.set_level(logging.INFO)
    gate = deploy(partitions=1)
    gate.create_topics()
    settings, metrics = Settings.from_environment(gate.environment), Metrics()
    watch = TopicWatch(settings, admin(settings), metrics)

    def faults() -> float | None:
        watch.look()
        return metrics.registry.get_sample_value("gate_topic_faults")

    assert faults() == 0
    gate.alter_topic("panic-button", "retention.ms", "86400000")
    assert (faults(), faults()) == (1, 1)
    gate.alter_topic("panic-button", "retention.ms", "-1")
    assert (faults(), faults()) == (0, 0)
    told = [record.getMessage() for record in caplog.records if record.name == "streams.topic_watch"]
    assert len(told) == 2
    assert "retention.ms is 86400000; needed: at least 1209600000" in told[0]


def test_a_worker_exports_the_faults_of_the_topics_and_the_room_of_its_folder(
    deploy: Callable[..., Deployment],
) -> None:
    """What the alerts read is there, from the first look on."""
    gate = deploy(partitions=1)
    gate.create_topics()
    worker = gate.worker().wait_ready()
    assert "\ngate_topic_faults 0.0\n" in worker.get("/metrics")[1]
    assert 0 < worker.metric("gate_data_free_bytes") <= worker.metric("gate_data_size_bytes")
