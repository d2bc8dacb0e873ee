"""The worker's parts, the threads they run in, and the three loops that feed the agents.

librdkafka and RocksDB block, so each role has a thread of its own and the event loop only hands batches over. One batch
at a time passes through an agent's channel, which is the back-pressure. An error that a role can't handle ends the
process before a commit: nothing is skipped, the supervisor starts it again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from confluent_kafka import KafkaException

from schemas import dead_letter, freeze_status, panic_button, withdrawal_decision, withdrawal_request
from schemas.topics import REQUEST_RETENTION_MS
from streams.announce import Announce
from streams.barrier import Barrier
from streams.broker_clock import BrokerClock
from streams.checks import require_sound_topics
from streams.console.decisions import DecisionReader
from streams.console.stopped import Stopped
from streams.decided_ids import DecidedIds
from streams.exactly_once import ExactlyOnce
from streams.follow import Follow
from streams.freeze_table import FreezeTable
from streams.gate import Gate
from streams.health import Health
from streams.kafka import REQUEST_SECONDS, error_of, group_size, reach, topic_config
from streams.lag import Lag
from streams.lifeline import Lifeline, replace_process
from streams.metrics import Metrics
from streams.resume import PressResume, RequestResume
from streams.topic_watch import TopicWatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Consumer
    from confluent_kafka.admin import AdminClient

    from streams.kafka import TopicFacts
    from streams.settings import Settings
    from streams.spans import Spans

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")
DRAIN_SECONDS = 6.0
SPAN_RECEIVERS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Runtime:
    """Everything behind the Faust app. `start` and `close` block; call them from a thread."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is opened yet."""
        self.settings = settings
        self.folder = Path(settings.data_dir)
        self.clock = BrokerClock()
        self.health = Health()
        self.metrics = Metrics()
        self.metrics.ready.set_function(lambda: int(self.health.ready))
        self.metrics.watch_folder(self.folder)
        self.metrics.shadow.set(settings.shadow)
        self.table: FreezeTable | None = None
        self.stopped = Stopped() if settings.console else None
        # What counts for it; None without a console.
        self.decisions: DecisionReader | None = None
        # In the group that decides; None as long as nobody said.
        self.workers: int | None = None
        # None in a shadow, which announces nothing.
        self.announce_intake: ExactlyOnce | None = None
        self.stopping = threading.Event()
        self._threads: dict[str, ThreadPoolExecutor] = {}
        # What has to be closed, with the role that uses it; the last made is closed first.
        self._closing: list[tuple[str, Callable[[], object]]] = []
        # What it takes to leave the group that decides, each in the role's thread.
        self._leave: list[tuple[str, Callable[[], object]]] = []

    def start(self) -> None:
        """Check Kafka, open the data folder, make the parts; raise GateError."""
        self.client = reach(self.settings)
        self.health.set("kafka", None)
        facts = require_sound_topics(self.client, self.settings)
        if self.settings.shadow:
            log.warning(
                "a shadow: what it decides goes to %s alone and decides nothing", facts[withdrawal_decision.TOPIC].name
            )
        if self.stopped is not None:
            self.decisions = DecisionReader(self.settings, client=self.client, clock=self.clock, stopped=self.stopped)
            # Closed last: nothing that matters may wait for it.
            self._closing.append(("decisions", self.decisions.close))
        self._open_folder({name: found.topic_id for name, found in facts.items()})
        self._make_followers(facts)
        self._make_gate(facts)
        if self.settings.shadow:
            self._closing.append(("announce", lambda: None))  # its thread purges, here too
        else:
            self._make_announcer(facts)
        self._closing.append(("gate", self.gate_intake.close))
        self._leave = [("gate", self.gate.settle), ("gate-fetch", self.gate_intake.leave)]
        self.lag = Lag(self)
        self.topic_watch = TopicWatch(self.settings, self.client, self.metrics)
        clients: dict[str, AdminClient | Consumer] = {
            "questions": self.client,
            "follow": self.follow.consumer,
            "gate": self.gate_intake.consumer,
        }
        if self.announce_intake is not None:
            clients["announce"] = self.announce_intake.consumer
        self.lifeline = Lifeline(self.settings, clients, replace_process)

    def _open_folder(self, topic_ids: dict[str, str]) -> None:
        cluster = {"cluster": self.client.cluster_id(timeout=REQUEST_SECONDS)}
        if self.settings.shadow:
            # A shadow keeps nothing to announce: a live gate that went on in its folder would never tell of freezes.
            cluster["GATE_SHADOW"] = "1"
        self.table = FreezeTable(self.folder / "freezes", cluster | _only(topic_ids, panic_button.TOPIC))
        self._closing.append(("table", self.table.close))
        decided_here = _only(topic_ids, withdrawal_request.TOPIC, withdrawal_decision.TOPIC)
        self.ids = DecidedIds(self.folder / "decided", cluster | decided_here, self.settings.duplicate_seconds)
        self._closing.append(("ids", self.ids.close))

    def _make_followers(self, facts: dict[str, TopicFacts]) -> None:
        panic = facts[panic_button.TOPIC]
        self.follow = Follow(
            self.settings,
            client=self.client,
            table=self.open_table,
            clock=self.clock,
            metrics=self.metrics,
            health=self.health,
        )
        self._closing.append(("follow", self.follow.close))
        self.follow.follow(panic.partitions)
        self.barrier = Barrier(
            client=self.client,
            topic=panic.name,
            topic_id=panic.topic_id,
            follow=self.follow,
            clock=self.clock,
            metrics=self.metrics,
            health=self.health,
        )

    def _limits(self, facts: dict[str, TopicFacts]) -> dict[str, int]:
        """Return how large a record the outputs take."""
        return {
            name: int(topic_config(self.client, facts[name].name)["max.message.bytes"])
            for name in (withdrawal_decision.TOPIC, dead_letter.TOPIC, freeze_status.TOPIC)
            if name in facts
        }

    def _make_gate(self, facts: dict[str, TopicFacts]) -> None:
        settings = self.settings
        limits = self._limits(facts)
        self.gate_intake = ExactlyOnce(
            settings,
            group=settings.workers_group,
            topic=facts[withdrawal_request.TOPIC].name,
            resume=RequestResume(settings, client=self.client, clock=self.clock, ids=self.ids),
            clock=self.clock,
            metrics=self.metrics,
            output_bytes=[limits[name] for name in (withdrawal_decision.TOPIC, dead_letter.TOPIC) if name in limits],
        )
        spans = open_spans(settings)
        if spans is not None:
            self._closing.append(("spans", spans.close))
        self.gate = Gate(
            settings,
            intake=self.gate_intake,
            barrier=self.barrier,
            table=self.open_table,
            ids=self.ids,
            clock=self.clock,
            metrics=self.metrics,
            health=self.health,
            panic_partitions=facts[panic_button.TOPIC].partitions,
            spans=spans,
            max_decision_bytes=limits[withdrawal_decision.TOPIC],
            max_dead_letter_bytes=limits.get(dead_letter.TOPIC, 0),
        )

    def _make_announcer(self, facts: dict[str, TopicFacts]) -> None:
        settings = self.settings
        limits = self._limits(facts)
        statuses = facts[freeze_status.TOPIC].partitions
        self.announce_intake = ExactlyOnce(
            settings,
            group=f"{settings.workers_group}-announce",
            topic=facts[panic_button.TOPIC].name,
            resume=PressResume(settings, client=self.client, clock=self.clock, status_partitions=statuses),
            clock=self.clock,
            metrics=self.metrics,
            output_bytes=(limits[freeze_status.TOPIC], limits[dead_letter.TOPIC]),
        )
        self._closing.append(("announce", self.announce_intake.close))
        self.announce = Announce(
            settings,
            intake=self.announce_intake,
            barrier=self.barrier,
            follow=self.follow,
            table=self.open_table,
            clock=self.clock,
            metrics=self.metrics,
            status_partitions=statuses,
            dead_letter_partitions=facts[dead_letter.TOPIC].partitions,
            max_dead_letter_bytes=limits[dead_letter.TOPIC],
        )

    @property
    def open_table(self) -> FreezeTable:
        """The freeze table, once the folder is open."""
        if self.table is None:
            message = "the freeze table is not open yet"
            raise RuntimeError(message)
        return self.table

    async def run(self, role: str, work: Callable[..., Answer], *arguments: object) -> Answer:
        """Run blocking work in the role's own thread, one piece after the other."""
        return await asyncio.get_running_loop().run_in_executor(self._thread(role), lambda: work(*arguments))

    def _thread(self, role: str) -> ThreadPoolExecutor:
        if role not in self._threads:
            self._threads[role] = ThreadPoolExecutor(1, thread_name_prefix=role)
        return self._threads[role]

    def restore(self) -> bool:
        """Wait until the freeze table has caught up with the brokers once; False when stopped before."""
        if self.barrier.wait(self.stopping.is_set) is None:
            return False
        self.health.set("table", None)
        frozen = self.open_table.count_frozen(self.clock.known_ms())
        log.info("the freeze table is current: %d accounts frozen", frozen, extra={"frozen_accounts": frozen})
        return True

    def purge(self) -> None:
        """Drop what nothing can ask for any more."""
        announced = self.open_table.applied
        try:
            if self.announce_intake is not None:
                announced = self.announce_intake.committed(announced)
        except KafkaException as exception:
            log.debug("nothing purged: %s", error_of(exception).str())
            return
        self.open_table.purge(self.clock.known_ms() - REQUEST_RETENTION_MS, announced)

    def count_workers(self) -> None:
        """Ask how many workers there are, for the console."""
        self.workers = group_size(self.client, self.settings.workers_group)

    def close(self) -> None:
        """Let the work in hand end, leave the groups, close the folder; what was never made needs no closing."""
        self.stopping.set()
        # First of all: until this worker has left, nobody decides its partitions, and a question that another thread
        # has put through the same client can take half a second.
        for role, work in self._leave:
            self._thread(role).submit(work).result(DRAIN_SECONDS)
        for role in ("lifeline", "watch"):
            self._finish(role, lambda: None)
        for role, last in reversed(self._closing):
            self._finish(role, lambda: None)
            self._finish(f"{role}-fetch", last)

    def _finish(self, role: str, last: Callable[[], object]) -> None:
        """Run `last` in the role's thread, after what it has in hand, and end the thread."""
        thread = self._thread(role)
        thread.submit(last).result(DRAIN_SECONDS)
        thread.shutdown()


def open_spans(settings: Settings) -> Spans | None:
    """Return what exports spans, None when the environment names no receiver: then nothing of it is imported."""
    if not any(os.environ.get(name) for name in SPAN_RECEIVERS):
        return None
    try:
        from streams.spans import Spans  # noqa: PLC0415  (an extra that few install, and half a second to import)
    except ImportError as error:
        log.warning("no spans are exported: %s names a receiver, but %s", " or ".join(SPAN_RECEIVERS), error)
        return None
    return Spans(settings)


def _only(topic_ids: dict[str, str], *names: str) -> dict[str, str]:
    return {name: topic_ids[name] for name in names}
