"""The faults, each with what it does and how it ends; what is struck at the same time is a matter of chance.

A fault holds one worker, the links of one worker, or the brokers from its beginning to its end, so that at most one
broker of three is away: two would stop everything, and prove nothing but that. Those at the moment of a commit hold a
worker and its links.
"""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from confluent_kafka import ElectionType, KafkaException

from tests.chaos.proxy import Mode
from tests.chaos.traffic import transactional
from tests.processes import wait_for

if TYPE_CHECKING:
    import random
    import threading
    from collections.abc import Callable, Iterator

    from tests.chaos.cluster import Broker, Cluster
    from tests.chaos.place import Place
    from tests.deployment import Deployment

# The worker's session and transactions end after 10 s (streams/kafka.py), a broker's session after 3 s.
SHORT_PAUSE_SECONDS = (0.5, 5.0)
LONG_PAUSE_SECONDS = (12.0, 15.0)
BROKER_SHORT_PAUSE_SECONDS = (0.5, 2.0)
BROKER_LONG_PAUSE_SECONDS = (4.0, 8.0)
AWAY_SECONDS = (0.2, 4.0)
OPEN_SECONDS = (1.0, 6.0)
CUT_SECONDS = (0.2, 8.0)
SLOW_SECONDS = (2.0, 10.0)
# Up to beyond a worker's session; librdkafka itself waits 60 s for an answer.
HALF_OPEN_SECONDS = (2.0, 20.0)
ELSEWHERE_SECONDS = (3.0, 10.0)
CLOCK_SECONDS = (2.0, 8.0)
CLOCK_OFF_SECONDS = 12 * 3600
# Presses come several times a second, so a full disk is met at once.
FULL_SECONDS = 15.0
WORKING_SECONDS = 15.0
INSYNC_SECONDS = 180.0
HELD_OFFSETS_SECONDS = (0.5, 6.0)
TRAP_SECONDS = 15.0
ASK_SECONDS = 0.02


class Key(IntEnum):
    """Kinds of requests by which a worker is caught in the act (Kafka's protocol guide, "API Keys")."""

    OFFSET_FETCH = 9
    ADD_PARTITIONS_TO_TXN = 24
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


# Where in a commit a worker is caught, and whether the brokers hear that request before they hear nothing more.
DECIDED = (Key.ADD_PARTITIONS_TO_TXN, False)  # nothing begun
OFFSET_SENT = (Key.TXN_OFFSET_COMMIT, True)  # the transaction open
ABOUT_TO_END = (Key.END_TXN, False)
COMMITTED = (Key.END_TXN, True)  # and not told so
# What was decided is sent within ten seconds or not at all (librdkafka's `message.timeout.ms`, which follows the
# transaction's): so a pause before that lasts longer than the shortest session that brokers allow, 6 s, which controls
# have; the others last longer than the gate's.
PAUSES = ((DECIDED, (7.0, 9.5)), (OFFSET_SENT, LONG_PAUSE_SECONDS), (ABOUT_TO_END, LONG_PAUSE_SECONDS))


class NotMet(Exception):  # noqa: N818  (nothing has gone wrong)
    """What a fault waits for did not come: it did not happen."""


@dataclass
class Scene:
    """What a fault can strike, and the chance that says how."""

    gate: Deployment
    cluster: Cluster
    stop: threading.Event
    chance: random.Random
    place: Place | None = None

    def wait(self, bounds: tuple[float, float]) -> None:
        """Let the fault last; at the end of the run it is over at once."""
        self.stop.wait(self.chance.uniform(*bounds))

    @property
    def struck(self) -> Place:
        """The place that this lane strikes."""
        assert self.place is not None
        return self.place

    def broker(self) -> Broker:
        """Choose a broker."""
        return self.chance.choice(self.cluster.brokers)


def kill_worker(scene: Scene) -> None:
    """Kill -9 of a worker; started again on the same folder after a while."""
    scene.struck.kill()
    scene.wait(AWAY_SECONDS)
    scene.struck.start()


def restart_worker(scene: Scene) -> None:
    """SIGTERM, then a new start on the same folder."""
    _end(scene)
    scene.wait(AWAY_SECONDS)
    scene.struck.start()


def _end(scene: Scene) -> None:
    status = scene.struck.running().stop()
    if status not in {0, -signal.SIGTERM}:  # just started, it does not listen to signals yet
        scene.struck.note_end(status)


def pause_worker(scene: Scene) -> None:
    """SIGSTOP for less than the session's timeout, then SIGCONT."""
    _pause(scene, SHORT_PAUSE_SECONDS)


def pause_worker_long(scene: Scene) -> None:
    """SIGSTOP until the group has gone on without it and its transactions are timed out, then SIGCONT."""
    _pause(scene, LONG_PAUSE_SECONDS)


