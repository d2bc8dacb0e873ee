"""Three Kafka brokers on loopback, each its own controller: what one of them holds outlives it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from streams.dev_broker import HOST, SERVER_PROPERTIES, DevBroker, kafka_classpath
from tests.processes import free_port

if TYPE_CHECKING:
    from pathlib import Path

BROKERS = 3
CLUSTER_ID = "Y2hhb3MtY2hhb3MtY2gwMQ"  # any 16 bytes; all three are formatted with the same
REPLICATION = {
    "default.replication.factor": 3,
    "min.insync.replicas": 2,
    "offsets.topic.replication.factor": 3,
    "transaction.state.log.replication.factor": 3,
    "transaction.state.log.min.isr": 2,
}


class Broker(DevBroker):
    """One of the three: both its ports stay what they are, as the others know it by them."""

    def __init__(self, folder: Path, node: int, voters: str, controller_port: int) -> None:
        """Name it by its number; `voters` are all three controllers."""
        super().__init__(folder, free_port())
        folder.mkdir(parents=True)
        lines = SERVER_PROPERTIES.format(host=HOST, port=self.port, controller_port=controller_port).splitlines()
        settings = dict(line.split("=", 1) for line in lines)
        del settings["controller.quorum.bootstrap.servers"]
        settings |= {name: str(value) for name, value in REPLICATION.items()}
        settings |= {"node.id": str(node), "controller.quorum.voters": voters}
        self._properties = "".join(f"{name}={value}\n" for name, value in settings.items())

    def _take_ports(self) -> None:
        (self.data_dir / "server.properties").write_text(self._properties, encoding="utf-8")

    def _format_arguments(self) -> tuple[str, ...]:
        return ("--cluster-id", CLUSTER_ID)


class Cluster:
    """The three brokers, started and stopped together."""

    def __init__(self, folder: Path) -> None:
        """Choose the ports."""
        ports = [free_port() for _ in range(BROKERS)]
        voters = ",".join(f"{node}@{HOST}:{port}" for node, port in enumerate(ports, start=1))
        self.brokers = [
            Broker(folder / f"broker-{node}", node, voters, port) for node, port in enumerate(ports, start=1)
        ]
        self.bootstrap = ",".join(broker.bootstrap for broker in self.brokers)

    def __enter__(self) -> Self:
        """Start all three; none of them answers before a second one runs."""
        kafka_classpath(self.brokers[0].version)
        with ThreadPoolExecutor(BROKERS) as together:
            try:
                list(together.map(Broker.start, self.brokers))
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        """Kill all three: nothing of them is needed any more."""
        for broker in self.brokers:
            broker.kill()
