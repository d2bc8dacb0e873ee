"""Three Kafka brokers on loopback, each its own controller: what one of them holds outlives it.

Publishers and judges reach them directly. Each place of a worker has a listener of its own on every broker, whose
advertised port is that of a link (links.py): so all that a worker and a broker say to each other can be disturbed.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Self

from streams.dev_broker import HOST, SERVER_PROPERTIES, DevBroker, kafka_classpath
from tests.chaos.links import Links
from tests.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BROKERS = 3
# Three Java processes start at once, beside whatever else the machine has to do.
START_SECONDS = 180.0
CLUSTER_ID = "Y2hhb3MtY2hhb3MtY2gwMQ"  # any 16 bytes; all three are formatted with the same
REPLICATION = {
    "default.replication.factor": 3,
    "min.insync.replicas": 2,
    "offsets.topic.replication.factor": 3,
    "transaction.state.log.replication.factor": 3,
    "transaction.state.log.min.isr": 2,
}


class Broker(DevBroker):
    """One of the three: its ports stay what they are, as the others know it by them."""

    def __init__(self, folder: Path, node: int, voters: str, controller_port: int, places: int) -> None:
        """Name it by its number; `voters` are all three controllers."""
        super().__init__(folder, free_port())
        folder.mkdir(parents=True)
        lines = SERVER_PROPERTIES.format(host=HOST, port=self.port, controller_port=controller_port).splitlines()
        settings = dict(line.split("=", 1) for line in lines)
        del settings["controller.quorum.bootstrap.servers"]
        settings |= {name: str(value) for name, value in REPLICATION.items()}
        settings |= {"node.id": str(node), "controller.quorum.voters": voters}
        self._settings = settings
        self.places = [free_port() for _ in range(places)]

    def advertise(self, links: Sequence[int]) -> None:
        """Listen for the place of each link, and tell whoever comes there that this broker is at the link's port."""
        for number, (port, link) in enumerate(zip(self.places, links, strict=True)):
            name = f"PLACE{number}"
            self._settings["listeners"] += f",{name}://{HOST}:{port}"
            self._settings["advertised.listeners"] += f",{name}://{HOST}:{link}"
            self._settings["listener.security.protocol.map"] += f",{name}:PLAINTEXT"
            self._settings[f"listener.name.{name.lower()}.num.network.threads"] = "1"

    def _take_ports(self) -> None:
        properties = "".join(f"{name}={value}\n" for name, value in self._settings.items())
        (self.data_dir / "server.properties").write_text(properties, encoding="utf-8")

    def _format_arguments(self) -> tuple[str, ...]:
        return ("--cluster-id", CLUSTER_ID)


class Cluster:
    """The three brokers with links for so many places of workers, started and stopped together."""

    def __init__(self, folder: Path, places: int = 0) -> None:
        """Choose the ports."""
        ports = [free_port() for _ in range(BROKERS)]
        voters = ",".join(f"{node}@{HOST}:{port}" for node, port in enumerate(ports, start=1))
        self.brokers = [
            Broker(folder / f"broker-{node}", node, voters, port, places) for node, port in enumerate(ports, start=1)
        ]
        self.bootstrap = ",".join(broker.bootstrap for broker in self.brokers)

    def __enter__(self) -> Self:
        """Start all three; none of them answers before a second one runs."""
        kafka_classpath(self.brokers[0].version)
        self.links = Links([broker.places for broker in self.brokers])
        for broker, links in zip(self.brokers, self.links.ports, strict=True):
            broker.advertise(links)
        with ThreadPoolExecutor(BROKERS) as together:
            try:
                list(together.map(partial(Broker.start, timeout_seconds=START_SECONDS), self.brokers))
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        """Kill all three: nothing of them is needed any more."""
        for broker in self.brokers:
            broker.kill()
        self.links.close()
