"""Are the topics still as the promises need them? A worker checks at its start; this looks again while it runs.

Somebody may shorten `panic-button` or let it be compacted meanwhile. The table still holds every freeze, so the worker
goes on; the next rebuild would lack some, so somebody must know before.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException

from streams.checks import inspect_topics

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

    from streams.metrics import Metrics
    from streams.settings import Settings

log = logging.getLogger(__name__)


class TopicWatch:
    """One look at a time; a fault is logged when it appears, not each minute."""

    def __init__(self, settings: Settings, client: AdminClient, metrics: Metrics) -> None:
        """Look at the topics of these settings."""
        self._settings = settings
        self._client = client
        self._metrics = metrics
        self._known: frozenset[str] = frozenset()

    def look(self) -> None:
        """Set the gauge; while the brokers give no answer it stays as it is, and the check `kafka` says so."""
        try:
            _, faults = inspect_topics(self._client, self._settings)
        except KafkaException:
            return
        self._metrics.topic_faults.set(len(faults))
        for fault in faults:
            if fault not in self._known:
                log.error("%s", fault)
        if self._known and not faults:
            log.info("the topics are as they should be again")
        self._known = frozenset(faults)
