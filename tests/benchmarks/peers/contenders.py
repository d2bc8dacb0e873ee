"""Who takes part: gate, limit and control, and the peers; each with its own best settings, and what it promises."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from schemas import withdrawal_decision
from tests.benchmarks.peers import install
from tests.benchmarks.throughput import FAUST_MODULE, FAUST_REQUESTS, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.deployment import Deployment

# Who is slow is given fewer, so that a round ends; the rate is that of the second half all the same.
MOST_REQUESTS, SLOW_REQUESTS, FEW_REQUESTS = 5_000_000, 500_000, FAUST_REQUESTS
# As the broker's: no collector's threads, where all share two cores. Never grown, so that growing costs nothing.
JVM_OPTIONS = ("-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")


class Process(Protocol):
    """A running contender."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """Kill it as a power cut would."""


@dataclass(frozen=True, slots=True)
class Contender:
    """How to start it on the inputs of one deployment and the outputs of another; the same folder each time."""

    name: str
    promise: str
    start: Callable[[Deployment, Deployment], Process]
    # Fetches what it needs.
    prepare: Callable[[], object]
    most_requests: int
    # Whether its decisions can only go beside its inputs.
    in_place: bool = False


class Peer:
    """A peer's process; what it is to know stands in its environment, as for the gate."""

    def __init__(self, inputs: Deployment, outputs: Deployment, command: list[str]) -> None:
        """Start it."""
        folder = outputs.folder / "peer"
        folder.mkdir(exist_ok=True)
        self.log = folder / "log"
        of_its_own = {
            "GATE_GROUP": outputs.name,
            "GATE_DATA_DIR": str(folder / "data"),
            "PEER_DECISION_TOPIC": outputs.topic(withdrawal_decision.TOPIC),
        }
        with self.log.open("a") as out:
            self.process = subprocess.Popen(
                command,
                env={**inputs.environment, **of_its_own},
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill it as a power cut would: no handler runs."""
        self.process.kill()
        self.process.wait(10)


def _worker(name: str, promise: str, module: str, most_requests: int) -> Contender:
    return Contender(
        name, promise, lambda made, _: made.worker("contender", module), lambda: None, most_requests, in_place=True
    )


def _python(name: str, promise: str, peer: str, *arguments: str) -> Contender:
    def start(inputs: Deployment, outputs: Deployment) -> Process:
        return Peer(inputs, outputs, [install.python_of(peer), "-m", f"tests.benchmarks.peers.{peer}_app", *arguments])

    return Contender(name, promise, start, lambda: install.python_of(peer), SLOW_REQUESTS)


def _kafka_streams(name: str, promise: str, guarantee: str) -> Contender:
    def start(inputs: Deployment, outputs: Deployment) -> Process:
        return Peer(inputs, outputs, [install.JAVA, *JVM_OPTIONS, "-cp", install.java_classpath(), "Peer", guarantee])

    return Contender(name, promise, start, install.java_classpath, MOST_REQUESTS)


ONCE, AT_LEAST_ONCE = "each record's effects once", "each record at least once"
GATE = _worker("gate", "G1 to G8 (README)", "streams", MOST_REQUESTS)
# In the order of the requests that they are given: who is given as many takes turns on the same ones.
PEERS = (
    _kafka_streams("Kafka Streams, exactly once", ONCE, "exactly_once_v2"),
    _kafka_streams("Kafka Streams, at least once", AT_LEAST_ONCE, "at_least_once"),
    _python("Quix Streams, exactly once", ONCE, "quix", "exactly-once"),
    _python("Quix Streams, at least once", AT_LEAST_ONCE, "quix", "at-least-once"),
    _python("Bytewax", AT_LEAST_ONCE, "bytewax"),
    _worker("plain Faust", AT_LEAST_ONCE, FAUST_MODULE, FEW_REQUESTS),
)
