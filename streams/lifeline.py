"""Does every client of this worker still have a broker to talk to? If one has lost them for good, begin anew.

A broker that shuts down can answer a question for metadata with no brokers at all. librdkafka (2.10 to 2.16, its issue
5301) then drops the brokers that it knows and never connects again, whatever `metadata.recovery.strategy` says: a
consumer would sit there silently for ever. No option prevents it, so it is noticed here: a client without brokers while
a new one gets an answer. The worker then replaces itself by a new one, in the same process id. To Kafka and to the data
folder that is a kill -9, which every part is built and tested for.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException

from schemas import panic_button
from streams.kafka import admin, error_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from confluent_kafka import Consumer
    from confluent_kafka.admin import AdminClient

    from streams.settings import Settings

log = logging.getLogger(__name__)
# How long a client may look for a broker; it looks among those it is connected to.
FIND_SECONDS = 0.5
NEW_CLIENT_SECONDS = 2.0
# Longer than reconnect.backoff.max.ms: a client that can come back by itself has done so by then.
LOST_SECONDS = 5.0


class Lifeline:
    """One look at a time; `clients` by the name that the log gives them."""

    def __init__(
        self, settings: Settings, clients: Mapping[str, AdminClient | Consumer], begin_anew: Callable[[], object]
    ) -> None:
        """Look after those clients; call `begin_anew` when one is lost."""
        self._settings = settings
        self._topic = settings.topic(panic_button.TOPIC)
        self._clients = clients
        self._begin_anew = begin_anew
        self._alone_since: dict[str, float] = {}

    def look(self) -> None:
        """Ask each client for a broker; begin anew when one has had none for `LOST_SECONDS` although Kafka is there."""
        for name, client in self._clients.items():
            if self._has_broker(client, FIND_SECONDS):
                self._alone_since.pop(name, None)
            else:
                self._alone_since.setdefault(name, time.monotonic())
        lost = [name for name, since in self._alone_since.items() if time.monotonic() - since > LOST_SECONDS]
        if lost and self._has_broker(admin(self._settings), NEW_CLIENT_SECONDS):
            log.error("Kafka is there, but the client of %s has lost it: the worker begins anew", ", ".join(lost))
            self._begin_anew()

    def _has_broker(self, client: AdminClient | Consumer, seconds: float) -> bool:
        try:
            client.list_topics(self._topic, timeout=seconds)
        except KafkaException as exception:
            # A broker that is slow to answer (_TIMED_OUT, behind a fetch or on a busy machine) is a broker.
            return error_of(exception).code() != KafkaError._TRANSPORT
        return True


def replace_process() -> None:
    """Run the same command in this process, from its beginning; nothing of the old one is left."""
    logging.shutdown()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  (our own command line, no shell)
