"""The faults, each with what it does and how it ends; what is struck at the same time is a matter of chance.

A fault holds one worker or the brokers from its beginning to its end, so that at most one broker of three is away:
two would stop everything, and prove nothing but that.
"""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from confluent_kafka import ElectionType, KafkaException

from tests.chaos.traffic import transactional
from tests.processes import wait_for

if TYPE_CHECKING:
    import random
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from tests.chaos.cluster import Broker, Cluster
    from tests.deployment import Deployment
    from tests.processes import Worker

# The worker's session and transactions end after 10 s (streams/kafka.py), a broker's session after 3 s.
SHORT_PAUSE_SECONDS = (0.5, 5.0)
LONG_PAUSE_SECONDS = (12.0, 15.0)
BROKER_SHORT_PAUSE_SECONDS = (0.5, 2.0)
BROKER_LONG_PAUSE_SECONDS = (4.0, 8.0)
AWAY_SECONDS = (0.2, 4.0)
OPEN_SECONDS = (1.0, 6.0)
EXIT_RESET = 4


@dataclass
class Place:
    """Where a worker runs: a data folder that outlives the process."""

    gate: Deployment
    folder: str
    module: str
    worker: Worker | None = None

    def start(self) -> None:
        """Start a worker on that folder."""
        self.worker = self.gate.worker(self.folder, self.module)

    def running(self) -> Worker:
        """Return the worker; one that has ended by itself is started again, as a supervisor would."""
        if self.worker is None or self.worker.process.poll() is not None:
            if self.worker is not None and self.worker.process.returncode == EXIT_RESET:
                self.forget()
            self.start()
        assert self.worker is not None
        return self.worker

    def kill(self) -> None:
        """Kill -9."""
        self.running().kill()

    def forget(self) -> None:
        """Delete the data folder."""
        shutil.rmtree(self.data)

    @property
    def data(self) -> Path:
        """The worker's data folder."""
        return self.gate.folder / self.folder / "data"


@dataclass
class Scene:
    """What a fault can strike, and the chance that says how."""

    gate: Deployment
    cluster: Cluster
    stop: threading.Event
    chance: random.Random
    place: Place | None = None
    seen: list[str] = field(default_factory=list)

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
    status = scene.struck.running().stop()
    if status not in {0, -signal.SIGTERM}:  # just started, it does not listen to signals yet
        scene.seen.append(f"a worker ended with exit code {status} after SIGTERM")
    scene.wait(AWAY_SECONDS)
    scene.struck.start()


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


def delete_folder(scene: Scene) -> None:
    """Kill -9, the data folder deleted, a new start."""
    scene.struck.kill()
    if scene.struck.data.exists():
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
    scene.struck.start()


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
    try:
        scene.gate.admin.elect_leaders(ElectionType.PREFERRED).result()
    except KafkaException as exception:
        scene.seen.append(f"leaders were not moved: {exception}")


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
    "pause-worker": pause_worker,
    "pause-worker-long": pause_worker_long,
    "delete-folder": delete_folder,
    "damage-folder": damage_folder,
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
FAULTS = ON_WORKERS | ON_BROKERS | ON_TOPICS


def until_insync(scene: Scene) -> None:
    """Wait until all three brokers hold every partition: the next fault may take any one of them."""

    def insync() -> bool:
        topics = scene.gate.admin.list_topics(timeout=5).topics.values()
        return all(
            len(partition.isrs) == len(partition.replicas)
            for topic in topics
            for partition in topic.partitions.values()
        )

    wait_for(insync, "every replica to be in sync")