def _pause(scene: Scene, bounds: tuple[float, float]) -> None:
    worker = scene.struck.running()
    worker.pause()
    scene.wait(bounds)
    worker.resume()


def kill_at_commit(scene: Scene) -> None:
    """Kill -9 of a worker in the middle of a commit; started again on the same folder after a while."""
    with _caught(scene, scene.chance.choice([OFFSET_SENT, ABOUT_TO_END, COMMITTED])):
        scene.struck.kill()
    scene.wait(AWAY_SECONDS)
    scene.struck.start()


def pause_at_commit(scene: Scene) -> None:
    """SIGSTOP in the middle of a commit until another may have decided the same; what it had said comes late."""
    moment, bounds = scene.chance.choice(PAUSES)
    with _caught(scene, moment):
        _pause(scene, bounds)


@contextmanager
def _caught(scene: Scene, moment: tuple[Key, bool]) -> Iterator[None]:
    """Hold what the worker and the brokers say to each other at that moment; raise NotMet when it does not come."""
    key, passes = moment
    links, place = scene.cluster.links, scene.struck.number
    brokers = range(len(scene.cluster.brokers))
    with scene.struck.links_lock:
        try:
            for broker in brokers:
                links.trap(place, broker, key, passes=passes)
            until = time.monotonic() + TRAP_SECONDS
            while not any(links.mode(place, broker) is Mode.HOLD for broker in brokers):
                if time.monotonic() > until or scene.stop.wait(ASK_SECONDS):
                    raise NotMet
            yield
        finally:
            for broker in brokers:
                links.change(place, broker, Mode.OPEN)


def delete_folder(scene: Scene) -> None:
    """Kill -9, the data folder deleted, a new start."""
    scene.struck.kill()
    scene.struck.forget()
    scene.struck.start()


def damage_folder(scene: Scene) -> None:
    """Kill -9, a table or log file of RocksDB cut in its middle, a new start; after exit code 4 the folder goes."""
    scene.struck.kill()
    files = sorted(path for path in scene.struck.data.glob("**/*") if path.suffix in {".sst", ".log"})
    if files:
        struck = scene.chance.choice(files)
        with struck.open("r+b") as file:
            file.truncate(struck.stat().st_size // 2)
        scene.struck.damaged = True
    scene.struck.start()


def cut_link(scene: Scene) -> None:
    """Reset the connections between a worker and a broker, and those that are tried for a while."""
    _link(scene, Mode.CUT, CUT_SECONDS)


def slow_link(scene: Scene) -> None:
    """Let what a worker and a broker say to each other take 0.3 s each way."""
    _link(scene, Mode.SLOW, SLOW_SECONDS)


def mute_link(scene: Scene) -> None:
    """Let a broker hear a worker but lose its answers, for a while; then the connections are reset."""
    _link(scene, Mode.MUTE, HALF_OPEN_SECONDS)


def dead_link(scene: Scene) -> None:
    """Lose what a worker and a broker say to each other, and tell neither; then the connections are reset."""
    _link(scene, Mode.DEAD, HALF_OPEN_SECONDS)


def _link(scene: Scene, mode: Mode, bounds: tuple[float, float]) -> None:
    link = scene.struck.number, scene.cluster.brokers.index(scene.broker())
    with scene.struck.links_lock:
        scene.cluster.links.change(*link, mode)
        scene.wait(bounds)
        scene.cluster.links.change(*link, Mode.OPEN)


def hold_offsets(scene: Scene) -> None:
    """Hold back the answer when a worker asks where to go on, while the group may give its partitions anew."""
    with _caught(scene, (Key.OFFSET_FETCH, True)):
        scene.wait(HELD_OFFSETS_SECONDS)


def fill_disk(scene: Scene) -> None:
    """Fill the disk under the data folder until the worker has ended, with exit code 4; the folder is kept."""
    place = scene.struck
    worker = place.running()
    assert place.disk is not None
    place.filled = True
    place.disk.fill()
    full_until = time.monotonic() + FULL_SECONDS
    while worker.process.poll() is None and time.monotonic() < full_until and not scene.stop.wait(0.1):
        pass
    place.disk.free()
    if worker.process.poll() is not None:  # else it drains still, or has met no full disk
        place.running()


def move_clock(scene: Scene) -> None:
    """Move a worker's wall clock by up to twelve hours for a while; half of the time it starts with that."""
    place = scene.struck
    place.running()
    place.move_clock(scene.chance.randint(-CLOCK_OFF_SECONDS, CLOCK_OFF_SECONDS))
    if scene.chance.random() < 0.5:
        place.kill()
        place.start()
    scene.wait(CLOCK_SECONDS)
    place.move_clock(0)


def remove_worker(scene: Scene) -> None:
    """SIGTERM, and away for long enough that others work on its partitions; then it comes back."""
    _end(scene)
    scene.wait(ELSEWHERE_SECONDS)
    scene.struck.start()


def add_worker(scene: Scene) -> None:
    """One worker more than the run began with, for a while."""
    scene.struck.start()
    scene.wait(ELSEWHERE_SECONDS)
    _end(scene)


def kill_broker(scene: Scene) -> None:
    """Kill -9 of a broker; the same one comes back after a while."""
    broker = scene.broker()
    broker.kill()
    scene.wait(AWAY_SECONDS)
    broker.start()


def restart_broker(scene: Scene) -> None:
    """SIGTERM to a broker, then a new start."""
    broker = scene.broker()
    broker.stop()
    broker.start()


def pause_broker(scene: Scene) -> None:
    """SIGSTOP of a broker for less than its session with the controller, then SIGCONT."""
    _pause_broker(scene, BROKER_SHORT_PAUSE_SECONDS)


def pause_broker_long(scene: Scene) -> None:
    """SIGSTOP of a broker until others lead its partitions, then SIGCONT."""
    _pause_broker(scene, BROKER_LONG_PAUSE_SECONDS)


def _pause_broker(scene: Scene, bounds: tuple[float, float]) -> None:
    broker = scene.broker()
    broker.pause()
    scene.wait(bounds)
    broker.resume()


def move_leaders(scene: Scene) -> None:
    """Every partition goes back to the leader it was made with."""
    scene.gate.admin.elect_leaders(ElectionType.PREFERRED).result()


def open_transaction(scene: Scene) -> None:
    """Begin a transaction on panic-button and leave it: nobody ends it but the brokers, after ten seconds."""
    producer = transactional(scene.gate, f"{scene.gate.name}-left-open-{scene.chance.random()}")
    producer.begin_transaction()
    producer.produce(scene.gate.topic("panic-button"), b'{"account_id": "left-open"}', b"left-open")
    producer.flush(OPEN_SECONDS[1])
    scene.wait(OPEN_SECONDS)


ON_WORKERS: dict[str, Callable[[Scene], None]] = {
    "kill-worker": kill_worker,
    "restart-worker": restart_worker,
    "remove-worker": remove_worker,
    "pause-worker": pause_worker,
    "pause-worker-long": pause_worker_long,
    "delete-folder": delete_folder,
    "damage-folder": damage_folder,
    "fill-disk": fill_disk,
    "move-clock": move_clock,
    "kill-at-commit": kill_at_commit,
    "pause-at-commit": pause_at_commit,
}
ON_LINKS: dict[str, Callable[[Scene], None]] = {
    "cut-link": cut_link,
    "slow-link": slow_link,
    "mute-link": mute_link,
    "dead-link": dead_link,
    "hold-offsets": hold_offsets,
}
ON_SPARE: dict[str, Callable[[Scene], None]] = {
    "add-worker": add_worker,
}
ON_BROKERS: dict[str, Callable[[Scene], None]] = {
    "kill-broker": kill_broker,
    "restart-broker": restart_broker,
    "pause-broker": pause_broker,
    "pause-broker-long": pause_broker_long,
    "move-leaders": move_leaders,
}
ON_TOPICS: dict[str, Callable[[Scene], None]] = {
    "open-transaction": open_transaction,
}
FAULTS = ON_WORKERS | ON_LINKS | ON_SPARE | ON_BROKERS | ON_TOPICS
# While one of these lasts, a worker may get no answer from Kafka: it ends with 3, and a supervisor starts it again.
CUT_OFF = {*ON_BROKERS, *ON_LINKS, "pause-worker-long", "pause-at-commit"}


def until_working(scene: Scene) -> None:
    """Half of the time, wait a while until the worker decides: one that has just begun has nothing in hand to lose."""
    if scene.chance.random() < 0.5:
        return
    until = time.monotonic() + WORKING_SECONDS
    while time.monotonic() < until and not scene.stop.wait(0.2) and scene.struck.running().get("/readyz")[0] != 200:
        pass


def until_insync(scene: Scene) -> None:
    """Wait until all three brokers hold every partition, as the next fault may take any; or until the end."""

    def insync() -> bool:
        try:
            topics = scene.gate.admin.list_topics(timeout=5).topics.values()
        except KafkaException:
            return False
        partitions = [partition for topic in topics for partition in topic.partitions.values()]
        return all(len(partition.isrs) == len(partition.replicas) for partition in partitions)

    wait_for(lambda: scene.stop.is_set() or insync(), "every replica to be in sync", INSYNC_SECONDS)
